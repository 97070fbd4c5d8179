// `understudy dev`: on the clusters that the settings name, or on simulated ones where they name none.
import type { DevOptions } from "./dev.ts";
import { startOnClusters } from "./dev.ts";
import { isSimulated } from "./dev-settings.ts";
import { startSimulated } from "./dev-simulated.ts";

/** @throws UsageError, or Error when a part cannot start. */
export const startDev = (options: DevOptions): Promise<void> => (isSimulated(options.environment) ? startSimulated(options) : startOnClusters(options));

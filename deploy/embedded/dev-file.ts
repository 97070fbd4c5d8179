// `.understudy/dev.json`: how commands in this folder find the `dev` that runs here. Only its owner can read it, for the hook's secret is in it.
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Config } from "../../shared/run/config.ts";
import { SETTINGS } from "../../shared/run/config.ts";
import type { DevFile } from "../settings.ts";
import { DEV_FOLDER, UsageError, runningDev } from "../settings.ts";

interface Running {
  readonly config: Config;
  readonly addresses: DevFile["addresses"];
  readonly madeSecret: string | undefined;
}

/** @throws UsageError when the folder has a running `dev`: commands could not tell the two apart. */
export function refuseSecond(): void {
  const running = runningDev();
  if (running) throw new UsageError(`a dev runs in this folder already (pid ${running.pid}): stop it, or start this one in another folder`);
}

/** Returns how to remove it. */
export async function writeDevFile(dev: Running, environment: Readonly<Record<string, string | undefined>>): Promise<() => Promise<void>> {
  const file: DevFile = { pid: process.pid, redisUrl: dev.config.redisUrl!, addresses: dev.addresses, environment: settingsFor(dev, environment) };
  await mkdir(DEV_FOLDER, { recursive: true, mode: 0o700 });
  const path = resolve(DEV_FOLDER, "dev.json");
  // Whoever reads it meanwhile sees the old one or the new one, never half of it.
  const next = `${path}.${process.pid}`;
  await rm(next, { force: true });
  await writeFile(next, `${JSON.stringify(file, undefined, 2)}\n`, { mode: 0o600 });
  await rename(next, path);
  return () => rm(path, { force: true });
}

/** What other commands need to see the same world. A secret that was given stays where it was. */
function settingsFor({ config, madeSecret }: Running, environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const own = new Set(["UNDERSTUDY_REDIS_URL", "UNDERSTUDY_HOOK_SECRETS", "UNDERSTUDY_DASHBOARD_USERS", "LOG_LEVEL"]);
  const given = Object.keys(SETTINGS).flatMap((name) => (environment[name] && !own.has(name) ? [[name, environment[name]] as const] : []));
  return {
    ...Object.fromEntries(given),
    ...(config.clustersDir === undefined ? {} : { UNDERSTUDY_CLUSTERS_DIR: config.clustersDir }),
    ...(config.clusterSecretsNamespace === undefined ? {} : { UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE: config.clusterSecretsNamespace }),
    ...(config.managementKubeconfig === undefined ? {} : { UNDERSTUDY_MANAGEMENT_KUBECONFIG: config.managementKubeconfig }),
    ...(madeSecret === undefined ? {} : { UNDERSTUDY_HOOK_SECRETS: madeSecret }),
  };
}

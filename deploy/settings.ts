// The environment as commands get it: `NAME_FILE` read in, every problem at once, and the `dev` that runs in this folder where no Redis is set.
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Config } from "../shared/run/config.ts";
import { NO_CLUSTERS, SETTINGS, configFrom } from "../shared/run/config.ts";

/** A command was used wrongly or set up wrongly: exit 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export const DEV_FOLDER = ".understudy";
/** What a running `dev` leaves for the commands beside it. */
export interface DevFile {
  readonly pid: number;
  readonly redisUrl: string;
  readonly addresses: Readonly<Record<string, string>>;
  readonly environment: Readonly<Record<string, string>>;
}

/** What a command cannot do without. `clusters`: one of the two settings that bring kubeconfigs. */
export type Need = "redisUrl" | "clusters";

/** @throws UsageError naming every wrong setting. */
export function readConfig(environment: Readonly<Record<string, string | undefined>>, needs: readonly Need[]): Config {
  const problems: string[] = [];
  const all = { ...environment };
  for (const name of Object.keys(SETTINGS)) {
    const file = environment[`${name}_FILE`];
    if (file === undefined) continue;
    if (environment[name] !== undefined) problems.push(`${name}: set it or ${name}_FILE, not both`);
    try {
      all[name] = readFileSync(file, "utf8").trim();
    } catch (error) {
      problems.push(`${name}_FILE: ${file} cannot be read (${(error as { code?: string }).code ?? "error"})`);
    }
  }
  const dev = all["UNDERSTUDY_REDIS_URL"] === undefined ? runningDev() : undefined;
  const read = configFrom({ ...dev?.environment, ...all, ...(dev ? { UNDERSTUDY_REDIS_URL: dev.redisUrl } : {}) });
  if ("problems" in read) problems.push(...read.problems);
  const config = "config" in read ? read.config : undefined;
  if (config) problems.push(...needs.flatMap((need) => lackOf(need, config)));
  if (problems.length > 0 || !config) throw new UsageError(problems.join("\n"));
  return config;
}

function lackOf(need: Need, { redisUrl, clustersDir, clusterSecretsNamespace }: Config): string[] {
  if (need === "clusters") return clustersDir === undefined && clusterSecretsNamespace === undefined ? [NO_CLUSTERS] : [];
  return redisUrl === undefined ? ["UNDERSTUDY_REDIS_URL: set it, or start `understudy dev` in this folder"] : [];
}

/** The `dev` that runs in the working directory, if one does. */
export function runningDev(): DevFile | undefined {
  const file = resolve(DEV_FOLDER, "dev.json");
  if (!existsSync(file)) return undefined;
  try {
    const dev = JSON.parse(readFileSync(file, "utf8")) as DevFile;
    process.kill(dev.pid, 0);
    return dev;
  } catch {
    // Left behind by one that has ended.
    return undefined;
  }
}

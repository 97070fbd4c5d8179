// What `dev` makes of the environment: its own Redis and hook secret where none is given, and errors that name the setting to change.
import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import { openClusters } from "../../shared/kube/clusters-open.ts";
import type { Clusters } from "../../shared/kube/clusters.ts";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import type { Config } from "../../shared/run/config.ts";
import type { Log } from "../../shared/run/log.ts";
import { UsageError, readConfig } from "../settings.ts";

/** Replaced by the embedded one's once that runs. */
const NOT_YET = "unix:///embedded";

export type Environment = Readonly<Record<string, string | undefined>>;
export interface Dev extends AsyncDisposable {
  readonly config: Config;
  readonly log: Log;
  readonly ledger: Ledger;
  /** Those whose kubeconfigs were there at the start. */
  readonly clusters: readonly string[];
  readonly unusable: ReadonlyMap<string, string>;
  readonly addresses: { readonly dashboard: string; readonly hook: string; readonly ops: string; readonly workerOps: string };
  /** Of the hook, where none was set. */
  readonly madeSecret: string | undefined;
  /** The Redis is ours and forgets. */
  readonly embedded: boolean;
}
interface DevConfig {
  readonly config: Config;
  readonly madeSecret: string | undefined;
  readonly embedded: boolean;
}

const lacksOf =
  (environment: Environment) =>
  (name: string): boolean =>
    !environment[name] && !environment[`${name}_FILE`];
const ELSEWHERE = [
  "UNDERSTUDY_CLUSTERS_DIR",
  "UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE",
  "UNDERSTUDY_MANAGEMENT_KUBECONFIG",
  "UNDERSTUDY_REDIS_URL",
  "UNDERSTUDY_SOURCE",
];

/** Nothing says where clusters, bindings or facts are: then they are simulated. */
export const isSimulated = (environment: Environment): boolean => ELSEWHERE.every(lacksOf(environment));

/** The settings with what `dev` brings itself. @throws UsageError */
export function devConfig(environment: Environment, output: "text" | "json"): DevConfig {
  const lacks = lacksOf(environment);
  const embedded = lacks("UNDERSTUDY_REDIS_URL");
  const madeSecret = lacks("UNDERSTUDY_HOOK_SECRETS") ? `whsec_${randomBytes(32).toString("base64")}` : undefined;
  const config = readConfig(
    {
      ...environment,
      ...(embedded ? { UNDERSTUDY_REDIS_URL: NOT_YET } : {}),
      ...(madeSecret === undefined ? {} : { UNDERSTUDY_HOOK_SECRETS: madeSecret }),
      // At a terminal the printed lines tell the story.
      ...(output === "text" && lacks("LOG_LEVEL") ? { LOG_LEVEL: "warn" } : {}),
    },
    [],
  );
  if (config.clustersDir === undefined && config.clusterSecretsNamespace === undefined) {
    throw new UsageError(
      "UNDERSTUDY_CLUSTERS_DIR: set it to a folder of kubeconfigs, one a cluster (or UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE to a namespace of Secrets with them), and UNDERSTUDY_MANAGEMENT_KUBECONFIG to the management cluster's (without it, logins are the source); with none of these, and without UNDERSTUDY_REDIS_URL and UNDERSTUDY_SOURCE, dev runs on simulated clusters",
    );
  }
  return {
    config: {
      ...config,
      clustersDir: config.clustersDir && resolve(config.clustersDir),
      managementKubeconfig: config.managementKubeconfig && resolve(config.managementKubeconfig),
    },
    madeSecret,
    embedded,
  };
}

/** Nobody calls a listener of `--once`, so none may stand in the way of another that runs. */
export function withAnyPort(environment: Environment): Environment {
  const listeners = ["UNDERSTUDY_HOOK_LISTEN", "UNDERSTUDY_DASHBOARD_LISTEN", "UNDERSTUDY_OPS_LISTEN"].filter((name) => !environment[`${name}_FILE`]);
  return { ...Object.fromEntries(listeners.map((name) => [name, "127.0.0.1:0"])), ...environment };
}

/** @throws UsageError when the folder, or the management kubeconfig that Secrets are read with, cannot be used. */
export async function clustersOf(config: Config, version: string): Promise<{ ids: string[]; problems: ReadonlyMap<string, string> }> {
  let clusters: Clusters;
  try {
    clusters = await openClusters(config, `understudy/${version} dev`);
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
  await using loaded = clusters;
  return { ids: loaded.ids(), problems: loaded.problems() };
}

/** Names the setting to change, which the system's own error does not. */
export function portTaken(error: unknown, config: Config): Error | undefined {
  const { code, port } = error as { code?: unknown; port?: unknown };
  if (code !== "EADDRINUSE") return undefined;
  const listeners = {
    UNDERSTUDY_HOOK_LISTEN: config.hookListen,
    UNDERSTUDY_CREDENTIALS_LISTEN: config.credentialsListen,
    UNDERSTUDY_DASHBOARD_LISTEN: config.dashboardListen,
    UNDERSTUDY_OPS_LISTEN: config.opsListen,
  };
  const [setting, at] = Object.entries(listeners).find(([, listen]) => listen?.port === port) ?? [];
  return setting && at ? new Error(`port ${at.port} is taken: set ${setting}, for example to ${at.host}:0`, { cause: error }) : undefined;
}

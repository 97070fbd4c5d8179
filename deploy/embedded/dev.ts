// `understudy dev`: producer, worker and dashboard in one process on real clusters, with a Redis of its own that forgets when it stops.
import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import pretty, { type PrettyStream } from "pino-pretty";
import { startProducer } from "../../producers/main.ts";
import { Clusters } from "../../shared/kube/clusters.ts";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import type { Config } from "../../shared/run/config.ts";
import type { Log } from "../../shared/run/log.ts";
import { openLog } from "../../shared/run/log.ts";
import { openStore } from "../../shared/run/redis.ts";
import { startDashboard } from "../../workers/dashboard/server.ts";
import { startWorker } from "../../workers/main.ts";
import { UsageError, readConfig } from "../settings.ts";
import { followChanges } from "./changes.ts";
import { refuseSecond, writeDevFile } from "./dev-file.ts";
import { startRedis } from "./redis.ts";
import { sentence, whenSettled } from "./settled.ts";

const SETTLE_MS_MAX = 120_000;
/** How long the worker waits for the first import, so that the first jobs need not wait for their worker's next look at it. */
const IMPORT_MS_MAX = 5_000;
/** Replaced by the embedded one's once that runs. */
const NOT_YET = "unix:///embedded";

type Environment = Readonly<Record<string, string | undefined>>;
export interface DevOptions {
  readonly environment: Environment;
  readonly version: string;
  readonly once: boolean;
  readonly output: "text" | "json";
  onStop(running: AsyncDisposable, log: Log): void;
}
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

/** Runs until a signal; with `once` until all is settled, and sets the exit code. @throws UsageError, or Error when a part cannot start. */
export async function startDev(options: DevOptions): Promise<void> {
  if (options.once) return runOnce(options);
  const dev = await runDev(options);
  options.onStop(dev, dev.log);
}

type Start = Pick<DevOptions, "environment" | "version" | "output">;

/** Starts all parts, lets other commands in this folder find them, and tells what happens. @throws UsageError, or Error when a part cannot start. */
export async function runDev(options: Start): Promise<Dev> {
  refuseSecond();
  await using started = new AsyncDisposableStack();
  const dev = started.use(await openDev(options));
  started.defer(await writeDevFile(dev, options.environment));
  if (options.output === "json") process.stdout.write(`${JSON.stringify({ pid: process.pid, clusters: dev.clusters, addresses: dev.addresses }, undefined, 2)}\n`);
  else started.use(tell(dev, options.version));
  const all = started.move();
  return { ...dev, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** What a person at the terminal sees. */
function tell(dev: Dev, version: string): AsyncDisposable {
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  for (const line of introduction(dev, version)) say(line);
  const end = new AbortController();
  const following = followChanges(dev.ledger, say, end.signal);
  return {
    async [Symbol.asyncDispose]() {
      end.abort();
      await following;
    },
  };
}

function introduction({ config, clusters, embedded, addresses, madeSecret }: Dev, version: string): string[] {
  const source = config.managementKubeconfig === undefined ? "logins are the source" : `bindings come from ${config.managementKubeconfig}`;
  const redis = embedded ? "an embedded Redis that forgets everything when this stops" : "the Redis of UNDERSTUDY_REDIS_URL";
  return [
    `understudy ${version} dev on real clusters (${clusters.join(", ") || "none yet"}) with ${redis}; ${source}`,
    `  dashboard  ${addresses.dashboard}`,
    `  hook       ${addresses.hook}/v1/logins${madeSecret === undefined ? "" : `   (Authorization: Bearer ${madeSecret})`}`,
    `  metrics    ${addresses.ops}/metrics (producer), ${addresses.workerOps}/metrics (worker)`,
    "",
  ];
}

async function runOnce(options: DevOptions): Promise<void> {
  const began = performance.now();
  await using dev = await openDev(options);
  const problems = [...dev.unusable].map(([file, problem]) => `UNDERSTUDY_CLUSTERS_DIR: ${file}: ${problem}`);
  if (problems.length > 0) throw new UsageError(problems.join("\n"));
  if (dev.clusters.length === 0) throw new UsageError(`UNDERSTUDY_CLUSTERS_DIR: there is no kubeconfig in ${dev.config.clustersDir}`);
  const { summary, behind } = await whenSettled(dev.ledger, dev.clusters, { began, waitMs: SETTLE_MS_MAX });
  process.stdout.write(options.output === "json" ? `${JSON.stringify(summary, undefined, 2)}\n` : `${sentence(summary)}\n`);
  for (const { cluster, user, state, reason } of behind) process.stderr.write(`understudy: ${cluster}/${user} is ${state}${reason && `: ${reason}`}\n`);
  process.exitCode = summary.ready === summary.subjects ? 0 : 1;
}

/** Starts all parts. */
async function openDev({ environment, version, output }: Start): Promise<Dev> {
  const { config: read, madeSecret, embedded } = devConfig(environment, output);
  const { ids: clusters, problems: unusable } = await clustersOf(read);
  await using started = new AsyncDisposableStack();
  const redisUrl = embedded ? started.use(await startRedis()).url : read.redisUrl!;
  const config: Config = { ...read, redisUrl };
  const opened = openLog(config.logLevel, { process: "dev" }, output === "text" ? forPeople() : undefined);
  // The first line that `dev` prints says that nothing is kept.
  const log: Log = embedded ? { ...opened, redisWarning: () => undefined } : opened;
  const { ledger } = started.use(await openStore(redisUrl, config.redisPrefix, 5_000, () => undefined));
  try {
    const producer = started.use(await startProducer(config, log, version));
    const dashboard = started.use(await startDashboard(config, log, version));
    await importStands(ledger);
    const worker = started.use(await startWorker({ ...config, opsListen: { ...config.opsListen, port: 0 } }, log, version));
    const addresses = { dashboard: dashboard.url, hook: producer.hook, ops: producer.ops, workerOps: worker.ops };
    const all = started.move();
    return { config, log, ledger, clusters, unusable, addresses, madeSecret, embedded, [Symbol.asyncDispose]: () => all.disposeAsync() };
  } catch (error) {
    throw portTaken(error, config) ?? error;
  }
}

/** One line an event, on stderr. */
const forPeople = (): PrettyStream => pretty({ destination: 2, sync: true, singleLine: true, ignore: "pid,process", translateTime: "SYS:HH:MM:ss.l", colorize: process.stderr.isTTY });

/** The settings with what `dev` brings itself. @throws UsageError */
function devConfig(environment: Environment, output: "text" | "json"): { config: Config; madeSecret: string | undefined; embedded: boolean } {
  const lacks = (name: string): boolean => !environment[name] && !environment[`${name}_FILE`];
  const embedded = lacks("UNDERSTUDY_REDIS_URL");
  const madeSecret = lacks("UNDERSTUDY_HOOK_SECRETS") ? `whsec_${randomBytes(32).toString("base64")}` : undefined;
  const config = readConfig({
    ...environment,
    ...(embedded ? { UNDERSTUDY_REDIS_URL: NOT_YET } : {}),
    ...(madeSecret === undefined ? {} : { UNDERSTUDY_HOOK_SECRETS: madeSecret }),
    // At a terminal the printed lines tell the story.
    ...(output === "text" && lacks("LOG_LEVEL") ? { LOG_LEVEL: "warn" } : {}),
  }, []);
  if (config.clustersDir === undefined) {
    throw new UsageError("UNDERSTUDY_CLUSTERS_DIR: set it to a folder of kubeconfigs, one a cluster, and UNDERSTUDY_MANAGEMENT_KUBECONFIG to the management cluster's (without it, logins are the source); simulated clusters are not there yet");
  }
  return { config: { ...config, clustersDir: resolve(config.clustersDir), managementKubeconfig: config.managementKubeconfig && resolve(config.managementKubeconfig) }, madeSecret, embedded };
}

/** @throws UsageError when the folder cannot be read. */
async function clustersOf({ clustersDir, kubeconfigAllow }: Config): Promise<{ ids: string[]; problems: ReadonlyMap<string, string> }> {
  const clusters = new Clusters(clustersDir!, { allow: kubeconfigAllow, userAgent: "" });
  try {
    await clusters.load();
  } catch (error) {
    throw new UsageError(`UNDERSTUDY_CLUSTERS_DIR: ${clustersDir} cannot be read (${(error as { code?: string }).code ?? "error"})`, { cause: error });
  }
  await using loaded = clusters;
  return { ids: loaded.ids(), problems: loaded.problems() };
}

async function importStands(ledger: Ledger): Promise<void> {
  for (const deadline = performance.now() + IMPORT_MS_MAX; performance.now() < deadline; await pause(10)) if ((await ledger.mark()).complete) return;
}

/** Names the setting to change, which the system's own error does not. */
function portTaken(error: unknown, config: Config): Error | undefined {
  const { code, port } = error as { code?: unknown; port?: unknown };
  if (code !== "EADDRINUSE") return undefined;
  const listeners = { UNDERSTUDY_HOOK_LISTEN: config.hookListen, UNDERSTUDY_DASHBOARD_LISTEN: config.dashboardListen, UNDERSTUDY_OPS_LISTEN: config.opsListen };
  const [setting, at] = Object.entries(listeners).find(([, listen]) => listen.port === port) ?? [];
  return setting && at ? new Error(`port ${at.port} is taken: set ${setting}, for example to ${at.host}:0`, { cause: error }) : undefined;
}

// `understudy dev`: producer, worker and dashboard in one process on real clusters, with a Redis of its own that forgets when it stops.
import { setTimeout as pause } from "node:timers/promises";
import pretty, { type PrettyStream } from "pino-pretty";
import { startProducer } from "../../producers/main.ts";
import { problemLine, whereClustersAre } from "../../shared/kube/clusters-open.ts";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import type { Config } from "../../shared/run/config.ts";
import type { Log } from "../../shared/run/log.ts";
import { openLog } from "../../shared/run/log.ts";
import { openStore } from "../../shared/run/redis.ts";
import { startDashboard } from "../../workers/dashboard/server.ts";
import { startWorker } from "../../workers/main.ts";
import { UsageError } from "../settings.ts";
import { followChanges } from "./changes.ts";
import { refuseSecond, writeDevFile } from "./dev-file.ts";
import type { Dev } from "./dev-settings.ts";
import { clustersOf, devConfig, portTaken, withAnyPort } from "./dev-settings.ts";
import { startRedis } from "./redis.ts";
import { sentence, whenSettled } from "./settled.ts";

const SETTLE_MS_MAX = 120_000;
/** How long the worker waits for the first import, so that the first jobs need not wait for their worker's next look at it. */
const IMPORT_MS_MAX = 5_000;

export interface DevOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly once: boolean;
  readonly output: "text" | "json";
  /** People and bindings of simulated clusters, instead of the demo's own. */
  readonly sample?: string | undefined;
  readonly onStop: (running: AsyncDisposable, log: Log) => void;
}
/** On real clusters. Runs until a signal; with `once` until all is settled, and sets the exit code. @throws UsageError, or Error when a part cannot start. */
export async function startOnClusters(options: DevOptions): Promise<void> {
  if (options.sample !== undefined) throw new UsageError("--sample is for simulated clusters: unset the settings that name real ones");
  if (options.once) return runOnce(options);
  const dev = await runDev(options);
  options.onStop(dev, dev.log);
}

interface Start extends Pick<DevOptions, "environment" | "version" | "output"> {
  readonly simulated?: boolean;
  /** Each line that a person at the terminal sees. */
  readonly say?: (line: string) => void;
}
const print = (line: string): void => void process.stdout.write(`${line}\n`);

/** Starts all parts, lets other commands in this folder find them, and tells what happens. @throws UsageError, or Error when a part cannot start. */
export async function runDev(options: Start): Promise<Dev> {
  refuseSecond();
  await using started = new AsyncDisposableStack();
  const dev = started.use(await openDev(options));
  started.defer(await writeDevFile(dev, options.environment));
  if (options.output === "json")
    process.stdout.write(`${JSON.stringify({ pid: process.pid, clusters: dev.clusters, addresses: dev.addresses }, undefined, 2)}\n`);
  else started.use(tell(dev, options));
  const all = started.move();
  return { ...dev, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** What a person at the terminal sees. */
function tell(dev: Dev, { version, simulated = false, say = print }: Start): AsyncDisposable {
  for (const line of introduction(dev, version, simulated)) say(line);
  const end = new AbortController();
  const following = followChanges(dev.ledger, say, end.signal);
  return {
    async [Symbol.asyncDispose]() {
      end.abort();
      await following;
    },
  };
}

function introduction({ config, clusters, embedded, addresses, madeSecret }: Dev, version: string, simulated: boolean): string[] {
  const source = simulated
    ? "people and bindings are a simulated Rancher's"
    : config.source === "logins"
      ? "logins are the source"
      : `bindings come from ${config.managementKubeconfig}`;
  const redis = embedded ? "an embedded Redis that forgets everything when this stops" : "the Redis of UNDERSTUDY_REDIS_URL";
  return [
    `understudy ${version} dev on ${simulated ? "SIMULATED" : "real"} clusters (${clusters.join(", ") || "none yet"}) with ${redis}; ${source}`,
    `  dashboard  ${addresses.dashboard}`,
    `  hook       ${addresses.hook}/v1/logins${madeSecret === undefined ? "" : `   (Authorization: Bearer ${madeSecret})`}`,
    `  metrics    ${addresses.ops}/metrics (producer), ${addresses.workerOps}/metrics (worker)`,
    "",
  ];
}

async function runOnce(options: DevOptions): Promise<void> {
  const began = performance.now();
  await using dev = await openDev({ ...options, environment: withAnyPort(options.environment) });
  const problems = [...dev.unusable].map(problemLine);
  if (problems.length > 0) throw new UsageError(problems.join("\n"));
  if (dev.clusters.length === 0) throw new UsageError(`there is no kubeconfig in ${whereClustersAre(dev.config)}`);
  const { summary, behind } = await whenSettled(dev.ledger, dev.clusters, { began, waitMs: SETTLE_MS_MAX });
  process.stdout.write(options.output === "json" ? `${JSON.stringify(summary, undefined, 2)}\n` : `${sentence(summary)}\n`);
  for (const { cluster, user, state, reason } of behind) process.stderr.write(`understudy: ${cluster}/${user} is ${state}${reason && `: ${reason}`}\n`);
  process.exitCode = summary.ready === summary.subjects ? 0 : 1;
}

/** Starts all parts. */
async function openDev({ environment, version, output }: Start): Promise<Dev> {
  const { config: read, madeSecret, embedded } = devConfig(environment, output);
  const { ids: clusters, problems: unusable } = await clustersOf(read, version);
  await using started = new AsyncDisposableStack();
  const redisUrl = embedded ? started.use(await startRedis(redisLost)).url : read.redisUrl!;
  const config: Config = { ...read, redisUrl };
  // The story on the terminal tells what an audit line would.
  const forAuditors = output === "text" ? config.logLevel : undefined;
  const opened = openLog(config.logLevel, { process: "dev" }, output === "text" ? forPeople() : undefined, forAuditors);
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
const forPeople = (): PrettyStream =>
  pretty({
    destination: 2,
    sync: true,
    singleLine: true,
    ignore: "pid,process,err",
    messageFormat: "{msg}{if err}: {err.message}{end}",
    translateTime: "SYS:HH:MM:ss",
    colorize: process.stderr.isTTY,
  });

/** All that this process knew was in it; an orderly stop would only wait for it. */
function redisLost(how: string): void {
  process.stderr.write(`understudy: the embedded redis-server ended (${how}), and dev with it: start it again, and it imports everything anew\n`);
  process.exit(1);
}

async function importStands(ledger: Ledger): Promise<void> {
  for (const deadline = performance.now() + IMPORT_MS_MAX; performance.now() < deadline; await pause(10)) if ((await ledger.mark()).complete) return;
}

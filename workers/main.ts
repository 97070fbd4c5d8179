// A worker process: what runs, in order. Three consumers, the locks they hold, the sweep, a fill watch per cluster.
import type { Worker } from "bullmq";
import type { Redis } from "ioredis";
import { QUEUES } from "../shared/jobs.ts";
import type { ClusterClient } from "../shared/kube/client.ts";
import { pause, settledWithin } from "../shared/kube/watch.ts";
import { wakeUnsettled } from "../shared/ledger/ask.ts";
import { CLUSTER_MISSING } from "../shared/ledger/status.ts";
import type { Config } from "../shared/run/config.ts";
import type { Log } from "../shared/run/log.ts";
import { tagOf, workerConnection } from "../shared/run/redis.ts";
import type { Service } from "../shared/run/service.ts";
import { openService, openServiceOps } from "../shared/run/service.ts";
import type { Workbench } from "./consumer.ts";
import { consume } from "./consumer.ts";
import { Fences } from "./fence.ts";
import { watchFills } from "./fills.ts";
import { Gate } from "./gate.ts";
import { Locks } from "./locks.ts";

const SWEEP_MS = 5_000;
const SWEEP_AT_ONCE = 500;
const STOP_MS = 20_000;
const FORCE_MS = 2_000;
const REDIS_TIMEOUT_MS = 5_000;

/** Starts a worker process' parts and returns how to stop them. @throws Error when Redis or the folder of clusters cannot be used. */
export async function startWorker(config: Config, log: Log, version: string): Promise<AsyncDisposable & { readonly ops: string }> {
  await using started = new AsyncDisposableStack();
  const service = await openService(started, { kind: "worker", config, log, version, redisTimeoutMs: REDIS_TIMEOUT_MS });
  const locks = started.use(new Locks(service.store.ledger, log));
  const workers: Worker[] = [];
  const bench = openBench(service, locks, importGate(workers, service));
  const connection = workerConnection(config.redisUrl!, (err) => log.redisTrouble({ err }));
  started.defer(() => connection.disconnect());
  for (const name of QUEUES) workers.push(consume(name, connection, tagOf(config.redisPrefix), config.concurrency, bench));
  started.defer(() => stopWorkers(workers, locks, connection, log));
  followClusters(service, bench);
  service.repeat(SWEEP_MS, () => sweep(bench));
  for (const worker of workers) worker.run().catch((err: unknown) => log.unexpected({ err }));
  const ops = await openServiceOps(started, service, () => (workers.every((worker) => worker.isRunning()) ? undefined : "not running"));
  log.started({ what: "worker", id: service.id, ops, clusters: service.clusters.ids() });
  const all = started.move();
  return { ops, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** What a run needs besides its job. */
function openBench(service: Service, locks: Locks, onIncomplete: () => void): Workbench {
  const { config, log, metrics, clusters, store } = service;
  const gates = new Map<string, Gate>();
  const told = new Map<string, string>();
  const tell = (gate: Gate): void => tellGate(gate, told, service);
  // A pause ends with time alone, and then nobody may come for long.
  service.repeat(SWEEP_MS, async () => gates.forEach(tell));
  const gateOf = (cluster: string): Gate => {
    const known = gates.get(cluster);
    if (known) return known;
    // Half of the slots at most: a cluster that does not answer must not hold them all.
    const gate = new Gate(cluster, Math.max(1, Math.ceil(config.concurrency / 2)), tell);
    gates.set(cluster, gate);
    return gate;
  };
  return {
    ledger: store.ledger,
    clusters,
    locks,
    log,
    metrics,
    gateOf,
    onIncomplete,
    fences: config.requireFence ? new Fences(log) : undefined,
    policy: config,
    profile: config.profile,
    install: config.install,
    adopt: config.adopt,
    tokenMode: config.tokenMode,
    readySettleMs: config.readySettleMs,
    onWrite: (cluster, kind, action) => metrics.writes.inc({ cluster, kind, action }),
  };
}

/** Takes no new job, lets what runs finish; at the deadline, or without a Redis to finish on, it is left to others. */
async function stopWorkers(workers: readonly Worker[], locks: Locks, connection: Redis, log: Log): Promise<void> {
  // A connection may be open to a Redis that answers nothing any more.
  const answers = connection.status === "ready" && (await settledWithin(connection.ping(), FORCE_MS)) === "in time";
  if (answers && (await settledWithin(Promise.all(workers.map((worker) => worker.close())), STOP_MS)) === "in time") return;
  log.stopOverdue();
  locks.abortAll();
  // BullMQ waits for Redis even then, where there is none.
  await settledWithin(Promise.all(workers.map((worker) => worker.close(true))), FORCE_MS);
}

/** Pauses all consumers until the import stands again; returns at once. */
function importGate(workers: readonly Worker[], { log, stopping, importStands, background }: Service): () => void {
  let waiting = false;
  const wait = async (): Promise<void> => {
    await Promise.all(workers.map((worker) => worker.pause(true)));
    log.importMissing();
    while (!stopping.aborted && !(await importStands().catch(() => false))) await pause(1_000, stopping);
    for (const worker of workers) await worker.resume();
    log.importBack();
    waiting = false;
  };
  return () => {
    if (waiting) return;
    waiting = true;
    background(wait());
  };
}

/** A fill watch for each cluster, as long as its client lives; one that appears or changes wakes what waited for it. */
function followClusters({ clusters, stopping, background }: Service, bench: Workbench): void {
  const { ledger, log, metrics } = bench;
  // One after the other for each cluster: a file that goes and comes back must end with the waking.
  const turns = new Map<string, Promise<void>>();
  const inTurn = (cluster: string, act: () => Promise<void>): void => {
    const turn = (turns.get(cluster) ?? Promise.resolve()).then(act).catch((err: unknown) => log.redisTrouble({ err }));
    turns.set(cluster, turn);
    background(turn);
  };
  const watch = (client: ClusterClient): void => background(watchFills({ client, ledger, log, metrics }, AbortSignal.any([client.closed, stopping])));
  clusters.listen({
    onAppeared(client) {
      log.clusterAppeared({ cluster: client.cluster });
      watch(client);
      inTurn(client.cluster, () => wakeUnsettled(ledger, client.cluster));
    },
    onChanged(client) {
      log.clusterChanged({ cluster: client.cluster });
      watch(client);
      inTurn(client.cluster, () => retryUnsettled(client.cluster, bench));
    },
    onGone(cluster) {
      log.clusterGone({ cluster });
      inTurn(cluster, () => shelveAll(cluster, bench));
    },
    onProblem: (file, problem) => log.clusterProblem({ file, problem }),
  });
}

/** What failed with the old credentials may be in a long backoff, which a bare wake-up would leave as it is. */
async function retryUnsettled(cluster: string, { ledger }: Workbench): Promise<void> {
  for await (const { subject, record } of ledger.subjects(cluster))
    if (record.obs < record.gen || record.retryAt > 0) await ledger.submit(subject, {}, "verify", "binding");
}

/** Nothing is removed, and nobody is told to be ready on a cluster that is not looked at. */
async function shelveAll(cluster: string, { clusters, ledger }: Workbench): Promise<void> {
  for await (const { subject } of ledger.subjects(cluster)) if (!clusters.get(cluster)) await ledger.shelve(subject, CLUSTER_MISSING);
}

/** What is due and was forgotten: lost jobs, ended login grants, next retries. */
async function sweep({ ledger, log }: Workbench): Promise<void> {
  const found = await ledger.sweep(SWEEP_AT_ONCE);
  for (const { subject, delayMs, loginEnded } of found) await ledger.wake(subject, "sweep", loginEnded ? "deletion" : "binding", delayMs);
  if (found.length > 0) log.swept({ subjects: found.length });
}

/** Says how a gate stands when it stands otherwise than last told. For people: the gate itself works without any of this. */
function tellGate({ cluster, state, reason }: Gate, told: Map<string, string>, { log, metrics, store, id, background }: Service): void {
  const last = told.get(cluster) ?? "open ";
  if (last === `${state} ${reason}`) return;
  told.set(cluster, `${state} ${reason}`);
  metrics.gateOpen.set({ cluster }, state === "open" ? 1 : state === "half-open" ? 0.5 : 0);
  // A failed probe closes it again: nothing new to say.
  if (state === "closed" && last.startsWith("open")) log.gateClosed({ cluster, reason });
  if (state === "open") log.gateOpened({ cluster });
  background(store.ledger.noteCluster(cluster, { [`gate:${id}`]: `${state} ${Date.now()} ${reason}` }));
}

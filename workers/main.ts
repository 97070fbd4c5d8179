// A worker process: what runs, in order. Three consumers, the locks they hold, the sweep, a fill watch per cluster.
import { randomUUID } from "node:crypto";
import type { Worker } from "bullmq";
import { QUEUES } from "../shared/jobs.ts";
import type { ClusterClient } from "../shared/kube/client.ts";
import { Clusters } from "../shared/kube/clusters.ts";
import { every, pause } from "../shared/kube/watch.ts";
import type { Config } from "../shared/run/config.ts";
import { listen, openOps } from "../shared/run/http.ts";
import type { Log } from "../shared/run/log.ts";
import { countJobs, openMetrics } from "../shared/run/metrics.ts";
import { openStore, redisFacts, tagOf, workerConnection } from "../shared/run/redis.ts";
import type { Workbench } from "./consumer.ts";
import { consume } from "./consumer.ts";
import { watchFills } from "./fills.ts";
import { Gate } from "./gate.ts";
import { Locks } from "./locks.ts";

const SWEEP_MS = 5_000;
const SWEEP_AT_ONCE = 500;
const STOP_MS = 20_000;
const LEDGER_TIMEOUT_MS = 5_000;

/** Starts a worker process' parts and returns how to stop them. @throws Error when Redis or the folder of clusters cannot be used. */
export async function startWorker(config: Config, log: Log, version: string): Promise<AsyncDisposable & { readonly ops: string }> {
  await using started = new AsyncDisposableStack();
  const id = randomUUID().slice(0, 8);
  const stop = new AbortController();
  const metrics = openMetrics();
  const onError = (err: Error): void => log.redisTrouble({ err });
  const store = started.use(await openStore(config.redisUrl!, config.redisPrefix, LEDGER_TIMEOUT_MS, onError));
  const facts = await redisFacts(store.redis);
  if (facts.problems.length > 0) throw new Error(facts.problems.join("; "));
  for (const warning of facts.warnings) log.redisWarning({ warning });
  const { ledger } = store;
  const clusters = started.use(await new Clusters(config.clustersDir!, { allow: config.kubeconfigAllow, userAgent: `understudy/${version} worker ${id}` }).load());
  const locks = started.use(new Locks(ledger, log));
  const gates = new Map<string, Gate>();
  const gateOf = (cluster: string): Gate => {
    let gate = gates.get(cluster);
    // Half of the slots at most: a cluster that does not answer must not hold them all.
    if (!gate) gates.set(cluster, (gate = new Gate(cluster, Math.max(1, Math.ceil(config.concurrency / 2)), (changed) => gateChanged(changed, log, metrics, ledger, id))));
    return gate;
  };
  const workers: Worker[] = [];
  const bench: Workbench = {
    ledger, clusters, locks, log, metrics, gateOf, policy: config, profile: config.profile, install: config.install, readySettleMs: config.readySettleMs,
    onWrite: (cluster, kind, action) => metrics.writes.inc({ cluster, kind, action }),
    onIncomplete: importGate(workers, importStands, log, stop.signal),
  };
  async function importStands(): Promise<boolean> {
    const { complete } = await ledger.mark();
    metrics.importComplete.set(complete ? 1 : 0);
    return complete;
  }
  const background: Promise<unknown>[] = [];
  started.defer(async () => {
    stop.abort();
    await Promise.allSettled(background);
  });
  const connection = workerConnection(config.redisUrl!, onError);
  started.defer(() => connection.disconnect());
  for (const name of QUEUES) workers.push(consume(name, connection, tagOf(config.redisPrefix), config.concurrency, bench));
  started.defer(() => stopWorkers(workers, locks, log));
  followClusters(clusters, bench, stop.signal, background);
  clusters.follow();
  background.push(every(SWEEP_MS, () => sweep(bench), (err) => log.redisTrouble({ err }), stop.signal));
  for (const worker of workers) worker.run().catch((error: unknown) => log.unexpected({ err: error }));
  countJobs(metrics, Object.values(store.queues));
  const ops = openOps(log, metrics, async () => (workers.every((worker) => worker.isRunning()) ? ((await importStands()) ? undefined : "the import does not stand yet") : "not running"));
  started.defer(() => ops.close());
  const address = await listen(ops, config.opsListen);
  log.started({ what: "worker", id, ops: address, clusters: clusters.ids() });
  const all = started.move();
  return { ops: address, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** Takes no new job, lets what runs finish; at the deadline hands it back. */
async function stopWorkers(workers: readonly Worker[], locks: Locks, log: Log): Promise<void> {
  const closing = Promise.all(workers.map((worker) => worker.close()));
  let timer: NodeJS.Timeout | undefined;
  const overdue = new Promise<"overdue">((resolve) => (timer = setTimeout(resolve, STOP_MS, "overdue")));
  if ((await Promise.race([closing, overdue])) === "overdue") {
    log.stopOverdue();
    locks.abortAll();
    await Promise.all(workers.map((worker) => worker.close(true)));
  }
  clearTimeout(timer);
}

/** Pauses all consumers until the import stands again; returns at once. */
function importGate(workers: readonly Worker[], complete: () => Promise<boolean>, log: Log, signal: AbortSignal): () => void {
  let waiting = false;
  const wait = async (): Promise<void> => {
    await Promise.all(workers.map((worker) => worker.pause(true)));
    log.importMissing();
    while (!signal.aborted && !(await complete().catch(() => false))) await pause(1_000, signal);
    for (const worker of workers) await worker.resume();
    log.importBack();
    waiting = false;
  };
  return () => {
    if (waiting) return;
    waiting = true;
    wait().catch((error: unknown) => log.unexpected({ err: error }));
  };
}

/** A fill watch for each cluster, as long as its client lives; one that appears wakes what waited for it. */
function followClusters(clusters: Clusters, bench: Workbench, signal: AbortSignal, background: Promise<unknown>[]): void {
  const watches = new Map<string, AbortController>();
  const watch = (client: ClusterClient): void => {
    watches.get(client.cluster)?.abort();
    const end = new AbortController();
    watches.set(client.cluster, end);
    background.push(watchFills({ client, ledger: bench.ledger, log: bench.log, metrics: bench.metrics }, AbortSignal.any([end.signal, signal])));
  };
  clusters.listen({
    onAppeared(client) {
      bench.log.clusterAppeared({ cluster: client.cluster });
      watch(client);
      background.push(wakeUnsettled(client.cluster, bench).catch((err: unknown) => bench.log.redisTrouble({ err })));
    },
    onChanged(client) {
      bench.log.clusterChanged({ cluster: client.cluster });
      watch(client);
    },
    onGone(cluster) {
      bench.log.clusterGone({ cluster });
      watches.get(cluster)?.abort();
    },
    onProblem: (file, problem) => bench.log.clusterProblem({ file, problem }),
  });
}

/** Jobs of a cluster that this process did not know were completed without work. */
async function wakeUnsettled(cluster: string, { ledger }: Workbench): Promise<void> {
  for await (const { subject, record } of ledger.subjects(cluster)) if (record.obs < record.gen) await ledger.wake(subject, "sweep", "binding");
}

async function sweep({ ledger, log }: Workbench): Promise<void> {
  const found = await ledger.sweep(SWEEP_AT_ONCE);
  for (const { subject, delayMs, loginEnded } of found) await ledger.wake(subject, "sweep", loginEnded ? "deletion" : "binding", delayMs);
  if (found.length > 0) log.swept({ subjects: found.length });
}

function gateChanged(gate: Gate, log: Log, metrics: Workbench["metrics"], ledger: Workbench["ledger"], id: string): void {
  const { cluster, state, reason } = gate;
  metrics.gateOpen.set({ cluster }, state === "open" ? 1 : state === "half-open" ? 0.5 : 0);
  if (state === "closed") log.gateClosed({ cluster, reason });
  if (state === "open") log.gateOpened({ cluster });
  ledger.noteCluster(cluster, { [`gate:${id}`]: `${state} ${Date.now()} ${reason}` }).catch((error: unknown) => log.redisTrouble({ err: error }));
}

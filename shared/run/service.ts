// What every long-running process of ours has: Redis checked and opened, clusters followed, metrics, a signal that ends its loops. Started in order, stopped in reverse.
import { randomUUID } from "node:crypto";
import { openClusters } from "../kube/clusters-open.ts";
import type { Clusters } from "../kube/clusters.ts";
import { every } from "../kube/watch.ts";
import type { Config } from "./config.ts";
import { listen, openOps } from "./http.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { countJobs, openMetrics } from "./metrics.ts";
import type { Store } from "./redis.ts";
import { openStore, redisFacts } from "./redis.ts";

/** The shared half of worker and producer. */
export interface Service {
  readonly config: Config;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly store: Store;
  readonly clusters: Clusters;
  /** Of this process, for logs, claims and its User-Agent. */
  readonly id: string;
  readonly userAgent: string;
  /** Aborted when the process stops. */
  readonly stopping: AbortSignal;
  /** Work that goes on until the signal ends it, and is waited for. */
  readonly background: (work: Promise<unknown>) => void;
  /** Acts every `ms` until the process stops. */
  readonly repeat: (ms: number, act: () => Promise<void>) => void;
  /** Whether the import mark fits the Redis that answers. */
  readonly importStands: () => Promise<boolean>;
}
export interface ServiceOptions {
  readonly kind: "worker" | "producer";
  readonly config: Config;
  readonly log: Log;
  readonly version: string;
  /** How long a command to Redis may take (ms). */
  readonly redisTimeoutMs: number;
}

/** @throws Error naming what cannot be used: Redis, the folder of clusters, or the management kubeconfig where Secrets are read with it. */
export async function openService(started: AsyncDisposableStack, { kind, config, log, version, redisTimeoutMs }: ServiceOptions): Promise<Service> {
  const id = randomUUID().slice(0, 8);
  const userAgent = `understudy/${version} ${kind} ${id}`;
  const metrics = openMetrics();
  const store = started.use(await openStore(config.redisUrl!, config.redisPrefix, redisTimeoutMs, (err) => log.redisTrouble({ err })));
  const facts = await redisFacts(store.redis);
  if (facts.problems.length > 0) throw new Error(facts.problems.join("; "));
  for (const warning of facts.warnings) log.redisWarning({ warning });
  const clusters = started.use(await openClusters(config, userAgent));
  clusters.follow();
  const stop = new AbortController();
  const work = new Set<Promise<unknown>>();
  const keep = (promise: Promise<unknown>): void => {
    const kept = promise.finally(() => work.delete(kept));
    work.add(kept);
  };
  started.defer(async () => {
    stop.abort();
    await Promise.allSettled(work);
  });
  countJobs(metrics, Object.values(store.queues));
  return {
    config,
    log,
    metrics,
    store,
    clusters,
    id,
    userAgent,
    stopping: stop.signal,
    background: (promise) => keep(promise.catch((err: unknown) => log.unexpected({ err }))),
    repeat: (ms, act) => keep(every(ms, act, (err) => log.redisTrouble({ err }), stop.signal)),
    async importStands() {
      const { complete } = await store.ledger.mark();
      metrics.importComplete.set(complete ? 1 : 0);
      return complete;
    },
  };
}

/** Opens /livez, /readyz and /metrics. `running` says why the process is not, or nothing. */
export async function openServiceOps(
  started: AsyncDisposableStack,
  { config, log, metrics, importStands }: Service,
  running: () => string | undefined = () => undefined,
): Promise<string> {
  const ops = openOps(
    log,
    metrics,
    async () =>
      running() ??
      (await importStands().then(
        (stands) => (stands ? undefined : "the import does not stand yet"),
        () => "redis does not answer",
      )),
  );
  started.defer(() => ops.close());
  return listen(ops, config.opsListen);
}

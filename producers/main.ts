// A producer process: what runs, in order. The watches on the sources, the login hook, the resync of each cluster. Two side by side are harmless.
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { ClusterClient } from "../shared/kube/client.ts";
import { Clusters } from "../shared/kube/clusters.ts";
import { accessFrom } from "../shared/kube/kubeconfig.ts";
import { every } from "../shared/kube/watch.ts";
import type { Ledger } from "../shared/ledger/ledger.ts";
import type { Config } from "../shared/run/config.ts";
import { listen, openOps } from "../shared/run/http.ts";
import type { Log } from "../shared/run/log.ts";
import type { Metrics } from "../shared/run/metrics.ts";
import { countJobs, openMetrics } from "../shared/run/metrics.ts";
import { openStore, redisFacts } from "../shared/run/redis.ts";
import { Bindings } from "./bindings.ts";
import { openHook } from "./hook.ts";
import { resync } from "./resync.ts";
import { Sources } from "./sources.ts";

/** The hook answers within 1.5 s whatever Redis does. */
const REDIS_TIMEOUT_MS = 1_000;
const RESYNC_MS_MAX = 600_000;

/** Starts a producer process' parts and returns how to stop them. @throws Error when Redis, the folder of clusters or the management kubeconfig cannot be used. */
export async function startProducer(config: Config, log: Log, version: string): Promise<AsyncDisposable & { readonly ops: string; readonly hook: string }> {
  await using started = new AsyncDisposableStack();
  const id = randomUUID().slice(0, 8);
  const userAgent = `understudy/${version} producer ${id}`;
  const stop = new AbortController();
  const metrics = openMetrics();
  const store = started.use(await openStore(config.redisUrl!, config.redisPrefix, REDIS_TIMEOUT_MS, (err) => log.redisTrouble({ err })));
  const facts = await redisFacts(store.redis);
  if (facts.problems.length > 0) throw new Error(facts.problems.join("; "));
  const { ledger } = store;
  const clusters = started.use(await new Clusters(config.clustersDir!, { allow: config.kubeconfigAllow, userAgent }).load());
  clusters.listen({
    // Whoever waited for this cluster is woken by its resync.
    onAppeared: ({ cluster }) => void ledger.noteCluster(cluster, { resyncAt: 0 }).catch((err: unknown) => log.redisTrouble({ err })),
    onProblem: (file, problem) => log.clusterProblem({ file, problem }),
  });
  clusters.follow();
  const management = config.source === "rancher" ? await managementClient(config.managementKubeconfig!, config, userAgent) : undefined;
  if (management) started.defer(() => management.close());
  const background: Promise<unknown>[] = [];
  started.defer(async () => {
    stop.abort();
    await Promise.allSettled(background);
  });
  let bindings = new Bindings();
  if (management) {
    const sources = new Sources({ client: management, ledger, config, log, metrics, clusters: () => clusters.ids() });
    bindings = sources.bindings;
    background.push(sources.run(stop.signal));
  } else {
    background.push(every(1_000, () => markLogins(ledger, clusters, metrics), (err) => log.redisTrouble({ err }), stop.signal));
  }
  background.push(every(1_000, () => resyncWhatIsDue({ ledger, clusters, bindings, config, log, metrics, id }, stop.signal), (err) => log.redisTrouble({ err }), stop.signal));
  const hook = openHook({ ledger, bindings, config, policy: config, log, metrics, clusters: () => clusters.ids(), now: () => Date.now() });
  started.defer(() => hook.close());
  const hookAddress = await listen(hook, config.hookListen);
  countJobs(metrics, Object.values(store.queues));
  const ops = openOps(log, metrics, async () => ((await ledger.mark()).complete ? undefined : "the import does not stand yet"));
  started.defer(() => ops.close());
  const opsAddress = await listen(ops, config.opsListen);
  log.started({ what: "producer", id, source: config.source, hook: hookAddress, ops: opsAddress, clusters: clusters.ids() });
  const all = started.move();
  return { ops: opsAddress, hook: hookAddress, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** @throws Error naming the file and what is wrong with it. */
export async function managementClient(path: string, config: Pick<Config, "kubeconfigAllow">, userAgent: string): Promise<ClusterClient> {
  try {
    return new ClusterClient("management", accessFrom(await readFile(path, "utf8"), config.kubeconfigAllow), userAgent);
  } catch (error) {
    throw new Error(`UNDERSTUDY_MANAGEMENT_KUBECONFIG (${path}): ${error instanceof Error ? error.message : "unreadable"}`);
  }
}

/** Without a management cluster there is nothing to import: logins are the truth, and the roles remember them. */
async function markLogins(ledger: Ledger, clusters: Clusters, metrics: Metrics): Promise<void> {
  const { complete } = await ledger.mark();
  metrics.importComplete.set(complete ? 1 : 0);
  if (complete) return;
  await ledger.importEnd(await ledger.importBegin());
  for (const cluster of clusters.ids()) await ledger.noteCluster(cluster, { resyncAt: 0 });
}

interface ResyncTimer {
  readonly ledger: Ledger;
  readonly clusters: Clusters;
  readonly bindings: Bindings;
  readonly config: Config;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly id: string;
}
/** The timer of each cluster's resync lies in Redis, so that several producers do it once. */
async function resyncWhatIsDue({ ledger, clusters, bindings, config, log, metrics, id }: ResyncTimer, signal: AbortSignal): Promise<void> {
  if (!(await ledger.mark()).complete) return;
  const one = async (cluster: string): Promise<void> => {
    const { resyncAt } = await ledger.clusterFields(cluster);
    const client = clusters.get(cluster);
    if (!client || Number(resyncAt ?? 0) > Date.now() || !(await ledger.claimResync(cluster, id, RESYNC_MS_MAX))) return;
    try {
      await ledger.noteCluster(cluster, { resyncAt: Date.now() + Math.round(config.resyncMs * (0.9 + Math.random() * 0.2)) });
      const result = await resync({ client, ledger, bindings, install: config.install, removalsMax: config.removalsMax }, signal);
      await ledger.noteCluster(cluster, { lastResync: Date.now(), heldResync: result.held });
      metrics.resyncedAt.set({ cluster }, Date.now() / 1000);
      metrics.orphans.set({ cluster }, result.orphans);
      metrics.removalsHeld.set({ cluster }, result.held);
      if (result.held > 0) log.removalsHeld({ cluster, removals: result.held });
      log.resynced({ cluster, ...result });
    } catch (error) {
      if (signal.aborted) return;
      log.resyncFailed({ cluster, err: error });
      await ledger.noteCluster(cluster, { resyncAt: Date.now() + 10_000 });
    } finally {
      await ledger.endResync(cluster);
    }
  };
  await Promise.all(clusters.ids().map(one));
}

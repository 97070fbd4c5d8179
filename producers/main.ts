// A producer process: what runs, in order. The watches on the sources, the login hook, the resync of each cluster. Two side by side are harmless.
import { readFile } from "node:fs/promises";
import { ClusterClient } from "../shared/kube/client.ts";
import { accessFrom } from "../shared/kube/kubeconfig.ts";
import type { Config } from "../shared/run/config.ts";
import { listen } from "../shared/run/http.ts";
import type { Log } from "../shared/run/log.ts";
import type { Service } from "../shared/run/service.ts";
import { openService, openServiceOps } from "../shared/run/service.ts";
import { Bindings } from "./bindings.ts";
import { openHook } from "./hook.ts";
import { resync } from "./resync.ts";
import { Sources } from "./sources.ts";

/** The hook answers within 1.5 s whatever Redis does. */
const REDIS_TIMEOUT_MS = 1_000;
const TURN_MS = 1_000;
const RESYNC_MS_MAX = 600_000;
const RESYNC_RETRY_MS = 10_000;

/** Starts a producer process' parts and returns how to stop them. @throws Error when Redis, the folder of clusters or the management kubeconfig cannot be used. */
export async function startProducer(config: Config, log: Log, version: string): Promise<AsyncDisposable & { readonly ops: string; readonly hook: string }> {
  await using started = new AsyncDisposableStack();
  const service = await openService(started, { kind: "producer", config, log, version, redisTimeoutMs: REDIS_TIMEOUT_MS });
  const bindings = new Bindings();
  const ids = (): string[] => service.clusters.ids();
  if (config.source === "rancher") await followSources(started, service, bindings);
  else {
    bindings.loaded = true; // there are none
    service.repeat(TURN_MS, () => markLogins(service));
  }
  followClusters(service);
  resyncInTurn(service, bindings);
  const { metrics, store } = service;
  const hook = openHook({ ledger: store.ledger, bindings, config, policy: config, log, metrics, clusters: ids, now: () => Date.now() });
  started.defer(() => hook.close());
  const hookAddress = await listen(hook, config.hookListen);
  const ops = await openServiceOps(started, service, () => (bindings.loaded ? undefined : "the sources have not been read yet"));
  log.started({ what: "producer", id: service.id, source: config.source, hook: hookAddress, ops, clusters: ids() });
  const all = started.move();
  return { ops, hook: hookAddress, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** The watches end before their connection does. */
async function followSources(started: AsyncDisposableStack, { config, log, metrics, store, clusters, userAgent }: Service, bindings: Bindings): Promise<void> {
  const client = await managementClient(config.managementKubeconfig!, config, userAgent);
  const sources = new Sources({ client, bindings, ledger: store.ledger, config, log, metrics, clusters: () => clusters.ids() });
  const end = new AbortController();
  const running = sources.run(end.signal).catch((err: unknown) => log.unexpected({ err }));
  started.defer(async () => {
    end.abort();
    await running;
    await client.close();
  });
}

/** @throws Error naming the file and what is wrong with it. */
export async function managementClient(path: string, config: Pick<Config, "kubeconfigAllow">, userAgent: string): Promise<ClusterClient> {
  try {
    return new ClusterClient("management", accessFrom(await readFile(path, "utf8"), config.kubeconfigAllow), userAgent);
  } catch (error) {
    throw new Error(`UNDERSTUDY_MANAGEMENT_KUBECONFIG (${path}): ${error instanceof Error ? error.message : "unreadable"}`, { cause: error });
  }
}

/** Whoever waited for a cluster that appears is woken by its resync. */
function followClusters({ clusters, store, log, background }: Service): void {
  clusters.listen({
    onAppeared: ({ cluster }) => background(store.ledger.noteCluster(cluster, { resyncAt: 0 })),
    onProblem: (file, problem) => log.clusterProblem({ file, problem }),
  });
}

/** Without a management cluster there is nothing to import: logins are the truth, and the roles remember them. */
async function markLogins({ store, clusters, importStands }: Service): Promise<void> {
  if (await importStands()) return;
  const { ledger } = store;
  await ledger.importEnd(await ledger.importBegin());
  for (const cluster of clusters.ids()) await ledger.noteCluster(cluster, { resyncAt: 0, forgottenAt: Date.now() });
}

/** Each cluster by itself: a slow one keeps no other waiting. */
function resyncInTurn(service: Service, bindings: Bindings): void {
  const running = new Set<string>();
  service.repeat(TURN_MS, async () => {
    if (!bindings.loaded || !(await service.importStands())) return;
    for (const cluster of service.clusters.ids().filter((id) => !running.has(id))) {
      running.add(cluster);
      service.background(resyncIfDue(cluster, service, bindings).finally(() => running.delete(cluster)));
    }
  });
}

/** The timer of each cluster's resync lies in Redis, so that several producers do it once. */
async function resyncIfDue(cluster: string, { config, log, metrics, store, clusters, id, stopping }: Service, bindings: Bindings): Promise<void> {
  const { ledger } = store;
  const { resyncAt, heldImport = "0" } = await ledger.clusterFields(cluster);
  const client = clusters.get(cluster);
  if (!client || Number(resyncAt ?? 0) > Date.now() || !(await ledger.claimResync(cluster, id, RESYNC_MS_MAX))) return;
  try {
    await ledger.noteCluster(cluster, { resyncAt: Date.now() + Math.round(config.resyncMs * (0.9 + Math.random() * 0.2)) });
    const { run } = await ledger.mark();
    const began = Date.now();
    const result = await resync({ client, ledger, bindings, config, run }, stopping);
    await ledger.noteCluster(cluster, { lastResync: began, heldResync: result.held });
    metrics.resyncedAt.set({ cluster }, Date.now() / 1000);
    metrics.orphans.set({ cluster }, result.orphans);
    metrics.removalsHeld.set({ cluster }, result.held + Number(heldImport));
    if (result.held > 0) log.removalsHeld({ cluster, removals: result.held });
    log.resynced({ cluster, ...result });
  } catch (error) {
    if (stopping.aborted) return;
    log.resyncFailed({ cluster, err: error });
    await ledger.noteCluster(cluster, { resyncAt: Date.now() + RESYNC_RETRY_MS });
  } finally {
    await ledger.endResync(cluster, id);
  }
}

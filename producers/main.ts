// A producer process: what runs, in order. The watches on the sources, the login hook, the resync of each cluster. Two side by side are harmless.
import type { ClusterClient } from "../shared/kube/client.ts";
import { managementClient } from "../shared/kube/clusters-open.ts";
import type { Config } from "../shared/run/config.ts";
import { listen } from "../shared/run/http.ts";
import type { Log } from "../shared/run/log.ts";
import { blockingConnection } from "../shared/run/redis.ts";
import type { Service } from "../shared/run/service.ts";
import { openService, openServiceOps } from "../shared/run/service.ts";
import { Bindings } from "./bindings.ts";
import { openCredentials } from "./credentials.ts";
import { Drift } from "./drift.ts";
import { openHook } from "./hook.ts";
import { inTime } from "./patience.ts";
import { resync } from "./resync.ts";
import { BLOCK_MS, RevocationStreams } from "./revocation-streams.ts";
import { Sources } from "./sources.ts";
import { Tokens } from "./tokens.ts";

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
  const seenAt = followClusters(service);
  resyncInTurn(service, bindings);
  const { metrics, store } = service;
  const hook = openHook({ ledger: store.ledger, bindings, config, policy: config, log, metrics, clusters: ids, seenAt, now: () => Date.now() });
  started.defer(() => hook.close());
  const hookAddress = await listen(hook, config.hookListen);
  const credentials = await listenForCredentials(started, service);
  const ops = await openServiceOps(started, service, () => unread(service, bindings));
  log.started({ what: "producer", id: service.id, source: config.source, hook: hookAddress, credentials, ops, clusters: ids() });
  const all = started.move();
  return { ops, hook: hookAddress, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** Until both are known, a login would be answered that its cluster or its binding is not there. */
function unread({ clusters }: Service, { loaded }: Bindings): string | undefined {
  if (!loaded) return "the sources have not been read yet";
  return clusters.complete ? undefined : "the Secrets of the clusters have not been read yet";
}

/** Undefined where the setting is `off`: then there is no listener, no reader and no token. */
async function listenForCredentials(started: AsyncDisposableStack, { config, log, metrics, store, clusters, stopping }: Service): Promise<string | undefined> {
  if (!config.credentialsListen) return undefined;
  const { ledger } = store;
  const onTrouble = (err: unknown): void => log.redisTrouble({ err });
  const now = (): number => Date.now();
  const onMoved = async (cluster: string, user: string): Promise<void> =>
    void (await inTime(ledger.submit({ cluster, user }, {}, "drift", "binding")).catch(onTrouble));
  const redis = await blockingConnection(config.redisUrl!, BLOCK_MS, onTrouble);
  started.defer(() => redis.disconnect());
  const streams = await new RevocationStreams({ redis, quick: ledger.redis, tag: ledger.tag, log }).start();
  started.defer(() => streams.end());
  const tokens = new Tokens({ mode: config.tokenMode, stopping, now, onMoved });
  const app = openCredentials({ ledger, config, tokens, streams, log, metrics, clientOf: (cluster) => clusters.get(cluster), now });
  started.defer(() => app.close());
  return listen(app, config.credentialsListen);
}

/** The watches end before their connection does. */
async function followSources(started: AsyncDisposableStack, { config, log, metrics, store, clusters, userAgent }: Service, bindings: Bindings): Promise<void> {
  const client = await managementClient(config, userAgent);
  const sources = new Sources({ client, bindings, ledger: store.ledger, config, log, metrics, clusters: () => clusters.ids() });
  const end = new AbortController();
  const running = sources.run(end.signal).catch((err: unknown) => log.unexpected({ err }));
  started.defer(async () => {
    end.abort();
    await running;
    await client.close();
  });
}

/** A drift watch for each cluster, as long as its client lives: it begins by asking for a resync, which wakes whoever waited for the cluster. Returns when each was last known to be as settled. */
function followClusters({ config, clusters, store, log, metrics, stopping, background }: Service): (cluster: string) => Promise<number | undefined> {
  const watches = new Map<string, Drift>();
  const watch = (client: ClusterClient): void => {
    const drift = new Drift({ client, ledger: store.ledger, install: config.install, log, metrics });
    watches.set(client.cluster, drift);
    background(drift.run(AbortSignal.any([client.closed, stopping])));
    // Also where it cannot be watched: the resync says why.
    background(store.ledger.noteCluster(client.cluster, { resyncAt: 0 }));
  };
  clusters.listen({
    onAppeared: watch,
    onChanged: watch,
    onGone: (cluster) => void watches.delete(cluster),
    onProblem: (file, problem) => log.clusterProblem({ file, problem }),
  });
  return async (cluster) => watches.get(cluster)?.seenAt();
}

/** Without a management cluster there is nothing to import: logins are the truth, and the roles remember them. */
async function markLogins({ store, clusters, importStands }: Service): Promise<void> {
  if (!clusters.complete || (await importStands())) return;
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
    await ledger.noteCluster(cluster, { lastResync: began, heldResync: result.held, orphans: result.orphans });
    metrics.resyncedAt.set({ cluster }, Date.now() / 1000);
    metrics.orphans.set({ cluster }, result.orphans);
    metrics.removalsHeld.set({ cluster }, result.held + Number(heldImport));
    if (result.held > 0) log.removalsHeld({ cluster, removals: result.held });
    for (const { user, alien } of result.aliens) {
      for (const kind of new Set(alien.match(/\b(?:Cluster)?RoleBinding(?= )/g))) metrics.tampering.inc({ cluster, kind });
      log.alienBinding({ cluster, user, alien });
    }
    if (result.roleBindingsHidden) log.alienUnseen({ cluster });
    log.resynced({ cluster, ...result, aliens: result.aliens.length });
  } catch (error) {
    if (stopping.aborted) return;
    log.resyncFailed({ cluster, err: error });
    await ledger.noteCluster(cluster, { resyncAt: Date.now() + RESYNC_RETRY_MS });
  } finally {
    await ledger.endResync(cluster, id);
  }
}

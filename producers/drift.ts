// Watches the objects of one cluster for other hands, and wakes whose they are. Decides nothing and writes nothing: it says "look".
// What was not heard (before the start, in a gap) is for the resync, which is asked for.
import type { KubernetesObject } from "@kubernetes/client-node";
import type { Drift as Difference, Sight } from "../shared/decide/drift.ts";
import { driftIn, isLeftBehind, isOwnPast, nameIn, userIn } from "../shared/decide/drift.ts";
import type { Kind } from "../shared/decide/plan.ts";
import { isMadeByOthers, isStopped } from "../shared/decide/rival.ts";
import type { ClusterClient } from "../shared/kube/client.ts";
import { METADATA_ONLY, METADATA_ONLY_LIST } from "../shared/kube/client.ts";
import { COLLECTIONS, LABELLED } from "../shared/kube/paths.ts";
import { every, follow } from "../shared/kube/watch.ts";
import type { Ledger } from "../shared/ledger/ledger.ts";
import type { SubjectRecord } from "../shared/ledger/record.ts";
import { NAMESPACE, PREFIX } from "../shared/names.ts";
import type { Log } from "../shared/run/log.ts";
import type { Metrics } from "../shared/run/metrics.ts";

const METADATA = { list: METADATA_ONLY_LIST, watch: METADATA_ONLY };
/** The four kinds, and the namespace: what goes there takes the others along, so that its own events say it all. Secrets are watched without their contents, and without the label that a foreign one would not have. */
const WATCHED = {
  ClusterRole: { path: COLLECTIONS.ClusterRole, query: LABELLED },
  ClusterRoleBinding: { path: COLLECTIONS.ClusterRoleBinding, query: LABELLED },
  ServiceAccount: { path: COLLECTIONS.ServiceAccount, query: LABELLED },
  Secret: { path: COLLECTIONS.Secret, query: {}, accept: METADATA },
  Namespace: { path: "/api/v1/namespaces", query: { fieldSelector: `metadata.name=${NAMESPACE}` }, accept: METADATA },
} as const;
type Watched = keyof typeof WATCHED;
const KINDS = Object.keys(WATCHED) as Watched[];
/** Longer than a watch lasts, after which it is opened anew, which is heard: a quiet cluster must not look dead. */
const LIVE_MS = 90_000;
/** What is seen while a run is at work on its subject is judged when that is done. */
const AGAIN_MS = 250;

export interface DriftParts {
  readonly client: ClusterClient;
  readonly ledger: Ledger;
  readonly install: string;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** The drift watch of one cluster. */
export class Drift {
  readonly #parts: DriftParts;
  /** Kind → when something was last heard (ms); absent while its watch is broken. */
  readonly #heard = new Map<Watched, number>();
  readonly #later = new Map<string, { sight: Sight; user: string }>();
  /** When it began to hear without a gap (ms): what was before is known once a resync began after it. */
  #gapAt = Date.now();

  constructor(parts: DriftParts) {
    this.#parts = parts;
  }

  /** Runs until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const { client, log } = this.#parts;
    const again = every(
      AGAIN_MS,
      () => this.#judgeLater(),
      (err) => log.redisTrouble({ err }),
      signal,
    );
    await Promise.all([again, ...KINDS.map((kind) => follow(client, this.#stream(kind), signal))]);
  }

  /** When it was last known (ms) that nobody else had changed anything on the cluster that it did not tell of; undefined while it cannot know. */
  async seenAt(): Promise<number | undefined> {
    const heard = KINDS.map((kind) => this.#heard.get(kind) ?? 0);
    const last = Math.min(...heard);
    if (last < Date.now() - LIVE_MS) return undefined;
    const { lastResync = "0" } = await this.#parts.ledger.clusterFields(this.#parts.client.cluster);
    return Number(lastResync) >= this.#gapAt ? last : undefined;
  }

  #stream(kind: Watched) {
    const { client, log, metrics } = this.#parts;
    return {
      ...WATCHED[kind],
      onGap: () => this.#askForResync(),
      onEvent: async (type: "ADDED" | "MODIFIED" | "DELETED", object: KubernetesObject) => {
        if (kind !== "Namespace") await this.#see({ kind, object, gone: type === "DELETED" });
        else if (type === "DELETED") metrics.drift.inc({ cluster: client.cluster, kind });
      },
      onAlive: () => void this.#heard.set(kind, Date.now()),
      onRetry: (err: unknown, waitMs: number) => {
        this.#heard.delete(kind);
        metrics.watchRetries.inc({ kind: kind.toLowerCase() });
        log.watchRetried({ cluster: client.cluster, kind, err, waitMs: Math.round(waitMs) });
      },
    };
  }

  async #askForResync(): Promise<void> {
    this.#gapAt = Date.now();
    await this.#parts.ledger.noteCluster(this.#parts.client.cluster, { resyncAt: 0 });
  }

  async #see(sight: Sight): Promise<void> {
    // Secrets of others in the namespace are nobody's.
    if (!nameIn(sight).startsWith(PREFIX)) return;
    const user = userIn(sight);
    if (user === undefined) return this.#askForResync(); // A slug without a mark: only the whole list says whose it is.
    const key = `${sight.kind} ${sight.object.metadata!.name}`;
    const before = this.#later.get(key);
    this.#later.delete(key); // What it was before no longer counts,
    if (before && isMadeByOthers(before.sight.object)) await this.#tell(before.sight, user); // but for what somebody got by it.
    if (!(await this.#judge(sight, user))) this.#later.set(key, { sight, user });
  }

  /** Against the record: what differs from what was settled wakes the subject. False: not to be judged yet. */
  async #judge(sight: Sight, user: string, again = false): Promise<boolean> {
    const { client, ledger, install } = this.#parts;
    const subject = { cluster: client.cluster, user };
    const record = await ledger.record(subject);
    // Without a record it is an orphan, or was forgotten: the resync's.
    if (!record) return true;
    const left = !record.applied && record.obs >= record.gen && ["removed", "waiting"].includes(record.result) && isLeftBehind(sight, user, install);
    // A run at work may have written it; an object of somebody removed may be the last event before its end.
    if (record.owner !== "" || (left && !again)) return false;
    if (record.applied && isOwnPast(sight, record.applied)) return true;
    const drift = record.applied ? driftIn(sight, user, record.applied, install) : left ? { what: "it was made after the removal" } : undefined;
    if (drift) await this.#report(sight.kind, user, drift, record);
    return true;
  }

  async #judgeLater(): Promise<void> {
    const all = [...this.#later];
    for (const [key, waiting] of all) {
      // Kept until it is judged, also where Redis is away; a newer sight of the same object takes its place.
      const isNewest = (): boolean => this.#later.get(key) === waiting;
      if (isNewest() && (await this.#judge(waiting.sight, waiting.user, true)) && isNewest()) this.#later.delete(key);
    }
  }

  /** Of an object that others made, and that a run put right before it could be judged. */
  async #tell(sight: Sight, user: string): Promise<void> {
    const { client, ledger, install } = this.#parts;
    const applied = (await ledger.record({ cluster: client.cluster, user }))?.applied;
    const drift = applied && driftIn(sight, user, applied, install);
    if (drift) this.#count(sight.kind, user, drift);
  }

  #count(kind: Kind, user: string, { what, tampering }: Difference): void {
    const { client, log, metrics } = this.#parts;
    const { cluster } = client;
    metrics.drift.inc({ cluster, kind });
    log.drifted({ cluster, user, kind, what });
    if (tampering !== undefined) {
      metrics.tampering.inc({ cluster, kind });
      log.tampered({ cluster, user, kind, what: tampering });
    }
  }

  async #report(kind: Kind, user: string, drift: Difference, record: SubjectRecord): Promise<void> {
    const { client, ledger } = this.#parts;
    this.#count(kind, user, drift);
    // Stopped because another manager does this again and again.
    if (record.result === "failed" && isStopped(record.rivals, undefined, 0)) return;
    const told = drift.stray === undefined ? {} : { strays: [drift.stray] };
    await ledger.submit({ cluster: client.cluster, user }, told, "drift", "binding");
  }
}

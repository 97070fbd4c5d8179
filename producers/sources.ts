// The watches on the management cluster, supervised, and the import that stands before them. An event says "look"; what a list lacks is gone only if the list is whole.
import type { KubernetesObject } from "@kubernetes/client-node";
import type { ClusterClient } from "../shared/kube/client.ts";
import { follow, pause } from "../shared/kube/watch.ts";
import type { Ledger } from "../shared/ledger/ledger.ts";
import type { Config } from "../shared/run/config.ts";
import type { Log } from "../shared/run/log.ts";
import type { Metrics } from "../shared/run/metrics.ts";
import type { Bindings } from "./bindings.ts";
import { makesCandidates, sameHolder } from "./bindings.ts";
import { importAll } from "./import.ts";
import type { Binding, BindingKind, SourceKind } from "./rancher.ts";
import { SOURCES, isBindingKind, misreadAt, readAttribute, readUser, sourcePath } from "./rancher.ts";
import { fillFrom, inForce, listSources } from "./source-lists.ts";
import { tellBinding, tellCandidate, tellGrant, tellHolders, tellUser } from "./tell.ts";

const MARK_MS = 1_000;
const RETRY_MS_MAX = 30_000;

export interface SourceParts {
  readonly client: ClusterClient;
  /** Filled from the sources. */
  readonly bindings: Bindings;
  readonly ledger: Ledger;
  readonly config: Pick<Config, "globalRoles" | "removalsMax" | "resyncMs">;
  readonly log: Log;
  readonly metrics: Metrics;
  clusters(): string[];
}

/** Owns the order: import first, then watch, and again from the start when either breaks. */
export class Sources {
  readonly #parts: SourceParts;

  constructor(parts: SourceParts) {
    this.#parts = parts;
  }

  /** Imports, watches, and imports again whenever the mark is missing or a stream lost its place. Until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const { log } = this.#parts;
    for (let failures = 0; !signal.aborted;) {
      const round = new AbortController();
      const both = AbortSignal.any([signal, round.signal]);
      try {
        await this.#import(both);
        failures = 0;
        await this.#watch(both);
      } catch (error) {
        if (signal.aborted) return;
        failures += 1;
        const waitMs = Math.min(RETRY_MS_MAX, 250 * 2 ** Math.min(failures, 8));
        log.importFailed({ err: error, waitMs: Math.round(waitMs) });
        await pause(waitMs, signal);
      } finally {
        round.abort();
      }
    }
  }

  async #import(signal: AbortSignal): Promise<void> {
    const { client, ledger, config, log, metrics } = this.#parts;
    for (let answer = "again"; answer === "again";) {
      const began = performance.now();
      const nonce = await ledger.importBegin();
      const floor = await ledger.versionFloor();
      const wasComplete = (await ledger.mark()).complete;
      const lists = await listSources(client, signal);
      fillFrom(lists, this.#parts.bindings, config.globalRoles, (...refused) => this.#refused(...refused));
      const highest = Math.max(...lists.map(({ list }) => Number(list.resourceVersion)));
      const whole = highest < floor;
      if (whole) log.olderSource({ floor, listed: highest });
      const allowed = await ledger.allowed("import");
      for (const [cluster, removals] of allowed) log.removalsAllowed({ cluster, removals });
      const imported = await importAll(ledger, this.#parts.bindings, { whole, removalsMax: config.removalsMax, allowed }, signal);
      for (const [cluster, removals] of imported.held) log.removalsHeld({ cluster, removals });
      if (whole) await ledger.lowerVersionFloor(String(highest));
      for (const cluster of this.#parts.clusters()) {
        const heldImport = imported.held.get(cluster) ?? 0;
        await ledger.noteCluster(cluster, { heldImport, ...(wasComplete ? {} : { resyncAt: 0, forgottenAt: Date.now() }) });
        metrics.removalsHeld.set({ cluster }, heldImport + Number((await ledger.clusterFields(cluster))["heldResync"] ?? 0));
      }
      await ledger.endAllowed("import", allowed.keys());
      answer = await ledger.importEnd(nonce);
      if (answer === "again") {
        log.importAgain();
        continue;
      }
      metrics.importedAt.set(Date.now() / 1000);
      log.imported({ users: imported.users, subjects: imported.subjects, changed: imported.changed, ms: Math.round(performance.now() - began) });
    }
  }

  /** Refused objects change nothing and are named, so that a person can mend them. */
  #refused(kind: SourceKind, object: KubernetesObject, reason: string): void {
    this.#parts.metrics.refused.inc({ what: kind });
    this.#parts.log.bindingRefused({ kind, name: object.metadata?.name, namespace: object.metadata?.namespace, reason });
  }

  /** One that cannot be read says nothing, neither that it is gone. */
  #unread(kind: "users" | "userattributes", object: KubernetesObject): void {
    this.#parts.bindings.unread.add(`${kind} ${object.metadata?.name}`);
    this.#refused(kind, object, misreadAt(kind, object));
  }

  /** Follows the five kinds from the lists' versions on. Returns when everything has to be read again. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { client, ledger, config, log, metrics } = this.#parts;
    const end = new AbortController();
    const both = AbortSignal.any([signal, end.signal]);
    const streams = SOURCES.map((kind) =>
      follow(
        client,
        {
          path: sourcePath(kind),
          from: this.#parts.bindings.versions.get(kind)!,
          // The stream lost its place, or an event could not be told: everything is read again.
          onList: async () => end.abort(),
          onEvent: (type, object) => this.#hear(kind, type === "DELETED", object),
          onRetry: (error, waitMs) => {
            metrics.watchRetries.inc({ kind });
            log.watchRetried({ kind, err: error, waitMs: Math.round(waitMs) });
          },
        },
        both,
      ),
    );
    const mark = async (): Promise<void> => {
      while (!both.aborted) {
        // Removals that were held back may go on: by another read, for what was listed then may have changed.
        if ((await ledger.allowed("import").catch(() => undefined))?.size) end.abort();
        // FLUSHALL brings neither a reconnect nor another run_id.
        const answer = await ledger.mark().catch(() => undefined);
        metrics.importComplete.set(answer?.complete ? 1 : 0);
        if (answer && !answer.complete) end.abort();
        await pause(MARK_MS, both);
      }
    };
    // A missed event is repaired by the next whole read.
    const again = pause(config.resyncMs * (0.9 + Math.random() * 0.2), both).then(() => end.abort());
    await Promise.all([...streams, mark(), again]);
  }

  /** One event of a user or attribute. */
  async #hear(kind: SourceKind, deleted: boolean, object: KubernetesObject): Promise<void> {
    const { ledger } = this.#parts;
    this.#parts.bindings.versions.set(kind, object.metadata?.resourceVersion ?? "0");
    if (isBindingKind(kind)) return this.#hearBinding(kind, deleted, object);
    // Of what is gone only its name counts: it may never have been readable.
    const readable = deleted ? { metadata: object.metadata } : object;
    const before = kind === "users" ? readUser(readable) : readAttribute(readable);
    if (!before) return this.#unread(kind, object);
    const { user, rv } = before;
    if ("live" in before) {
      const said = { rv, live: deleted ? null : before.live };
      this.#parts.bindings.users.set(user, said);
      await tellUser(ledger, this.#parts.bindings, user, { user: said });
    } else {
      const providers = deleted ? [] : before.providers;
      this.#parts.bindings.attributes.set(user, providers);
      await tellUser(ledger, this.#parts.bindings, user, { attribute: providers });
    }
  }

  /** One event of a binding: what it was is ended, then what it is now is told. */
  async #hearBinding(kind: BindingKind, deleted: boolean, object: KubernetesObject): Promise<void> {
    const { ledger, bindings } = this.#parts;
    const { namespace, name, resourceVersion: rv = "0" } = object.metadata ?? {};
    const id = `${kind}:${namespace ? `${namespace}/${name}` : name}`;
    const old = bindings.get(id);
    const now = deleted ? undefined : inForce(kind, object, this.#parts.config.globalRoles, (...refused) => this.#refused(...refused));
    if (now) bindings.put(now);
    else bindings.drop(id);
    if (old && now && sameHolder(old, now)) return;
    const scope = (binding: Binding): string[] => (binding.cluster === undefined ? everywhere : [binding.cluster]);
    const everywhere = [...new Set([...this.#parts.clusters(), ...(await ledger.clusters())])];
    if (old && makesCandidates(old)) await tellHolders(ledger, id, rv, scope(old), bindings);
    else if (old?.cluster !== undefined && "user" in old.holder)
      await tellGrant(ledger, bindings, { cluster: old.cluster, user: old.holder.user }, { id, rv, live: undefined });
    if (!now) return;
    if (makesCandidates(now)) await tellCandidate(ledger, now, scope(now));
    else if (now.cluster !== undefined && "user" in now.holder) await tellBinding(ledger, bindings, now, now.cluster, now.holder.user);
  }
}

// What Redis remembers beside the subjects: webhook ids, facts about a cluster, removals that a person allowed, and whose turn its resync is. Single commands; nothing here decides.
import { randomBytes } from "node:crypto";
import type { Redis } from "ioredis";
import type { Paused } from "./cluster-row.ts";
import { PAUSED, pausedFrom } from "./cluster-row.ts";

/** How long a webhook id is remembered (ms): twice the five minutes in which its signature counts. */
const REPLAY_MS = 600_000;

/** The half of the ledger that holds no lock. */
export class Notes {
  readonly redis: Redis;
  readonly tag: string;

  /** `tag`: the hash tag of the shard, e.g. `{understudy:0}`; everything of a subject lies under it. */
  constructor(redis: Redis, tag: string) {
    this.redis = redis;
    this.tag = tag;
  }

  protected key(...parts: string[]): string {
    return [this.tag, ...parts].join(":");
  }

  /** A webhook id: `new` until its login is known to be stored, then `same` for the same body; `other` for another body at any time. */
  async replay(webhookId: string, bodyHash: string): Promise<"new" | "same" | "other"> {
    const key = this.key("hook", webhookId);
    if ((await this.redis.set(key, `begun ${bodyHash}`, "PX", REPLAY_MS, "NX")) === "OK") return "new";
    const known = (await this.redis.get(key)) ?? `begun ${bodyHash}`;
    // Begun and not ended: stored in part or not at all, or being stored; to do it twice is harmless, to leave it out is not.
    return known.endsWith(` ${bodyHash}`) ? (known.startsWith("begun ") ? "new" : "same") : "other";
  }
  async endReplay(webhookId: string, bodyHash: string): Promise<void> {
    await this.redis.set(this.key("hook", webhookId), `stored ${bodyHash}`, "PX", REPLAY_MS);
  }
  async forgetReplay(webhookId: string): Promise<void> {
    await this.redis.del(this.key("hook", webhookId));
  }

  /** Facts about a cluster: gate, resync times. */
  async clusterFields(cluster: string): Promise<Record<string, string>> {
    return this.redis.hgetall(this.key("cluster", cluster));
  }
  async noteCluster(cluster: string, fields: Readonly<Record<string, string | number>>): Promise<void> {
    await this.redis.hset(this.key("cluster", cluster), fields);
  }
  /** A person's word: so many removals that were held back may go on, once; and a resync now. The import looks by itself. */
  async allow(cluster: string, removals: Readonly<Record<"import" | "resync", number>>): Promise<void> {
    for (const by of ["import", "resync"] as const) if (removals[by] > 0) await this.redis.hset(this.key("allowed", by), cluster, removals[by]);
    if (removals.resync > 0) await this.noteCluster(cluster, { resyncAt: 0 });
  }
  /** Cluster → removals that the next import, or the next resync there, may make. */
  async allowed(by: "import" | "resync"): Promise<Map<string, number>> {
    const all = await this.redis.hgetall(this.key("allowed", by));
    return new Map(Object.entries(all).map(([cluster, removals]) => [cluster, Number(removals)]));
  }
  /** Once they were made, or were not there any more. */
  async endAllowed(by: "import" | "resync", clusters: Iterable<string>): Promise<void> {
    for (const cluster of clusters) await this.redis.hdel(this.key("allowed", by), cluster);
  }
  /** Workers leave a paused cluster alone until it is resumed; who paused it first has paused it. Whether that is so by this call. */
  async pauseCluster(cluster: string, { by, since }: Paused): Promise<boolean> {
    return (await this.redis.hsetnx(this.key("cluster", cluster), PAUSED, `${since} ${by}`)) === 1;
  }
  async resumeCluster(cluster: string): Promise<boolean> {
    return (await this.redis.hdel(this.key("cluster", cluster), PAUSED)) === 1;
  }
  async pausedAt(cluster: string): Promise<Paused | undefined> {
    return pausedFrom(await this.redis.hget(this.key("cluster", cluster), PAUSED));
  }

  /** What the dashboards' forms are signed with: random, and one for all processes, which may stand behind one address. */
  async formsKey(): Promise<string> {
    const key = this.key("dashboard", "forms");
    await this.redis.set(key, randomBytes(32).toString("base64url"), "NX");
    return (await this.redis.get(key)) ?? this.formsKey();
  }

  /** Whether this process may resync the cluster now: one at a time, for `ttlMs` at most. */
  async claimResync(cluster: string, me: string, ttlMs: number): Promise<boolean> {
    return (await this.redis.set(this.key("resync", cluster), me, "PX", ttlMs, "NX")) === "OK";
  }
  async endResync(cluster: string, me: string): Promise<void> {
    if ((await this.redis.get(this.key("resync", cluster))) === me) await this.redis.del(this.key("resync", cluster));
  }
}

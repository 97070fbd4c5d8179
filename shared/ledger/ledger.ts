// What Redis remembers of one shard: a record per subject and per user, who works on a subject now, and what is due. The only file that knows Redis keys.
// A cache that can be rebuilt, never the truth. Start reading at submit, take, read, settle: the life of one wake-up, in that order.
import { randomBytes } from "node:crypto";
import type { JobsOptions } from "bullmq";
import type { Redis } from "ioredis";
import type { Cause, QueueName } from "../jobs.ts";
import { LOOKING_CAUSES, jobFor } from "../jobs.ts";
import type { Subject } from "../subject.ts";
import { subjectKey, subjectOf } from "../subject.ts";
import { Notes } from "./notes.ts";
import type { Applied, Done, Read, Settlement, SubjectRecord, Taken, UserRecord, Verdict } from "./record.ts";
import { fieldsOf, readFrom, recordOf, takenFrom, userRecordOf } from "./record.ts";
import type { ScriptName } from "./scripts.ts";
import { runScript } from "./scripts.ts";
import type { Learned, Submission, Submitted } from "./told.ts";
import { packLearned, packSubmission } from "./told.ts";

/** A queue as the ledger needs it: BullMQ's own `add`. */
export interface Waker {
  add(name: string, data: unknown, opts: JobsOptions): Promise<unknown>;
}

/** How long a lock holds without being renewed (ms); BullMQ's own job lock is as long. */
export const LOCK_MS = 15_000;

/** One shard. Every method is one script or one command: nothing here is atomic over two of them. */
export class Ledger extends Notes {
  readonly #queues: Readonly<Record<QueueName, Waker>>;

  constructor(redis: Redis, tag: string, queues: Readonly<Record<QueueName, Waker>>) {
    super(redis, tag);
    this.#queues = queues;
  }

  #run(name: ScriptName, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return runScript(this.redis, name, keys, args);
  }
  #rec(subject: Subject): string {
    return this.key("rec", subjectKey(subject));
  }

  /** S1, then the job: the fact is stored before anything is woken. @throws when Redis does not answer; the fact may then be stored without its job, which the sweep repairs. */
  async submit(subject: Subject, told: Submission, cause: Cause, queue: QueueName): Promise<Submitted> {
    const submitted = await this.store(subject, told, cause);
    if (submitted.delayMs >= 0) await this.wake(subject, cause, queue, submitted.delayMs);
    return submitted;
  }

  /** S1 alone. */
  async store(subject: Subject, told: Submission, cause: Cause): Promise<Submitted> {
    const body = {
      ...packSubmission(told),
      subject: subjectKey(subject),
      cluster: subject.cluster,
      stamp: randomBytes(8).toString("hex"),
      looks: LOOKING_CAUSES.has(cause) || told.look === true,
      orphan: cause === "orphan",
    };
    const keys = [this.#rec(subject), this.key("due"), this.key("subjects", subject.cluster), this.key("clusters"), this.key("rv")];
    const answer = (await this.#run("submit", keys, [JSON.stringify(body)])) as [number | string, number, number];
    if (answer[0] === "version") return { gen: 0, delayMs: -1, loginStored: false };
    return { gen: Number(answer[0]), delayMs: answer[1], loginStored: answer[2] === 1 };
  }

  /** The job alone: sweep, fill watch and a cluster that appears bring no fact. */
  async wake(subject: Subject, cause: Cause, queue: QueueName, delayMs = 0): Promise<void> {
    const { name, data, opts } = jobFor(subject, cause, delayMs);
    await this.#queues[queue].add(name, data, opts);
  }

  /** S2. `me`: random per run, 128 bits. */
  async take(subject: Subject, me: string): Promise<Taken> {
    return takenFrom((await this.#run("take", [this.#rec(subject), this.key("due"), this.key("era")], [me, LOCK_MS, subjectKey(subject)])) as unknown[]);
  }

  /** S3, after the cluster was observed. `seen`: what the role there remembers, or undefined where there is none of ours. */
  async read(subject: Subject, me: string, seen: { readonly ends: number; readonly values: object } | undefined): Promise<Read | "lost"> {
    const args = [me, LOCK_MS, seen?.ends ?? 0, seen ? JSON.stringify(seen.values) : ""];
    const [answer, ...rest] = (await this.#run("read", [this.#rec(subject), this.key("era")], args)) as [string, ...unknown[]];
    if (answer === "lost") return "lost";
    return readFrom(rest);
  }

  /** S4. */
  async check(subject: Subject, me: string, { gen, stamp }: SubjectRecord): Promise<Verdict> {
    return (await this.#run("check", [this.#rec(subject)], [me, gen, stamp])) as Verdict;
  }

  /** S5. */
  async settle(subject: Subject, me: string, { gen, stamp }: SubjectRecord, settlement: Settlement): Promise<Verdict> {
    const { applied } = settlement;
    const body = JSON.stringify({ ...settlement, applied: applied ? JSON.stringify(applied) : "", ends: applied?.ends ?? 0 });
    return (await this.#run("settle", this.#settling(subject), [subjectKey(subject), me, gen, stamp, body])) as Verdict;
  }

  /** S5b. */
  async park(subject: Subject, me: string, { gen, stamp }: SubjectRecord, reason: string, applied: Applied, done: Done = {}): Promise<Verdict> {
    const body = JSON.stringify({ ...done, reason, applied: JSON.stringify(applied), ends: applied.ends });
    return (await this.#run("park", this.#settling(subject), [subjectKey(subject), me, gen, stamp, body])) as Verdict;
  }
  #settling(subject: Subject): string[] {
    return [this.#rec(subject), this.key("due"), this.key("era"), this.key("revocations")];
  }

  /** S6. `unknown`: a write was sent whose answer never came; `wrote`: something was written and is not yet proved. Returns ms until the next try. */
  async fail(
    subject: Subject,
    me: string,
    stamp: string,
    how: Done & { mode: "fail" | "terminal" | "release" | "shelve"; waitMs?: number; reason: string; unknown: boolean; wrote?: boolean },
  ): Promise<number> {
    const wait = [how.mode, Math.ceil(how.waitMs ?? 0), how.reason];
    const did = [how.unknown ? 1 : 0, Math.random(), how.wrote ? 1 : 0, how.revokes ?? "", how.rival ?? ""];
    return Number(await this.#run("fail", [this.#rec(subject), this.key("due"), this.key("revocations")], [subjectKey(subject), me, stamp, ...wait, ...did]));
  }

  /** The clock of Redis (ms), by which everything is decided. */
  async now(): Promise<number> {
    const [seconds, micros] = (await this.redis.time()) as [string | number, string | number];
    return Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
  }

  /** How long until the subject may be tried again (ms, 0 = now), on the clock of Redis. */
  async retryIn(subject: Subject): Promise<number> {
    const [retryAt, now] = await Promise.all([this.redis.hget(this.#rec(subject), "retryAt"), this.now()]);
    return Math.max(0, Number(retryAt ?? 0) - now);
  }

  /** Whether somebody waits for this subject's token: a run at work, or a parked one. */
  async awaitsToken(subject: Subject): Promise<boolean> {
    const [owner, result] = await this.redis.hmget(this.#rec(subject), "owner", "result");
    return Boolean(owner) || result === "pending";
  }

  /** A subject whose cluster is not configured here: says so, and waits for the cluster to appear. */
  async shelve(subject: Subject, reason: string): Promise<void> {
    await this.#run("shelve", [this.#rec(subject), this.key("due")], [subjectKey(subject), reason]);
  }

  /** What a resync found bound to the impersonator's account besides its own binding; empty = nothing. */
  async noteAlien(subject: Subject, alien: string): Promise<void> {
    await this.#run("alien", [this.#rec(subject)], [alien]);
  }

  /** S7. */
  async sweep(limit: number): Promise<{ subject: Subject; delayMs: number; loginEnded: boolean }[]> {
    const flat = (await this.#run("sweep", [this.key("due")], [this.key("rec", ""), limit])) as (string | number)[];
    const found = [];
    for (let i = 0; i < flat.length; i += 3) found.push({ subject: subjectOf(String(flat[i])), delayMs: Number(flat[i + 1]), loginEnded: flat[i + 2] === 1 });
    return found;
  }

  /** S8. Returns the runs that have lost their lock. */
  async renew<T extends { subject: Subject; me: string }>(runs: readonly T[]): Promise<T[]> {
    if (runs.length === 0) return [];
    const lost = (await this.#run(
      "renew",
      runs.map((run) => this.#rec(run.subject)),
      [LOCK_MS, ...runs.map((run) => run.me)],
    )) as number[];
    return lost.map((position) => runs[position]!);
  }

  /** S9. The nonce of the import that begins. */
  async importBegin(): Promise<string> {
    const nonce = randomBytes(16).toString("hex");
    await this.#run("import", [this.key("import", nonce), this.key("era")], ["begin"]);
    return nonce;
  }
  async importEnd(nonce: string): Promise<"ok" | "again"> {
    return (await this.#run("import", [this.key("import", nonce), this.key("era")], ["end"])) as "ok" | "again";
  }
  /** Whether the import mark fits the Redis that answers, and that Redis' run_id. */
  async mark(): Promise<{ complete: boolean; run: string }> {
    const [era, info] = await Promise.all([this.redis.get(this.key("era")), this.redis.info("server")]);
    const run = /run_id:(\w+)/.exec(info)?.[1] ?? "";
    return { complete: era === run, run };
  }
  /** The highest resourceVersion ever told; a consistent list below it comes from a restored management cluster. */
  async versionFloor(): Promise<number> {
    return Number((await this.redis.get(this.key("rv"))) ?? 0);
  }
  /** After a restored management cluster was taken whole. */
  async lowerVersionFloor(rv: string): Promise<void> {
    await this.redis.set(this.key("rv"), rv);
  }

  /** Merges what is said of a user, and returns all that is known. */
  async learn(user: string, said: Learned): Promise<UserRecord> {
    return userRecordOf(fieldsOf((await this.#run("learn", [this.key("user", user)], [JSON.stringify(packLearned(said))])) as unknown[]));
  }
  async userRecord(user: string): Promise<UserRecord> {
    return userRecordOf(new Map(Object.entries(await this.redis.hgetall(this.key("user", user)))));
  }

  /** A look without the lock: for status and for answers, never to decide by. */
  async record(subject: Subject): Promise<SubjectRecord | undefined> {
    const fields = await this.redis.hgetall(this.#rec(subject));
    return Object.keys(fields).length === 0 ? undefined : recordOf(new Map(Object.entries(fields)));
  }
  /** Every cluster that has ever had a subject. */
  async clusters(): Promise<string[]> {
    return (await this.redis.smembers(this.key("clusters"))).sort();
  }
  /** The users of a cluster with their records, in pages; a subject whose record has expired is forgotten on the way. */
  async *subjects(cluster: string): AsyncGenerator<{ subject: Subject; record: SubjectRecord }> {
    const index = this.key("subjects", cluster);
    let cursor = "0";
    const told = new Set<string>(); // SSCAN may repeat
    do {
      const [next, keys] = await this.redis.sscan(index, cursor, "COUNT", 500);
      cursor = next;
      const fresh = keys.filter((key) => !told.has(key) && told.add(key));
      const found = await Promise.all(fresh.map(async (key) => ({ subject: subjectOf(key), record: await this.record(subjectOf(key)) })));
      for (const { subject, record } of found) {
        if (record) yield { subject, record };
        else await this.redis.srem(index, subjectKey(subject));
      }
    } while (cursor !== "0");
  }
}

// A ledger for one test, under a hash tag of its own on a real Redis. It names Redis keys to arrange and to look; the product leaves that to the ledger.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after } from "node:test";
import type { JobsOptions } from "bullmq";
import { Redis } from "ioredis";
import type { QueueName } from "../../shared/jobs.ts";
import type { Waker } from "../../shared/ledger/ledger.ts";
import { Ledger } from "../../shared/ledger/ledger.ts";
import type { Applied, Settlement, SubjectRecord, UserRecord } from "../../shared/ledger/record.ts";
import type { Facts, Subject } from "../../shared/subject.ts";
import { subjectKey } from "../../shared/subject.ts";
import { type RedisOptions, type TestRedis, startRedis } from "./redis.ts";

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

export const alice: Subject = { cluster: "c-amber", user: "u-alice" };
export const bob: Subject = { cluster: "c-amber", user: "u-bob" };

/** A run that holds the lock, with the record as it read it. */
export interface Run {
  readonly me: string;
  readonly takeover: boolean;
  readonly complete: boolean;
  readonly record: SubjectRecord;
}

export interface Added {
  readonly queue: QueueName;
  readonly name: string;
  readonly data: unknown;
  readonly opts: JobsOptions;
}

export interface Bench {
  readonly ledger: Ledger;
  readonly redis: Redis;
  readonly tag: string;
  /** The jobs that were added, where the test brought no queues of its own. */
  readonly added: Added[];
  /** Redis TIME in ms. */
  now(): Promise<number>;
  key(...parts: string[]): string;
  fields(subject: Subject): Promise<Record<string, string>>;
  /** Writes fields of the record as they would be after time has passed. */
  arrange(subject: Subject, fields: Readonly<Record<string, string | number>>): Promise<void>;
  dueAt(subject: Subject): Promise<number | undefined>;
  setDue(subject: Subject, at: number): Promise<void>;
  ttlMs(subject: Subject): Promise<number>;
  /** A whole import of nothing: sets the mark. */
  import(): Promise<void>;
  /** Takes the lock for a new run, which must be given. */
  run(subject: Subject): Promise<Run>;
  /** The subjects of a cluster, as status and resync see them. */
  listed(cluster: string): Promise<string[]>;
  /** Submits a grant, and settles it as ready. */
  ready(subject: Subject): Promise<void>;
}

let benches = 0;

/** `openQueues`: real queues for the bench's tag, where a test wants to see more than what was added. */
export function benchOn(redis: Redis, openQueues?: (tag: string) => Readonly<Record<QueueName, Waker>>): Bench {
  const tag = `{t:${++benches}}`;
  const added: Added[] = [];
  const noting = (queue: QueueName): Waker => ({
    add: async (name, data, opts) => void added.push({ queue, name, data, opts }),
  });
  const ledger = new Ledger(redis, tag, openQueues?.(tag) ?? { binding: noting("binding"), login: noting("login"), deletion: noting("deletion") });
  const key = (...parts: string[]): string => [tag, ...parts].join(":");
  const rec = (subject: Subject): string => key("rec", subjectKey(subject));
  const run = async (subject: Subject): Promise<Run> => {
    const me = aMe();
    const taken = await ledger.take(subject, me);
    assert.equal(taken.answer, "go", `the lock of ${subjectKey(subject)} was not given`);
    assert.ok("read" in taken);
    return { me, takeover: taken.takeover, complete: taken.read.complete, record: taken.read.record };
  };
  return {
    ledger,
    redis,
    tag,
    added,
    key,
    run,
    now: async () => nowOf(redis),
    fields: async (subject) => redis.hgetall(rec(subject)),
    arrange: async (subject, fields) => void (await redis.hset(rec(subject), fields)),
    dueAt: async (subject) => {
      const score = await redis.zscore(key("due"), subjectKey(subject));
      return score === null ? undefined : Number(score);
    },
    setDue: async (subject, at) => void (await redis.zadd(key("due"), at, subjectKey(subject))),
    ttlMs: async (subject) => redis.pttl(rec(subject)),
    import: async () => assert.equal(await ledger.importEnd(await ledger.importBegin()), "ok"),
    listed: async (cluster) => {
      const keys = [];
      for await (const { subject } of ledger.subjects(cluster)) keys.push(subjectKey(subject));
      return keys.sort();
    },
    ready: async (subject) => {
      await ledger.submit(subject, { grants: [toldGrant("1")] }, "binding", "binding");
      const { me, record } = await run(subject);
      assert.equal(await ledger.settle(subject, me, record, aSettlement()), "ok");
    },
  };
}

/** A redis-server and a client for all tests of a file. */
export async function redisForFile(options: RedisOptions = {}): Promise<{ server: TestRedis; redis: Redis }> {
  const server = await startRedis(options);
  const redis = new Redis(server.socket, { maxRetriesPerRequest: null });
  after(async () => {
    redis.disconnect();
    await server.stop();
  });
  return { server, redis };
}

async function nowOf(redis: Redis): Promise<number> {
  const [seconds, micros] = await redis.time();
  return Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
}

export const aMe = (): string => randomBytes(16).toString("hex");

export function toldGrant(rv: string, id = "crtb:c-amber/b-1") {
  return { id, rv, live: { kind: "ClusterRoleTemplateBinding", name: id.slice(id.indexOf(":") + 1) } };
}
export const toldEnd = (rv: string, id = "crtb:c-amber/b-1") => ({ id, rv, live: undefined });

export function toldCandidate(rv: string, group: string, id = "crtb:c-amber/team") {
  return { id, rv, live: { kind: "ClusterRoleTemplateBinding", name: "c-amber/team", group } };
}

export function aCopy(n: number | string, providers: Facts["providers"] = {}): UserRecord {
  const user = { enabled: true, principalid: ["local://u-alice"], username: ["Alice"] };
  return { n: String(n), facts: { user, providers }, clusters: [], attributed: false, times: new Map() };
}

export function anApplied(over: Partial<Applied> = {}): Applied {
  return {
    identity: { user: "u-alice", groups: ["system:authenticated"], principalid: [], username: [] },
    profile: "strict",
    ends: 0,
    role: { uid: "uid-role", resourceVersion: "7" },
    accountUid: "uid-account",
    bindingUid: "uid-binding",
    secret: { name: "token-x", uid: "uid-secret" },
    ...over,
  };
}

export function aSettlement(over: Partial<Settlement> = {}): Settlement {
  return { result: "ready", reason: "", applied: anApplied(), next: 0, ...over };
}

/** Whether the next run of this subject would write nothing and look at nothing, because it believes what the last pass noted (the protocol's step 3). */
export const trustsApplied = ({ takeover, record }: Run): boolean => record.applied !== undefined && !takeover && !record.look;

/** `actual` is `expected`, give or take what passes between two calls to Redis on a busy machine. */
export function assertNear(actual: number | undefined, expected: number, what: string): void {
  assert.ok(actual !== undefined && Math.abs(actual - expected) < 5_000, `${what}: ${actual}, expected about ${expected}`);
}

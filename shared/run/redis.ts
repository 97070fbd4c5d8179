// The Redis connections of a process and the queues opened on them. The only file that opens either.
import { Queue } from "bullmq";
import type { RedisOptions } from "ioredis";
import { Redis } from "ioredis";
import { QUEUES } from "../jobs.ts";
import type { QueueName } from "../jobs.ts";
import { settledWithin } from "../kube/watch.ts";
import { Ledger } from "../ledger/ledger.ts";

/** One shard today; its hash tag keeps everything of a subject on one node. */
export const tagOf = (prefix: string): string => `{${prefix}:0}`;

/** History that bull-board shows; BullMQ's own default keeps every job for ever. */
const KEPT = { removeOnComplete: { count: 1000, age: 86_400 }, removeOnFail: { count: 5000, age: 7 * 86_400 } } as const;

type Options = Omit<RedisOptions, "replyMapping">;
/** `unix://` is ours; the rest is ioredis' own URL. */
function connect(url: string, options: Options): Redis {
  const socket = /^unix:\/\/(\/.*)$/.exec(url);
  return socket ? new Redis({ path: socket[1]!, ...options }) : new Redis(url, options);
}

const START_MS_MAX = 10_000;
const CLOSE_MS = 2_000;
/** The answer of a read that blocked may be so late. */
const BLOCKED_MS = 2_000;

/** For BullMQ's Workers, whose blocking read has to outlast an outage. */
export function workerConnection(url: string, onError: (error: Error) => void): Redis {
  const redis = connect(url, { maxRetriesPerRequest: null });
  redis.on("error", onError);
  return redis;
}

/** Fails at once when Redis is away: a command that times out may still be carried out, so only idempotent ones may use it. */
export function quickConnection(url: string, timeoutMs: number, onError: (error: Error) => void): Redis {
  const redis = connect(url, { maxRetriesPerRequest: 1, enableOfflineQueue: false, connectTimeout: timeoutMs, commandTimeout: timeoutMs });
  redis.on("error", onError);
  return redis;
}

/** For a read that blocks up to `blockMs`, and nothing beside it. @throws Error when Redis does not answer within ten seconds. */
export async function blockingConnection(url: string, blockMs: number, onError: (error: Error) => void): Promise<Redis> {
  return opened(quickConnection(url, blockMs + BLOCKED_MS, onError));
}

/** Closed again when it cannot be used. */
async function opened(redis: Redis): Promise<Redis> {
  try {
    await whenReady(redis, START_MS_MAX);
    return redis;
  } catch (error) {
    redis.disconnect();
    throw error;
  }
}

/** Waits until the connection can be used. @throws Error naming the address when it cannot be within the time. */
export async function whenReady(redis: Redis, waitMs: number): Promise<void> {
  if (redis.status === "ready") return;
  await new Promise<void>((resolve, reject) => {
    const where = redis.options.path ?? `${redis.options.host}:${redis.options.port}`;
    const done = (act: () => void): void => {
      clearTimeout(timer);
      redis.off("ready", ready);
      act();
    };
    const ready = (): void => done(resolve);
    const timer = setTimeout(() => done(() => reject(new Error(`redis at ${where} does not answer: start it, or set UNDERSTUDY_REDIS_URL`))), waitMs);
    redis.on("ready", ready);
  });
}

/** What a process holds of Redis, closed as one. */
export interface Store extends AsyncDisposable {
  readonly redis: Redis;
  readonly queues: Readonly<Record<QueueName, Queue>>;
  readonly ledger: Ledger;
}

/** Ledger and queues on one connection that fails fast. @throws Error when Redis does not answer within ten seconds. */
export async function openStore(url: string, prefix: string, timeoutMs: number, onError: (error: Error) => void): Promise<Store> {
  const redis = await opened(quickConnection(url, timeoutMs, onError));
  const tag = tagOf(prefix);
  const open = (name: QueueName): Queue => {
    const queue = new Queue(name, { connection: redis, prefix: tag, defaultJobOptions: KEPT });
    queue.on("error", onError);
    return queue;
  };
  const queues = Object.fromEntries(QUEUES.map((name) => [name, open(name)])) as Record<QueueName, Queue>;
  return {
    redis,
    queues,
    ledger: new Ledger(redis, tag, queues),
    async [Symbol.asyncDispose]() {
      // A queue cannot say goodbye to a Redis that is away.
      await settledWithin(Promise.allSettled(Object.values(queues).map((queue) => queue.close())), CLOSE_MS);
      redis.disconnect();
    },
  };
}

export interface RedisFacts {
  readonly version: string;
  readonly evictionPolicy: string;
  /** Null = it does not say. */
  readonly persistence: boolean | null;
  readonly runId: string;
  /** What keeps the product from running right; empty = fine. */
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

/** What has to be true of a Redis before anything is trusted to it. */
export async function redisFacts(redis: Redis): Promise<RedisFacts> {
  const info = await redis.info();
  const field = (name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1] ?? "";
  const version = field("redis_version");
  const evictionPolicy = field("maxmemory_policy");
  // Where somebody else runs Redis, CONFIG is often refused.
  const saves = await redis.config("GET", "save").then(
    (reply) => (reply[1] ?? "") !== "",
    () => null,
  );
  const persistence = field("aof_enabled") === "1" || saves;
  const problems: string[] = [];
  if (Number.parseInt(version, 10) < 7) problems.push(`redis ${version || "of unknown version"} is too old: 7.0 or newer is needed`);
  if (evictionPolicy !== "noeviction") problems.push(`redis may evict keys (maxmemory-policy ${evictionPolicy}): CONFIG SET maxmemory-policy noeviction`);
  if (field("run_id") === "") problems.push("redis shows no run_id: INFO server must be allowed");
  const warnings: string[] = [];
  if (persistence === false)
    warnings.push("redis keeps nothing over a restart (no appendonly, no save), and everything would be imported again: CONFIG SET appendonly yes");
  if (persistence === null) warnings.push("redis does not say whether it keeps anything over a restart (CONFIG GET is refused): see that its appendonly is on");
  return { version, evictionPolicy, persistence, runId: field("run_id"), problems, warnings };
}

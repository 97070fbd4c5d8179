// Who lost what on which cluster, as settle.lua notes it in a stream of limited length: for proxies that cut what a person has open. Reads only.
import type { Redis } from "ioredis";

/** `removed`: the person is nobody there; `narrowed`: fewer names than before. `id`: its place in the stream. */
export interface Revocation {
  readonly id: string;
  readonly cluster: string;
  readonly user: string;
  readonly generation: number;
  readonly kind: string;
}

/** The place before every entry. */
export const STREAM_START = "0-0";
const keyOf = (tag: string): string => `${tag}:revocations`;

/** The place of the newest entry. Trimming keeps that one, so an earlier place is a stream that was lost. */
export async function revocationsEnd(redis: Redis, tag: string): Promise<string> {
  const [newest] = await redis.xrevrange(keyOf(tag), "+", "-", "COUNT", 1);
  return newest?.[0] ?? STREAM_START;
}

/**
 * Up to `limit` entries after that place, or `unknown`: the stream does not hold that place, because it was trimmed since or because this is another Redis.
 * An entry is its own proof: ids are times, so neither an older nor a newer stream has the same one.
 */
export async function revocationsSince(redis: Redis, tag: string, after: string, limit: number): Promise<Revocation[] | "unknown"> {
  if (after === STREAM_START) return (await redis.xrange(keyOf(tag), "-", "+", "COUNT", limit)).map(revocationOf);
  const [first, ...rest] = await redis.xrange(keyOf(tag), after, "+", "COUNT", limit + 1);
  return first?.[0] === after ? rest.map(revocationOf) : "unknown";
}

const PAGE = 500;
/** Waits for entries after that place, up to `blockMs`; see `revocationsSince`. Needs a connection of its own: nothing else gets an answer meanwhile. */
export async function readRevocations(redis: Redis, tag: string, after: string, blockMs: number): Promise<Revocation[] | "unknown"> {
  await redis.xread("COUNT", 1, "BLOCK", blockMs, "STREAMS", keyOf(tag), after);
  // What XREAD answers says nothing of what was lost between the two places.
  return revocationsSince(redis, tag, after, PAGE);
}

function revocationOf([id, flat]: [id: string, fields: string[]]): Revocation {
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < flat.length; i += 2) fields.set(flat[i]!, flat[i + 1]!);
  const text = (name: string): string => fields.get(name) ?? "";
  return { id, cluster: text("cluster"), user: text("user"), generation: Number(text("generation")), kind: text("kind") };
}

/** Whether place `a` comes after place `b`. */
export function isLater(a: string, b: string): boolean {
  const [aMs, aNumber] = a.split("-").map(BigInt) as [bigint, bigint];
  const [bMs, bNumber] = b.split("-").map(BigInt) as [bigint, bigint];
  return aMs > bMs || (aMs === bMs && aNumber > bNumber);
}

// Looks for secrets in all that an installation says or keeps: each in every spelling in which it could get there.
import { Redis } from "ioredis";
import type { TestRedis } from "./redis.ts";

export interface Found {
  readonly secret: string;
  readonly place: string;
  /** What stands around it, without it. */
  readonly context: string;
}

/** As it is, in base64 as a Secret's data holds it, in a URL, in JSON within JSON. */
function spellings(secret: string): string[] {
  const once = JSON.stringify(secret).slice(1, -1);
  const base64 = Buffer.from(secret).toString("base64");
  return [...new Set([secret, base64, base64.replace(/=+$/, ""), encodeURIComponent(secret), once, JSON.stringify(once).slice(1, -1)])];
}

/** Name → secret against place → text. */
export function hunt(secrets: ReadonlyMap<string, string>, texts: ReadonlyMap<string, string>): Found[] {
  const found: Found[] = [];
  for (const [name, secret] of secrets) {
    if (secret.length < 8) throw new Error(`the secret ${name} is too short to be told from other text`);
    for (const spelling of spellings(secret)) {
      for (const [place, text] of texts) {
        const at = text.indexOf(spelling);
        if (at >= 0) found.push({ secret: name, place, context: `${text.slice(Math.max(0, at - 80), at)}[…]${text.slice(at + spelling.length).slice(0, 80)}` });
      }
    }
  }
  return found;
}

/** Every key with its value, of whatever type. */
export async function dumpOf(redis: TestRedis): Promise<Map<string, string>> {
  const client = new Redis(redis.socket);
  try {
    const dump = new Map<string, string>();
    for (let cursor = "", keys: string[] = []; cursor !== "0";) {
      [cursor, keys] = await client.scan(cursor || "0", "COUNT", 500);
      for (const key of keys) dump.set(`redis ${key}`, JSON.stringify([key, await valueOf(client, key)]));
    }
    return dump;
  } finally {
    client.disconnect();
  }
}

async function valueOf(client: Redis, key: string): Promise<unknown> {
  const type = await client.type(key);
  if (type === "string") return client.get(key);
  if (type === "hash") return client.hgetall(key);
  if (type === "list") return client.lrange(key, 0, -1);
  if (type === "set") return client.smembers(key);
  if (type === "zset") return client.zrange(key, "0", "-1", "WITHSCORES");
  if (type === "stream") return client.xrange(key, "-", "+");
  // Gone between SCAN and TYPE.
  if (type === "none") return undefined;
  throw new Error(`a key of type ${type} cannot be searched`);
}

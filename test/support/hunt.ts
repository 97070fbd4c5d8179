// Looks for secrets in all that an installation says or keeps: each in every spelling in which it could get there.
import assert from "node:assert/strict";
import { Redis } from "ioredis";
import type { House, Process } from "./house.ts";
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

/** Every log line of every process so far, those that have ended among them. */
export function logsOf({ processes }: House): Map<string, string> {
  return new Map(processes.map(({ name, lines, child }) => [`log of ${name} ${child.pid}`, lines.map((line) => JSON.stringify(line)).join("\n")]));
}

/** /metrics of every process that runs. */
export async function metricsOf({ processes }: House): Promise<Map<string, string>> {
  const running = processes.filter(({ child, started }) => child.exitCode === null && child.signalCode === null && started["ops"] !== undefined);
  return new Map(
    await Promise.all(running.map(async ({ name, started, child }) => [`metrics of ${name} ${child.pid}`, await textOf(`${started["ops"]}/metrics`)] as const)),
  );
}

/** The pages of a dashboard, and what they load of each queue in each state. */
export async function pagesOf(dashboard: Process, authorization: string): Promise<Map<string, string>> {
  const address = dashboard.started["dashboard"]!;
  const states = ["active", "waiting", "completed", "failed", "delayed", "prioritized", "latest"];
  const queues = ["binding", "login", "deletion"].flatMap((queue) => states.map((state) => `activeQueue=${queue}&status=${state}`));
  const paths = ["/", "/queues", ...queues.map((query) => `/queues/api/queues?${query}&page=1&jobsPerPage=100`)];
  return new Map(await Promise.all(paths.map(async (path) => [`dashboard ${path}`, await textOf(address + path, { authorization })] as const)));
}

async function textOf(url: string, headers: Record<string, string> = {}): Promise<string> {
  const response = await fetch(url, { headers });
  assert.equal(response.status, 200, url);
  return `${JSON.stringify([...response.headers])}\n${await response.text()}`;
}

/** Every key with its value, of whatever type; without those that went while they were read. */
export async function dumpOf(redis: TestRedis): Promise<Map<string, string>> {
  const client = new Redis(redis.socket);
  try {
    const dump = new Map<string, string>();
    for (let cursor = "", keys: string[] = []; cursor !== "0";) {
      [cursor, keys] = await client.scan(cursor || "0", "COUNT", 500);
      for (const key of keys) {
        const value = await valueOf(client, key);
        // Redis keeps nothing that is empty.
        if (Object.keys(value ?? {}).length > 0 || typeof value === "string") dump.set(`redis ${key}`, JSON.stringify([key, value]));
      }
    }
    return dump;
  } finally {
    client.disconnect();
  }
}

/** Those of a dump's keys that do not expire. */
export async function lastingIn(redis: TestRedis, keys: Iterable<string>): Promise<string[]> {
  const client = new Redis(redis.socket);
  try {
    const all = await Promise.all([...keys].map(async (key) => ({ key, ms: await client.pttl(key.slice("redis ".length)) })));
    return all.filter(({ ms }) => ms === -1).map(({ key }) => key);
  } finally {
    client.disconnect();
  }
}

/** Nothing, or something empty, where it has just gone. */
async function valueOf(client: Redis, key: string): Promise<object | string | null> {
  const type = await client.type(key);
  if (type === "string") return client.get(key);
  if (type === "hash") return client.hgetall(key);
  if (type === "list") return client.lrange(key, 0, -1);
  if (type === "set") return client.smembers(key);
  if (type === "zset") return client.zrange(key, "0", "-1", "WITHSCORES");
  if (type === "stream") return client.xrange(key, "-", "+");
  if (type === "none") return null;
  throw new Error(`a key of type ${type} cannot be searched`);
}

// Loads the Lua beside it and runs a script by its hash. One file per atomic step; its contract is in its first lines.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";

const NAMES = ["submit", "take", "read", "check", "settle", "park", "fail", "shelve", "sweep", "renew", "import", "learn", "alien", "history"] as const;
export type ScriptName = (typeof NAMES)[number];

const text = (name: string): string => readFileSync(new URL(`${name}.lua`, import.meta.url), "utf8");
const library = text("lib");
const scripts = new Map(
  NAMES.map((name) => {
    const source = library + text(name);
    return [name, { source, sha: createHash("sha1").update(source).digest("hex") }] as const;
  }),
);

/** @throws whatever Redis answers; a script that Redis has forgotten (restart, SCRIPT FLUSH) is sent again. */
export async function runScript(redis: Redis, name: ScriptName, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
  const { source, sha } = scripts.get(name)!;
  try {
    return await redis.evalsha(sha, keys.length, ...keys, ...args);
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
    return redis.eval(source, keys.length, ...keys, ...args);
  }
}

// A proxy between our processes and a Redis on a unix socket, which can hold back one connection at an exact command. It knows nothing of the protocol:
// what a command looks like on the wire is the test's.
import { type Server, type Socket, connect, createServer } from "node:net";
import { dirname, join } from "node:path";
import type { TestRedis } from "./redis.ts";
import { waitUntil } from "./wait-until.ts";

export interface RedisTrap {
  /** Waits until the command has come; nothing passes on its connection from then on. */
  caught(deadlineMs?: number): Promise<void>;
  release(): void;
}
export interface RedisProxy extends AsyncDisposable {
  readonly url: string;
  /** At the next chunk whose text fits: `request` = it is not forwarded, `answer` = Redis carries it out, and the answer is held back. */
  hold(what: "request" | "answer", fits: (text: string) => boolean): RedisTrap;
}

interface Rule {
  readonly what: "request" | "answer";
  readonly fits: (text: string) => boolean;
  readonly released: Promise<void>;
  hit: boolean;
}

let proxies = 0;

export async function startRedisProxy(redis: TestRedis): Promise<RedisProxy> {
  const rules: Rule[] = [];
  const sockets = new Set<Socket>();
  const path = join(dirname(redis.socket), `proxy-${++proxies}.sock`);
  const server: Server = createServer((client) => {
    const upstream = connect(redis.socket);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => socket.destroy());
      socket.once("close", () => sockets.delete(socket));
    }
    client.once("close", () => upstream.destroy());
    upstream.once("close", () => client.destroy());
    upstream.on("data", (chunk) => void client.write(chunk));
    // One after the other: what comes behind a held request waits too.
    let requests: Promise<unknown> = Promise.resolve();
    client.on("data", (chunk) => {
      const rule = rules.find((one) => !one.hit && one.fits(chunk.toString("latin1")));
      if (rule) rule.hit = true;
      if (rule?.what === "answer") {
        upstream.pause();
        void rule.released.then(() => upstream.resume());
      }
      const gate = rule?.what === "request" ? rule.released : undefined;
      requests = requests.then(() => gate).then(() => upstream.write(chunk));
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    url: `unix://${path}`,
    hold: (what, fits) => {
      const released = Promise.withResolvers<void>();
      const rule: Rule = { what, fits, released: released.promise, hit: false };
      rules.push(rule);
      return {
        caught: async (deadlineMs = 20_000) => void (await waitUntil("the command comes to Redis", () => rule.hit, { deadlineMs, everyMs: 5 })),
        release: released.resolve,
      };
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Whether a piece of the wire has all of these words as arguments of their own. */
export const hasWords =
  (...words: readonly string[]): ((text: string) => boolean) =>
  (text) =>
    words.every((word) => text.includes(`\r\n${word}\r\n`));

// A redis-server of its own for a test, on a unix socket in a temp folder: a fixed port may be held by an older server.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { type Child, startChild } from "./child.ts";
import { GiveUp, waitUntil } from "./wait-until.ts";

export interface RedisOptions {
  /** Writes an append-only file, so that the facts survive a restart. */
  readonly persist?: boolean;
  /** Further arguments of redis-server, which win over ours. */
  readonly args?: readonly string[];
  /** An existing folder to live in; it is left there by stop(). */
  readonly dir?: string;
}

export interface TestRedis {
  readonly url: string;
  readonly socket: string;
  readonly dir: string;
  /** Of the server that runs now: restart() changes it. */
  readonly pid: number;
  /** With a signal that ends the server, resolves when it has ended. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Ends the server if it still runs, and starts it again on the same socket and files. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export async function startRedis(options: RedisOptions = {}): Promise<TestRedis> {
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), "understudy-redis-")));
  const socket = join(dir, "redis.sock");
  const removeOwn = async (): Promise<void> => {
    if (options.dir === undefined) await rm(dir, { recursive: true, force: true });
  };
  let server: Child;
  try {
    server = await launch(dir, socket, options);
  } catch (error) {
    await removeOwn();
    throw error;
  }
  return {
    url: `unix://${socket}`,
    socket,
    dir,
    get pid() {
      return server.pid;
    },
    kill: async (signal) => {
      server.signal(signal);
      if (signal !== "SIGSTOP" && signal !== "SIGCONT") await server.exited;
    },
    restart: async () => {
      await server.stop();
      server = await launch(dir, socket, options);
    },
    stop: async () => {
      await server.stop();
      await removeOwn();
    },
  };
}

async function launch(dir: string, socket: string, options: RedisOptions): Promise<Child> {
  const settings = {
    port: "0",
    unixsocket: socket,
    dir,
    save: "",
    appendonly: options.persist === true ? "yes" : "no",
    "maxmemory-policy": "noeviction",
  };
  const args = Object.entries(settings).flatMap(([key, value]) => [`--${key}`, value]);
  const log = join(dir, "redis.log");
  const server = startChild({
    command: "redis-server",
    args: [...args, ...(options.args ?? [])],
    cwd: dir,
    log,
    ...(options.dir === undefined ? { removeWithOwner: dir } : {}),
  });
  try {
    await waitUntil("redis-server answers PING", () => ping(server, socket), { everyMs: 10 });
  } catch (error) {
    await server.stop();
    throw new Error(`start redis-server in ${dir}: ${server.logTail()}`, { cause: error });
  }
  return server;
}

async function ping(server: Child, socket: string): Promise<boolean> {
  const end = server.ended();
  if (end !== undefined) throw new GiveUp(new Error(`redis-server ended with ${end}`));
  const client = new Redis(socket, { lazyConnect: true, retryStrategy: () => null });
  // Without a listener ioredis prints each refused connection; connect() reports it as well.
  client.on("error", () => {});
  try {
    await client.connect();
    return (await client.ping()) === "PONG";
  } finally {
    client.disconnect();
  }
}

// The Redis of `dev`: a redis-server child on a unix socket in a folder that only this person can enter. Keeps nothing, and goes with its folder when we do.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync, rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { quickConnection, whenReady } from "../../shared/run/redis.ts";

const READY_MS_MAX = 10_000;

export interface EmbeddedRedis extends AsyncDisposable {
  readonly url: string;
}

/** `onLost`: it ended though nobody stopped it. @throws Error, one line, when redis-server is not installed or does not answer. */
export async function startRedis(onLost: (how: string) => void): Promise<EmbeddedRedis> {
  await using started = new AsyncDisposableStack();
  // mkdtemp gives mode 0700.
  const folder = await mkdtemp(join(tmpdir(), "understudy-dev-redis-"));
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const socket = join(folder, "redis.sock");
  const server = launch(folder, socket);
  await spawned(server);
  started.use(guard(server, folder));
  started.defer(() => stop(server));
  await listens(server, socket, join(folder, "redis.log"));
  const url = `unix://${socket}`;
  await answers(url);
  const lost = (code: number | null, signal: string | null): void => {
    rmSync(folder, { recursive: true, force: true });
    onLost(signal ?? `code ${code}`);
  };
  server.once("exit", lost);
  const all = started.move();
  all.defer(() => void server.off("exit", lost));
  return { url, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** Detached: Ctrl-C goes to everything in the terminal's foreground, and the workers still need it while they stop. */
function launch(folder: string, socket: string): ChildProcess {
  const settings = {
    port: "0",
    unixsocket: socket,
    unixsocketperm: "700",
    dir: folder,
    save: "",
    appendonly: "no",
    "maxmemory-policy": "noeviction",
    loglevel: "warning",
  };
  const args = Object.entries(settings).flatMap(([key, value]) => [`--${key}`, value]);
  const log = openSync(join(folder, "redis.log"), "a");
  try {
    return spawn("redis-server", args, { cwd: folder, stdio: ["ignore", log, log], detached: true });
  } finally {
    closeSync(log);
  }
}

async function spawned(server: ChildProcess): Promise<void> {
  try {
    await once(server, "spawn");
  } catch (error) {
    const missing = (error as { code?: string }).code === "ENOENT";
    throw new Error(missing ? "redis-server is not installed: apt-get install redis-server, or set UNDERSTUDY_REDIS_URL" : "redis-server cannot be started", {
      cause: error,
    });
  }
}

/** Until its socket is there. */
async function listens(server: ChildProcess, socket: string, log: string): Promise<void> {
  for (const deadline = performance.now() + READY_MS_MAX; !existsSync(socket); await pause(5)) {
    const last = (): string => readFileSync(log, "utf8").trimEnd().split("\n").at(-1) ?? "";
    if (hasEnded(server)) throw new Error(`redis-server ended at once: ${last()}`);
    if (performance.now() > deadline) throw new Error(`redis-server does not listen on ${socket}: ${last()}`);
  }
}

async function answers(url: string): Promise<void> {
  const redis = quickConnection(url, READY_MS_MAX, () => undefined);
  try {
    await whenReady(redis, READY_MS_MAX);
    await redis.ping();
  } finally {
    redis.disconnect();
  }
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;

/** SIGKILL: nothing of it is kept, and a stopped one would hear nothing else. */
async function stop(server: ChildProcess): Promise<void> {
  if (hasEnded(server)) return;
  server.kill("SIGKILL");
  await once(server, "exit");
}

/** No handler of ours runs after SIGKILL, but the end of a pipe is always seen: a shell waits for it, then kills the server and removes the folder. */
function guard(server: ChildProcess, folder: string): Disposable {
  const script = `read _; kill -KILL "$1"; rm -rf -- "$2"`;
  const shell = spawn("sh", ["-c", script, "understudy-guard", String(server.pid), folder], { cwd: "/", stdio: ["pipe", "ignore", "ignore"], detached: true });
  // Its number may be somebody else's by then.
  server.once("exit", () => shell.kill("SIGKILL"));
  return { [Symbol.dispose]: () => void shell.kill("SIGKILL") };
}

// A server program that a test runs: its log goes to a file, and it dies with the test process, however that dies.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { basename, dirname } from "node:path";

export interface ChildOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly log: string;
  /** Also removed when the test process dies without having stopped the child. Only a folder made by mkdtemp. */
  readonly removeWithOwner?: string;
}

export interface Child {
  readonly name: string;
  readonly pid: number;
  /** How it ended ("code 1", "signal SIGKILL"), or undefined while it runs. */
  ended(): string | undefined;
  readonly exited: Promise<void>;
  /** The end of its log, for an error text. */
  logTail(): string;
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL: nothing here has state worth a graceful end, and a stopped (SIGSTOP) child hears nothing else. */
  stop(): Promise<void>;
}

export function startChild(options: ChildOptions): Child {
  const log = openSync(options.log, "a");
  const child = spawn(options.command, options.args, { cwd: options.cwd, stdio: ["ignore", log, log] });
  closeSync(log);
  let end: string | undefined;
  const watchdog = child.pid === undefined ? undefined : watch(child.pid, options.removeWithOwner);
  const exited = new Promise<void>((resolve) => {
    const finish = (how: string): void => {
      end ??= how;
      watchdog?.kill("SIGKILL");
      resolve();
    };
    child.once("error", (error) => finish(error.message));
    child.once("exit", (code, signal) => finish(signal === null ? `code ${code}` : `signal ${signal}`));
  });
  return {
    name: basename(options.command),
    pid: child.pid ?? -1,
    ended: () => end,
    exited,
    logTail: () => tailOf(options.log),
    signal: (signal) => void child.kill(signal),
    stop: async () => {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

// An exit handler does not run after SIGKILL, SIGTERM or Ctrl-C. The end of a pipe is seen after all of them, so a
// shell waits for it. The second's rest lets the sibling children of the same folder die before it is removed.
const watchdogScript = `trap "" INT TERM HUP; read _; kill -KILL "$1"; [ -z "$2" ] || { sleep 1; rm -rf -- "$2"; }`;

function watch(pid: number, folder = ""): ChildProcess {
  const args = ["-c", watchdogScript, "watchdog", String(pid), folder];
  return spawn("sh", args, { cwd: folder === "" ? "/" : dirname(folder), stdio: ["pipe", "ignore", "ignore"] });
}

function tailOf(path: string): string {
  return readFileSync(path, "utf8").trimEnd().split("\n").slice(-12).join("\n");
}

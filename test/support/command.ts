// The command line without a house around it: for commands that need a Redis, or nothing. Also on a terminal, by util-linux' `script`.
import { spawn } from "node:child_process";
import { type Ran, type Running, collect } from "./kubectl.ts";
import { CLI } from "./house.ts";

type Settings = Readonly<Record<string, string>>;

/** Where neither stdout nor stderr is a terminal; in this folder, where one is named. */
export function startUnderstudy(args: readonly string[], settings: Settings = {}, cwd?: string): Running {
  const child = spawn(process.execPath, [CLI, ...args], { cwd, env: { PATH: process.env["PATH"], ...settings }, stdio: ["ignore", "pipe", "pipe"] });
  return { child, out: collect(child), ended: new Promise((resolve) => child.once("close", resolve)) };
}
export async function understudy(args: readonly string[], settings: Settings = {}, cwd?: string): Promise<Ran> {
  const { out, ended } = startUnderstudy(args, settings, cwd);
  const code = await ended;
  return { code, ...out };
}

/** As a person types it at a terminal of this size: stdout and stderr are one stream, with the bytes that a terminal would act on. */
export function startAtTerminal(args: readonly string[], settings: Settings = {}, size = "rows 40 cols 200"): Running {
  const line = [process.execPath, CLI, ...args].map((word) => `'${word}'`).join(" ");
  const env = { PATH: process.env["PATH"], TERM: "xterm", SHELL: "/bin/sh", ...settings };
  const child = spawn("script", ["--quiet", "--return", "--command", `stty ${size}; exec ${line}`, "/dev/null"], { env, stdio: "pipe" });
  return { child, out: collect(child), ended: new Promise((resolve) => child.once("close", resolve)) };
}
export async function atTerminal(args: readonly string[], settings: Settings = {}): Promise<{ readonly code: number | null; readonly screen: string }> {
  const { out, ended } = startAtTerminal(args, settings);
  const code = await ended;
  return { code, screen: out.stdout };
}

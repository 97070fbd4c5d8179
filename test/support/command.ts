// The command line without a house around it: for commands that need a Redis, or nothing. Also on a terminal, by util-linux' `script`.
import { spawn } from "node:child_process";
import { type Ran, collect } from "./kubectl.ts";
import { CLI } from "./house.ts";

type Settings = Readonly<Record<string, string>>;

/** As a person types it where stdout and stderr are no terminal. */
export async function understudy(args: readonly string[], settings: Settings = {}): Promise<Ran> {
  const child = spawn(process.execPath, [CLI, ...args], { env: { PATH: process.env["PATH"], ...settings }, stdio: ["ignore", "pipe", "pipe"] });
  const out = collect(child);
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, ...out };
}

/** As a person types it at a terminal: stdout and stderr are one stream, as it was sent there. Bytes that a terminal would act on are in it. */
export async function atTerminal(args: readonly string[], settings: Settings = {}): Promise<{ readonly code: number | null; readonly screen: string }> {
  const line = [process.execPath, CLI, ...args].map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`).join(" ");
  const env = { PATH: process.env["PATH"], TERM: "xterm", SHELL: "/bin/sh", ...settings };
  const child = spawn("script", ["--quiet", "--return", "--command", line, "/dev/null"], { env, stdio: ["ignore", "pipe", "pipe"] });
  const out = collect(child);
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, screen: out.stdout };
}

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

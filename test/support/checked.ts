// `understudy check` as a person runs it, each time in a folder of its own.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { CLI } from "./house.ts";

type Settings = Readonly<Record<string, string>>;
type Reached = Readonly<{ reachable: boolean; version: string | null }>;
type Warned = Readonly<{ admins: readonly Readonly<Record<"kind" | "name" | "binding", string>>[]; clockAheadMs: number | null }>;
export interface Checked {
  readonly ok: boolean;
  readonly redis: Readonly<Record<"version" | "evictionPolicy" | "runId", string | null> & Record<"reachable" | "persistence", boolean | null>>;
  readonly sources: readonly { readonly kind: string; readonly listable: boolean; readonly reason: string }[];
  readonly clusters: readonly (Readonly<Record<"cluster" | "fence", string>> & Readonly<Record<"missing", readonly string[]>> & Reached & Warned)[];
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}
interface Run extends Checked {
  readonly code: number | null;
  readonly stdout: string;
}

/** `check` with these kubeconfigs in UNDERSTUDY_CLUSTERS_DIR; `next` counts, for the names of files. */
export function openCheck(folder: string, redisUrl: string) {
  let runs = 0;
  const next = (): number => ++runs;
  const check = async (kubeconfigs: Settings | undefined, settings: Settings = {}, output = "json"): Promise<Run> => {
    const cwd = join(folder, `run-${next()}`);
    await mkdir(join(cwd, "clusters"), { recursive: true });
    for (const [file, content] of Object.entries(kubeconfigs ?? {})) await writeFile(join(cwd, "clusters", file), content);
    const clusters = kubeconfigs ? { UNDERSTUDY_CLUSTERS_DIR: join(cwd, "clusters") } : {};
    const env = { PATH: process.env["PATH"], UNDERSTUDY_REDIS_URL: redisUrl, ...clusters, ...settings };
    const child = spawn(process.execPath, [CLI, "check", "--output", output], { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    const exited = new Promise<number | null>((resolve) => child.once("close", resolve));
    const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), exited]);
    assert.equal(stderr, "");
    return { ...(output === "json" ? (JSON.parse(stdout) as Checked) : ({} as Checked)), code, stdout };
  };
  return { check, next };
}

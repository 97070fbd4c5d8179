// The real kubectl, as a person with a token runs it against one server: a kubeconfig and a home folder of its own, nothing of the machine's.
import { type ChildProcess, spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { kubeconfigText } from "../apiserver/files.ts";
import { assets } from "../apiserver/start.ts";

export interface Output {
  stdout: string;
  stderr: string;
}
export interface Ran extends Output {
  readonly code: number | null;
}
/** A command that runs: kubectl's `get -w`, `exec`, our `status --watch`. */
export interface Running {
  readonly out: Output;
  readonly ended: Promise<number | null>;
  readonly child: ChildProcess;
}
/** Where to, and as whom. `folder`: where its files go. */
export interface Account {
  readonly folder: string;
  readonly url: string;
  readonly ca: string;
  readonly token: string;
}

export async function startKubectl(
  { folder, url, ca, token }: Account,
  args: readonly string[],
  input = "",
  settings: Readonly<Record<string, string>> = {},
): Promise<Running> {
  const kubeconfig = join(folder, `${encodeURIComponent(`${new URL(url).pathname} ${token}`)}.yaml`);
  await writeFile(kubeconfig, kubeconfigText(url, ca, token), { mode: 0o600 });
  const env = { PATH: process.env["PATH"], HOME: folder, KUBECONFIG: kubeconfig, ...settings };
  const child = spawn(join(await assets(), "kubectl"), args, { env, stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.end(input);
  return { child, out: collect(child), ended: new Promise((resolve) => child.once("close", resolve)) };
}

/** All that a program says, as it comes. */
export function collect(child: ChildProcess): Output {
  const out = { stdout: "", stderr: "" };
  child.stdout!.setEncoding("utf8").on("data", (chunk: string) => (out.stdout += chunk));
  child.stderr!.setEncoding("utf8").on("data", (chunk: string) => (out.stderr += chunk));
  return out;
}

// A cluster as an administrator sets it up: what `understudy bootstrap` prints, applied with the real kubectl, and the kubeconfig by the commands that it prints.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ApiServer, assets } from "../apiserver/start.ts";
import { CLI } from "./house.ts";
import { type Ran, collect } from "./kubectl.ts";
import { waitUntil } from "./wait-until.ts";

type Settings = Readonly<Record<string, string>>;
const ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles";

async function run(command: string, args: readonly string[], env: Settings, cwd?: string, input = ""): Promise<Ran> {
  const child = spawn(command, args, { env: { PATH: process.env["PATH"], ...env }, stdio: ["pipe", "pipe", "pipe"], ...(cwd ? { cwd } : {}) });
  child.stdin.end(input);
  const out = collect(child);
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, ...out };
}

/** The command, with no Redis and no kubeconfig. */
export const bootstrap = (args: readonly string[], settings: Settings = {}): Promise<Ran> => run(process.execPath, [CLI, "bootstrap", ...args], settings);

/** What it prints for a cluster with these settings. */
export async function manifestOf(settings: Settings = {}, args: readonly string[] = []): Promise<string> {
  const { code, stdout, stderr } = await bootstrap(["--cluster", "c-one", ...args], settings);
  assert.deepEqual([code, stderr], [0, ""]);
  return stdout;
}

/** As its administrator, with the server's folder for kubectl's files. Returns a line an object. */
export async function apply(server: ApiServer, manifest: string): Promise<string[]> {
  const { code, stdout, stderr } = await asAdministrator(server, "kubectl apply -f -", manifest);
  assert.deepEqual([code, stderr], [0, ""]);
  return stdout.trimEnd().split("\n");
}

async function asAdministrator(server: ApiServer, script: string, input = ""): Promise<Ran> {
  const folder = join(server.dir, "administrator");
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "admin.kubeconfig"), server.kubeconfig, { mode: 0o600 });
  const env = { PATH: `${await assets()}:${process.env["PATH"]}`, HOME: folder, KUBECONFIG: join(folder, "admin.kubeconfig") };
  return run("sh", ["-euc", script], env, folder, input);
}

export interface Bootstrapped {
  readonly kubeconfig: string;
  /** The worker's own. */
  readonly token: string;
}
/** Applies the manifest and waits until its token is filled and its fence is seen. */
export async function bootstrapped(server: ApiServer, manifest: string): Promise<Bootstrapped> {
  await apply(server, manifest);
  const { code, stdout: kubeconfig, stderr } = await asAdministrator(server, await manifestOf({}, ["--kubeconfig"]));
  assert.deepEqual([code, stderr], [0, ""]);
  const token = /token: ([^}\s]+)/.exec(kubeconfig)![1]!;
  await fenceStands(server, token);
  return { kubeconfig, token };
}

/** Waits until an API server's caches know of the policies and of the account's rights. */
export async function fenceStands(server: ApiServer, token: string): Promise<void> {
  const role = { metadata: { name: "not-an-impersonator" }, rules: [] };
  await waitUntil("the fence is in force", async () => {
    const { status } = await server.call("POST", `${ROLES}?dryRun=All`, role, { authorization: `Bearer ${token}` });
    return status === 422;
  });
}

// `understudy dev` and the demo as a person runs them: one command in a folder, on real API servers, and what is left when they end.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { Redis } from "ioredis";
import { SAMPLE, apiVersionOf, collectionOf } from "../../deploy/embedded/sample.ts";
import { startApiServer } from "../apiserver/start.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLI = join(import.meta.dirname, "../../deploy/understudy.mjs");
const DEMO = join(import.meta.dirname, "../../deploy/embedded/demo-real.ts");
/** A loaded machine starts a process in seconds. */
const SLOW = { deadlineMs: 120_000, everyMs: 50 };
const CRTB = "/apis/management.cattle.io/v3/namespaces/c-amber/clusterroletemplatebindings";

const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());
const base = cleanup.adopt(await mkdtemp(join(tmpdir(), "understudy-e2e-")), (path) => rm(path, { recursive: true, force: true }));
const [management, amber, birch] = (await Promise.all(
  [{ name: "management", crds: true }, { name: "c-amber" }, { name: "c-birch" }].map(async (options) =>
    cleanup.adopt(await startApiServer(options), (server) => server.stop()),
  ),
)) as [Server, Server, Server];
type Server = Awaited<ReturnType<typeof startApiServer>>;
await mkdir(join(base, "clusters"));
await writeFile(join(base, "management.yaml"), management.kubeconfig);
for (const server of [amber, birch]) await writeFile(join(base, "clusters", `${server.name}.yaml`), await server.workerKubeconfig());
// What is on the demo's third cluster is another test's.
for (const object of SAMPLE.filter((one) => !JSON.stringify(one).includes("c-cedar"))) {
  const { status } = await management.call("POST", collectionOf(object), { apiVersion: apiVersionOf(object), ...object });
  assert.equal(status, 201, `${object.kind} ${object.metadata.name}`);
}
const CLUSTERS = {
  UNDERSTUDY_CLUSTERS_DIR: join(base, "clusters"),
  UNDERSTUDY_MANAGEMENT_KUBECONFIG: join(base, "management.yaml"),
  UNDERSTUDY_HOOK_LISTEN: "127.0.0.1:0",
  UNDERSTUDY_DASHBOARD_LISTEN: "127.0.0.1:0",
  UNDERSTUDY_OPS_LISTEN: "127.0.0.1:0",
};

type Settings = Readonly<Record<string, string>>;
interface Running {
  readonly child: ChildProcess;
  readonly out: { stdout: string; stderr: string };
  readonly ended: Promise<number | null>;
}
/** Node on this file with these arguments, in this folder, and no setting but these. */
function run(file: string, args: readonly string[], cwd: string, settings: Settings = {}): Running {
  const child = spawn(process.execPath, [file, ...args], {
    cwd,
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const out = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (out.stdout += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (out.stderr += chunk));
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  cleanup.defer(() => void child.kill("SIGKILL"));
  return { child, out, ended };
}
async function understudy(args: readonly string[], cwd: string, settings: Settings = {}): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const { out, ended } = run(CLI, args, cwd, settings);
  return { code: await ended, ...out };
}
let folders = 0;
async function aFolder(): Promise<string> {
  const folder = join(base, `folder-${++folders}`);
  await mkdir(folder);
  return folder;
}
/** `dev` in a folder of its own, when all of the sample's subjects are ready. */
async function runningDev(): Promise<Running & { folder: string; file: DevFile; redisPid: number }> {
  const folder = await aFolder();
  const running = run(CLI, ["dev"], folder, CLUSTERS);
  // A resync may look at one of them once more, which is told again.
  await waitUntil("all nine are ready", () => new Set(running.out.stdout.match(/^c-\w+\/u-\w+(?= +ready )/gm)).size === 9, SLOW);
  const file = JSON.parse(await readFile(join(folder, ".understudy/dev.json"), "utf8")) as DevFile;
  const redis = new Redis(file.redisUrl.slice("unix://".length));
  const redisPid = Number(/process_id:(\d+)/.exec(await redis.info("server"))![1]);
  redis.disconnect();
  return { ...running, folder, file, redisPid };
}
interface DevFile {
  readonly pid: number;
  readonly redisUrl: string;
  readonly addresses: Record<string, string>;
  readonly environment: Record<string, string>;
}
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test("`dev --once --output json` answers with one document and exits 0 when everybody who should be is ready", async () => {
  const folder = await aFolder();
  const { code, stdout, stderr } = await understudy(["dev", "--once", "--output", "json"], folder, CLUSTERS);
  const { ms, ...summary } = JSON.parse(stdout) as Record<string, number>;
  assert.deepEqual(summary, { clusters: 2, subjects: 9, ready: 9, removed: 0, failed: 0 }, stderr);
  assert.ok(ms! > 0);
  assert.equal(code, 0);
  for (const line of stderr.trimEnd().split("\n")) assert.equal((JSON.parse(line) as { process: string }).process, "dev");
  assert.equal((await amber.call("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/cattle-impersonation-u-ada")).status, 200);
  assert.deepEqual(await readdir(folder), [], "nothing is left in the folder");
});

test("`dev --once` exits 1 and names who is not ready, because a script must not take it for done", async () => {
  const refused = {
    apiVersion: "management.cattle.io/v3",
    kind: "ClusterRoleTemplateBinding",
    metadata: { name: "refused" },
    clusterName: "c-amber",
    roleTemplateName: "cluster-member",
    userName: "system:admin",
  };
  await management.call("POST", CRTB, refused);
  const { code, stdout, stderr } = await understudy(["dev", "--once"], await aFolder(), CLUSTERS);
  await management.call("DELETE", `${CRTB}/refused`);
  assert.match(stdout, /^9 of 10 subjects on 2 clusters ready, 0 removed, 1 failed \(\d+\.\d s\)\n$/);
  assert.match(stderr, /^understudy: c-amber\/system:admin is (failed|waiting): .+$/m);
  assert.equal(code, 1);
});

test("commands in the folder of a running `dev` find it, and SIGTERM leaves nothing of it", async () => {
  const { child, out, ended, folder, file, redisPid } = await runningDev();
  assert.match(
    out.stdout,
    /^understudy \S+ dev on real clusters \(c-amber, c-birch\) with an embedded Redis that forgets everything when this stops; bindings come from \S+management\.yaml\n/,
  );
  assert.equal((await stat(join(folder, ".understudy/dev.json"))).mode & 0o777, 0o600);
  assert.equal((await stat(dirname(file.redisUrl.slice("unix://".length)))).mode & 0o777, 0o700);

  const status = await understudy(["status", "--output", "json", "--cluster", "c-birch"], folder);
  const { subjects } = JSON.parse(status.stdout) as { subjects: { user: string; state: string; reason: string }[] };
  assert.deepEqual(
    subjects.map(({ user, state }) => `${user} ${state}`),
    ["u-ada ready", "u-bob ready", "u-cleo ready", "u-eve waiting", "u-hana ready", "u-kim ready"],
  );
  const verify = await understudy(["verify", "--all", "--output", "json"], folder);
  assert.equal(verify.code, 0, verify.stdout);
  const enqueue = await understudy(["enqueue", "--cluster", "c-amber", "--user", "u-ada"], folder);
  assert.equal(enqueue.code, 0, enqueue.stderr);
  const second = await understudy(["dev"], folder, CLUSTERS);
  assert.deepEqual(
    [second.code, second.stderr],
    [2, `understudy: a dev runs in this folder already (pid ${file.pid}): stop it, or start this one in another folder\n`],
  );

  const secret = file.environment["UNDERSTUDY_HOOK_SECRETS"]!;
  assert.ok(out.stdout.includes(secret), "a person at the terminal sees the secret of the hook");
  const login = {
    method: "POST",
    headers: { authorization: `Bearer ${secret}` },
    body: JSON.stringify({ user: "u-bob", provider: "github", groups: ["github_org://7"] }),
  };
  await waitUntil("the login is answered ready", async () => (await fetch(`${file.addresses["hook"]}/v1/logins?wait=5`, login)).status === 200, SLOW);
  await waitUntil("the change is told", () => /^c-amber\/u-bob +ready +\(\+group github_org:\/\/7.*; \d+ ms after the last change\)$/m.test(out.stdout), SLOW);
  for (const address of ["ops", "workerOps"]) assert.equal((await fetch(`${file.addresses[address]}/metrics`)).status, 200);
  assert.equal((await fetch(`${file.addresses["dashboard"]}/readyz`)).status, 200);

  const began = performance.now();
  child.kill("SIGTERM");
  assert.equal(await ended, 0);
  assert.ok(performance.now() - began < 30_000);
  assert.deepEqual(await readdir(join(folder, ".understudy")), []);
  assert.ok(!isAlive(redisPid));
  assert.ok(!existsSync(dirname(file.redisUrl.slice("unix://".length))));
  assert.equal(out.stderr, "", "no warning was worth a person's look");
});

test("the embedded Redis dies with a `dev` that is killed, because nobody else would end it", async () => {
  const { child, file, redisPid } = await runningDev();
  child.kill("SIGKILL");
  await waitUntil("redis-server is gone, and its folder", () => !isAlive(redisPid) && !existsSync(dirname(file.redisUrl.slice("unix://".length))));
});

test("`dev` ends, with the reason, when its Redis does: all that it knew was there", async () => {
  const { out, ended, file, redisPid } = await runningDev();
  process.kill(redisPid, "SIGKILL");
  assert.equal(await ended, 1);
  assert.match(out.stderr, /^understudy: the embedded redis-server ended \(SIGKILL\)/m);
  assert.ok(!existsSync(dirname(file.redisUrl.slice("unix://".length))));
});

test("`dev` names what it lacks in one line", async () => {
  const without = await understudy(["dev"], await aFolder(), { UNDERSTUDY_SOURCE: "logins" });
  assert.equal(without.code, 2);
  assert.match(
    without.stderr,
    /^understudy: UNDERSTUDY_CLUSTERS_DIR: set it to a folder of kubeconfigs.* UNDERSTUDY_MANAGEMENT_KUBECONFIG .*dev runs on simulated clusters\n$/,
  );
  const unreadable = await understudy(["dev"], await aFolder(), { UNDERSTUDY_CLUSTERS_DIR: "/nonexistent" });
  assert.deepEqual([unreadable.code, unreadable.stderr], [2, "understudy: UNDERSTUDY_CLUSTERS_DIR: /nonexistent cannot be read (ENOENT)\n"]);
  const noRedis = await understudy(["dev"], await aFolder(), { ...CLUSTERS, PATH: "/nonexistent" });
  assert.deepEqual(
    [noRedis.code, noRedis.stderr],
    [1, "understudy: redis-server is not installed: apt-get install redis-server, or set UNDERSTUDY_REDIS_URL\n"],
  );
  const taken = await understudy(["dev"], await aFolder(), { ...CLUSTERS, UNDERSTUDY_HOOK_LISTEN: new URL(amber.url).host });
  assert.equal(taken.code, 1);
  assert.match(taken.stderr, /^understudy: port \d+ is taken: set UNDERSTUDY_HOOK_LISTEN, for example to 127\.0\.0\.1:0$/m);
});

test("the demo on real API servers tells the same story, and nothing is left", async () => {
  const folder = await aFolder();
  const { out, ended } = run(DEMO, ["--once"], folder);
  assert.equal(await ended, 0, out.stdout + out.stderr);
  assert.match(out.stdout, /^18 of 18 subjects on 3 clusters ready, 1 removed, 0 failed \(\d+\.\d s\); (\d+) of \1 answers were the promised ones$/m);
  assert.doesNotMatch(out.stdout, /✗/);
  assert.match(out.stdout, /✓ as u-bob: 403 /);
  assert.deepEqual(await readdir(join(folder, ".understudy")), []);
});

// The demo on simulated clusters, as a stranger runs it: one command in an empty folder, what it says, what one can do to it, and other people than its own.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import { stringify } from "yaml";
import { assets } from "../apiserver/start.ts";
import { aSample, expectedOf } from "../support/samples.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLI = join(import.meta.dirname, "../../deploy/understudy.mjs");
const SLOW = { deadlineMs: 120_000, everyMs: 50 };
const PORTS = { UNDERSTUDY_HOOK_LISTEN: "127.0.0.1:0", UNDERSTUDY_DASHBOARD_LISTEN: "127.0.0.1:0", UNDERSTUDY_OPS_LISTEN: "127.0.0.1:0" };
const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());

async function aFolder(): Promise<string> {
  return cleanup.adopt(await mkdtemp(join(tmpdir(), "understudy-demo-")), (path) => rm(path, { recursive: true, force: true }));
}
interface Running {
  readonly child: ChildProcess;
  readonly out: { stdout: string; stderr: string };
  readonly ended: Promise<number | null>;
}
function run(command: string, args: readonly string[], cwd: string, settings: Readonly<Record<string, string>> = {}): Running {
  const child = spawn(command, args, { cwd, env: { PATH: process.env["PATH"], HOME: cwd, ...settings }, stdio: ["ignore", "pipe", "pipe"] });
  const out = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (out.stdout += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (out.stderr += chunk));
  cleanup.defer(() => void child.kill("SIGKILL"));
  return { child, out, ended: new Promise((resolve) => child.once("close", resolve)) };
}
async function understudy(args: readonly string[], cwd: string, settings = {}): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const { out, ended } = run(process.execPath, [CLI, ...args], cwd, settings);
  return { code: await ended, ...out };
}

test("the demo says in its first line that its clusters are simulated, keeps every promise, and leaves nothing", async () => {
  const folder = await aFolder();
  const { code, stdout, stderr } = await understudy(["dev", "--once"], folder);
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /^understudy \S+ dev on SIMULATED clusters \(c-amber, c-birch, c-cedar\) .*; people and bindings are a simulated Rancher's\n/);
  assert.doesNotMatch(stdout, /✗/);
  assert.match(stdout, /^18 of 18 subjects on 3 clusters ready, 1 removed, 0 failed \(\d+\.\d s\); (\d+) of \1 answers were the promised ones$/m);
  for (const shown of [
    /principalid github_user:\/\/1938/,
    /✓ put back: after \d+ ms the role allows it no more/,
    /✓ c-cedar\/u-new is ready, at most \d+ ms after it was plugged in/,
    /✓ as u-ada: 201 and becomes u-ada/,
    /✓ as u-bob: 403 /,
    /✓ as u-ada with the group system:masters: 403 /,
  ])
    assert.match(stdout, shown);
  assert.deepEqual(await readdir(join(folder, ".understudy")), []);
  for (const line of await shownInReadme()) assert.match(stdout, line, "README shows what the demo says");
});

/** The lines of README's demo, in which times differ and an ellipsis stands for the rest. */
async function shownInReadme(): Promise<RegExp[]> {
  const readme = await readFile(join(import.meta.dirname, "../../README.md"), "utf8");
  const [, shown] = /as it happens\. Among it:\n\n```\n(.*?)```/s.exec(readme)!;
  const lines = shown!.split("\n").filter((line) => line !== "");
  assert.ok(lines.length >= 8);
  const patternOf = (line: string): string =>
    line
      .replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
      .replace(/\d+(?= ms)|\d+\\\.\d(?= s)/g, "[\\d.]+")
      .replace("…", ".*");
  return lines.map((line) => new RegExp(`^${patternOf(line)}$`, "m"));
}

test("`dev --once --output json` says one document", async () => {
  const { code, stdout, stderr } = await understudy(["dev", "--once", "--output", "json"], await aFolder(), { UNDERSTUDY_TOKEN_MODE: "request" });
  assert.equal(code, 0, stderr);
  const { ms, ...summary } = JSON.parse(stdout) as Record<string, number>;
  assert.deepEqual(summary, { clusters: 3, subjects: 18, ready: 18, removed: 1, failed: 0 });
  assert.ok(ms! > 0);
});

test("each line that the demo ends with works as it stands: to ask, to break, to log in; and Ctrl-C leaves nothing", async () => {
  const folder = await aFolder();
  const { child, out, ended } = run(process.execPath, [CLI, "dev"], folder, PORTS);
  await waitUntil("the story is told", () => out.stdout.includes("Ctrl-C stops everything."), SLOW);
  const line = (what: string): string => new RegExp(`^  ${what} +(.+)$`, "m").exec(out.stdout)![1]!;
  const asked = await understudy(line("ask").split(" ").slice(2), folder);
  assert.equal(asked.code, 0, asked.stderr);
  assert.match(asked.stdout, /github_org:\/\/1815/);
  const verify = await understudy(["verify", "--all"], folder);
  assert.equal(verify.code, 0, verify.stdout + verify.stderr);
  const { environment } = JSON.parse(await readFile(join(folder, ".understudy/dev.json"), "utf8")) as { environment: Record<string, string> };
  const plan = await understudy(["plan"], folder, environment);
  assert.equal(plan.code, 0, `what is there is what would be made: ${plan.stdout}`);

  const kubectl = async (args: readonly string[]): Promise<Running["out"] & { code: number | null }> => {
    const running = run(join(await assets(), "kubectl"), args, folder);
    return { code: await running.ended, ...running.out };
  };
  const [, ...broken] = line("break").split(" ");
  const role = broken.at(-1)!;
  const uid = async (): Promise<string> => (await kubectl([...broken.slice(0, 2), "get", "clusterrole", role, "-o", "jsonpath={.metadata.uid}"])).stdout;
  const before = await uid();
  assert.match((await kubectl(broken)).stdout, /deleted/);
  await waitUntil("it is made anew", async () => ((now) => now !== "" && now !== before)(await uid()), SLOW);
  await waitUntil("and told", () => out.stdout.split("Ctrl-C").at(-1)!.includes(role.replace("cattle-impersonation-", "/")), SLOW);

  await waitUntil(
    "the login is answered ready",
    async () => {
      const login = run("bash", ["-c", line("log in")], folder);
      assert.equal(await login.ended, 0);
      return login.out.stdout.includes('"state":"ready"');
    },
    SLOW,
  );
  child.kill("SIGINT");
  assert.equal(await ended, 0, out.stderr);
  assert.deepEqual(await readdir(join(folder, ".understudy")), []);
});

test("other people play the same story, and every line is a record's or a cluster's", async (t) => {
  // As many as a loaded machine has time for; the seed is in the message of a failure.
  for (const seed of [Date.now(), Date.now() + 1]) {
    const [sample] = fc.sample(aSample, { numRuns: 1, seed });
    const folder = await aFolder();
    await writeFile(join(folder, "sample.yaml"), sample!.map((object) => stringify(object)).join("---\n"));
    const { code, stdout, stderr } = await understudy(["dev", "--once", "--sample", "sample.yaml"], folder);
    const message = `seed ${seed}: ${stdout}${stderr}`;
    assert.equal(code, 0, message);
    assert.doesNotMatch(stdout, /✗/, message);
    // Whoever the story takes the access from may be gone before the next look.
    const told = new Set([...stdout.matchAll(/^(\S+\/\S+) +(?:ready|removed) /gm)].map(([, subject]) => subject!));
    const expected = expectedOf(sample!);
    for (const subject of expected) assert.ok(told.has(subject), `${subject} was never ready; ${message}`);
    t.diagnostic(`${expected.length} people with bindings of their own, ${stdout.match(/✓/g)!.length} answers`);
  }
});

test("a sample that cannot be read is refused with its place", async () => {
  const folder = await aFolder();
  for (const [text, said] of [
    ["kind: User\nmetadata: {name: u-a}\n---\nkind: Pod\nmetadata: {name: b}\n", /^understudy: --sample: sample\.yaml:4: kind: .*"User"\|"UserAttribute".*\n$/],
    ["kind: [User\n", /^understudy: --sample: sample\.yaml:\d+: .+\n$/],
    ["", /^understudy: --sample: sample\.yaml holds no object\n$/],
  ] as const) {
    await writeFile(join(folder, "sample.yaml"), text);
    const { code, stderr } = await understudy(["dev", "--once", "--sample", "sample.yaml"], folder);
    assert.deepEqual([code, said.test(stderr)], [2, true], stderr);
  }
  const { code, stderr } = await understudy(["dev", "--once", "--sample", "nowhere.yaml"], folder);
  assert.deepEqual([code, stderr], [2, "understudy: --sample: nowhere.yaml cannot be read (ENOENT)\n"]);
});

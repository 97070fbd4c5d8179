// Settings, kubeconfigs, login bodies and jobs that are wrong: each gets an error that names its place and the fix, nothing is written, and everything else goes on.
import assert from "node:assert/strict";
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { auditEnd, callsOf } from "../support/audit.ts";
import { loggedIn, settledAfter } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { assertActsAsExactly, objectsOf } from "../support/impersonator.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 60_000 };
const ann = { user: "u-ann", groups: ["developers"] };
let house: House;
before(async () => {
  house = await House.open({ clusters: [CLUSTER], workers: 2, management: false });
  await settledAfter(house, { clusters: [CLUSTER], user: ann.user }, () => house.login(ann.user, CLUSTER, ann));
});
after(() => house?.[Symbol.asyncDispose]());

/** The product still does its work: somebody new is served. */
async function assertServes(user: string): Promise<void> {
  await loggedIn(house, user, CLUSTER, { groups: ["developers"] });
  await assertActsAsExactly(house.cluster(CLUSTER), { user, groups: ["developers"] });
}
const statusJson = async (): Promise<string> => (await house.command(["status", "--output", "json"])).stdout;

/** Setting → a value that is wrong, and the fix that has to be named. */
const settings: Readonly<Record<string, readonly [value: string, fix: RegExp]>> = {
  UNDERSTUDY_REDIS_URL: ["http://user:hidden-password@redis", /write redis:\/\/host:6379/],
  UNDERSTUDY_REDIS_PREFIX: ["{a}:b", /up to 32 letters/],
  UNDERSTUDY_SOURCE: ["ldap", /"rancher"\|"logins"/],
  UNDERSTUDY_HOOK_LISTEN: ["8400", /write host:port/],
  UNDERSTUDY_HOOK_SECRETS: ["short-hidden,whsec_%hidden%hidden%", /at least 16 characters.*openssl[\s\S]*whsec_ is base64/],
  UNDERSTUDY_DASHBOARD_LISTEN: ["localhost:99999", /write host:port/],
  UNDERSTUDY_DASHBOARD_USERS: ["ann:hidden", /password of at least 8 characters/],
  UNDERSTUDY_OPS_LISTEN: ["127.0.0.1", /write host:port/],
  UNDERSTUDY_PROFILE: ["wide", /"strict"\|"rancher"/],
  UNDERSTUDY_FACTS: ["all", /"newest"\|"userattribute"/],
  UNDERSTUDY_INSTALL: ["Under Study", /up to 32 lower case letters/],
  UNDERSTUDY_GROUPS_MAX: ["9999999", /<=5000/],
  UNDERSTUDY_REMOVALS_MAX: ["0.2", /write a percentage such as 20%/],
  UNDERSTUDY_LOGIN_GRANT: ["30 days", /write a duration such as 90s/],
  UNDERSTUDY_RESYNC: ["0", /at least 1s/],
  UNDERSTUDY_READY_SETTLE: ["1m", /at most 10s/],
  UNDERSTUDY_KUBECONFIG_ALLOW: ["everything", /one of exec, authProvider/],
  UNDERSTUDY_CONCURRENCY: ["-1", /write a whole number/],
  UNDERSTUDY_TOKEN_MODE: ["both", /secret.*request/],
  UNDERSTUDY_ADOPT: ["yes", /true.*false/],
  UNDERSTUDY_CREDENTIALS_LISTEN: ["8403", /write host:port/],
  UNDERSTUDY_CREDENTIALS_SECRETS: ["hidden", /at least 16 characters/],
  UNDERSTUDY_FORWARD_AUTH_USER_HEADER: ["Impersonate-User", /use another header/],
  LOG_LEVEL: ["loud", /"debug"/],
  UNDERSTUDY_HOOK_SECRET: ["hidden-hidden-hidden", /no such setting; the nearest is UNDERSTUDY_HOOK_SECRETS/],
  UNDERSTUDY_CLUSTERS_DIR_FILE: ["/nowhere/hidden", /cannot be read \(ENOENT\)/],
  UNDERSTUDY_GLOBAL_ROLES_FILE: ["/dev/null", /set it or UNDERSTUDY_GLOBAL_ROLES_FILE, not both/],
};
for (const command of [["worker"], ["producer"], ["dashboard"], ["status"], ["enqueue", "--cluster", CLUSTER, "--user", "u-ann"]]) {
  test(`${command[0]} with every setting wrong ends with 2 and names each, the fix too, at once, because nobody wants to start it twenty times`, async () => {
    const wrong = Object.fromEntries(Object.entries(settings).map(([name, [value]]) => [name, value]));
    const { code, stdout, stderr } = await house.command(command, { ...wrong, UNDERSTUDY_GLOBAL_ROLES: "admin" });
    assert.deepEqual([code, stdout], [2, ""]);
    for (const [name, [, fix]] of Object.entries(settings)) {
      const lines = stderr
        .split("\n")
        .filter((line) => line.startsWith(`understudy: ${name}: `) || line.startsWith(`understudy: ${name.replace(/_FILE$/, "")}: `));
      assert.ok(lines.length > 0, `${name} is not named: ${stderr}`);
      assert.match(lines.join("\n"), fix, name);
    }
    assert.doesNotMatch(stderr.replaceAll("/nowhere/hidden", ""), /hidden/, "values are secrets");
  });
}

test("arguments that are wrong end with 2 and a word of what would be right", async () => {
  const wrong: readonly (readonly [args: readonly string[], said: RegExp])[] = [
    [["wroker"], /unknown command 'wroker'\n\(Did you mean worker\?\)/],
    [["status", "--output", "yaml"], /Allowed choices are text, json/],
    [["enqueue", "--cluster", "C/../x", "--user", "u"], /--cluster: a cluster id has up to 63/],
    [["enqueue", "--cluster", CLUSTER, "--user", ""], /--user: 1 to 1024 characters/],
    [["enqueue", "--cluster", CLUSTER], /required option '--user <id>'/],
  ];
  for (const [args, said] of wrong) {
    const { code, stdout, stderr } = await house.command(args);
    assert.deepEqual([code, stdout], [2, ""], args.join(" "));
    assert.match(stderr, said);
  }
});

/** File → its text, and the problem that has to be named. */
function wrongKubeconfigs(good: string): Readonly<Record<string, readonly [text: string, problem: RegExp]>> {
  return {
    "c-yaml.yaml": ["clusters: [", /^it cannot be read as a kubeconfig: it is not YAML$/],
    "c-empty.yaml": ["", /^it cannot be read as a kubeconfig: document: /],
    "c-list.yaml": ["- a", /^it cannot be read as a kubeconfig: document: /],
    "c-context.yaml": [good.replace(/current-context:.*/, "current-context: other"), /^its current-context "other" names no cluster$/],
    "c-key.yaml": [good.replace("token:", "tokn:"), /user document: .*"tokn"/],
    "c-exec.yaml": [good.replace(/token: .*/, "exec: {command: id}"), /^an exec plugin is refused \(UNDERSTUDY_KUBECONFIG_ALLOW=exec would allow it\)$/],
    "c-file.yaml": [good.replace(/token: .*/, "tokenFile: /etc/passwd"), /^a file path .* is refused .*ALLOW=files/],
    "c-insecure.yaml": [
      good.replace(/certificate-authority-data: .*/, "insecure-skip-tls-verify: true"),
      /^insecure-skip-tls-verify is refused .*ALLOW=insecure/,
    ],
    "c-http.yaml": [good.replace("https://", "http://"), /^a server that is not https:\/\/ is refused .*ALLOW=http/],
    "c-proto.yaml": [`__proto__: {}\n${good.replace(/users:/, "constructor:")}`, /users/],
    "C_One.yaml": [good, /^its name is no cluster id: up to 63 lower case letters/],
    "c-one.yml": [good, /^c-one\.yaml is of cluster c-one too, and comes first; remove one$/],
    "c-bomb.yaml": [
      "a: &a [x,x,x,x,x,x,x,x,x,x]\n" +
        [..."bcdefghi"]
          .map(
            (next, i) =>
              `${next}: &${next} [${Array(10)
                .fill(`*${String.fromCodePoint(97 + i)}`)
                .join(",")}]\n`,
          )
          .join(""),
      /^it cannot be read as a kubeconfig/,
    ],
    "c-huge.yaml": [`users: "${"x".repeat(2_000_000)}"`, /^it cannot be read as a kubeconfig/],
  };
}
test("a kubeconfig that cannot be used is named with its file and the fix by every process and by check, and the others go on", async () => {
  const good = await readFile(join(house.clustersDir, `${CLUSTER}.yaml`), "utf8");
  const files = wrongKubeconfigs(good);
  for (const [file, [text]] of Object.entries(files)) await writeFile(join(house.clustersDir, file), text);
  await mkdir(join(house.clustersDir, "c-folder.yaml"));
  await symlink("/nowhere", join(house.clustersDir, "c-gone.yaml"));
  await writeFile(join(house.clustersDir, "README.md"), "not a kubeconfig, and not meant to be one");
  const expected = {
    ...Object.fromEntries(Object.entries(files).map(([file, [, problem]]) => [file, problem])),
    "c-folder.yaml": /^EISDIR$/,
    "c-gone.yaml": /^ENOENT$/,
  };
  for (const { name, lines } of [house.producer, ...house.workers])
    for (const [file, problem] of Object.entries(expected)) {
      const said = () => lines.filter(({ msg, file: of }) => msg === "kubeconfig cannot be used" && of === file);
      // A file may have been read while it was being written.
      await waitUntil(`${name} names ${file}: ${JSON.stringify(said())}`, () => problem.test(String(said().at(-1)?.["problem"])), DEADLINE);
      assert.ok(JSON.stringify(said()).length < 2_000);
    }
  const { code, stdout } = await house.command(["check", "--output", "json"]);
  assert.equal(code, 1);
  const { problems, clusters } = JSON.parse(stdout) as { problems: string[]; clusters: { cluster: string }[] };
  for (const [file, problem] of Object.entries(expected))
    assert.match(problems.find((text) => text.startsWith(`kubeconfig ${file}: `))?.slice(`kubeconfig ${file}: `.length) ?? "", problem, file);
  assert.deepEqual(
    clusters.map(({ cluster }) => cluster),
    [CLUSTER],
  );
  await assertServes("u-after-files");
  for (const file of [...Object.keys(expected), "README.md"]) await rm(join(house.clustersDir, file), { recursive: true });
});

test("a login that is wrong is refused with its place, and neither the ledger nor the cluster hears of it", async () => {
  const status = await statusJson();
  const since = await auditEnd(house.cluster(CLUSTER));
  const login = (about: object): string => JSON.stringify({ user: "u-bad", cluster: CLUSTER, provider: "oidc", ...about });
  const wrong: readonly (readonly [body: string, code: number, detail: RegExp])[] = [
    ['{"user":"u-bad","cluster":"c-one","provider":"oidc","__proto__":{"user":"u-eve"}}', 400, /key "__proto__"/],
    ['{"user":"u-bad","cluster":"c-one","provider":"oidc","user":"u-eve"}', 400, /key "user" twice; write each key once/],
    [login({ constructor: "x" }), 400, /"constructor"/],
    [login({ groups: "developers" }), 400, /^groups: /],
    [login({ groups: [["developers"]] }), 400, /^groups\.0: /],
    [login({ extras: { scopes: ["x"] } }), 400, /^extras: only principalid and username/],
    ["[".repeat(300_000) + "]".repeat(300_000), 400, /^body: /],
    [login({ groups: ["x".repeat(2_000_000)] }), 413, /^body: at most 1048576 bytes$/],
    [login({ groups: ["developers", ""] }), 422, /^groups\[1\] "" is empty$/],
    [login({ user: "" }), 422, /^user "" is empty$/],
    [login({ user: "u-bad\u0000" }), 422, /^user "u-bad\\u0000" has control/],
    [login({ user: "u-bad\n" }), 422, /^user "u-bad\\n" has control/],
    [login({ user: "u-\u202ebad" }), 422, /^user "u-\\u202ebad" has control, invisible or text-direction characters$/],
    [login({ extras: { username: ["b\u200bad"] } }), 422, /^username\[0\] "b\\u200bad"/],
    [login({ user: "system:masters" }), 422, /^user "system:masters" has the reserved prefix system:$/],
    [login({ groups: ["system:masters"] }), 422, /^groups\[0\] "system:masters"/],
    [login({ groups: ["kubeadm:cluster-admins"] }), 422, /^groups\[0\] "kubeadm:cluster-admins"/],
    [login({ groups: Array.from({ length: 501 }, (_, i) => `g-${i}`) }), 422, /^groups has 501 entries, over the limit of 500 \(UNDERSTUDY_GROUPS_MAX\)$/],
  ];
  for (const [body, code, detail] of wrong) {
    const answer = await house.hook("POST", "/v1/logins", body);
    assert.equal(answer.status, code, JSON.stringify(answer.body));
    assert.match(String(answer.body["detail"]), detail);
    assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/);
  }
  assert.equal(await statusJson(), status);
  assert.deepEqual((await callsOf(house.cluster(CLUSTER), ["u-bad", "u-eve"], since)).get("u-bad"), []);
  await assertServes("u-after-logins");
});

const payload = { v: 1, cluster: CLUSTER, user: ann.user, cause: "verify" };
const payloads: Readonly<Record<string, readonly [data: unknown, place: RegExp]>> = {
  "of another version": [{ ...payload, v: 2 }, /^job data is wrong: v: this worker understands job version 1: update it, or remove the job$/],
  "of no version": [{ cluster: CLUSTER, user: ann.user, cause: "verify" }, /v: /],
  "without a user": [{ v: 1, cluster: CLUSTER, cause: "verify" }, /user: /],
  "with an empty user": [{ ...payload, user: "" }, /user: /],
  "with a user of 2 MB": [{ ...payload, user: "u".repeat(2_000_000) }, /user: .*1024/],
  "with a user that is a list": [{ ...payload, user: [ann.user] }, /user: /],
  "with a cluster that climbs": [{ ...payload, cluster: "../c-one" }, /cluster: a cluster id has up to 63/],
  "with a cause of its own": [{ ...payload, cause: "delete" }, /cause: /],
  "with the groups to be": [{ ...payload, groups: ["system:masters"] }, /data: .*"groups"/],
  "that is a text": ["c-one/u-ann", /data: .*expected object/],
  "that is a list": [[payload], /data: .*expected object/],
  "that is null": [null, /data: .*expected object/],
};
test("a job that is wrong ends failed with its place, in every queue, and neither its subject nor any other job hears of it", async () => {
  const row = await house.row(CLUSTER, ann.user);
  const since = await auditEnd(house.cluster(CLUSTER));
  for (const name of ["binding", "login", "deletion"]) {
    const queue = new Queue(name, { connection: { path: house.redis.socket }, prefix: "{understudy:0}" });
    try {
      for (const [what, [data, place]] of Object.entries(payloads)) {
        const job = await queue.add("wrong", data, { attempts: 5 });
        await waitUntil(`a job ${what} ends in ${name}`, async () => (await job.getState()) === "failed", DEADLINE);
        const { failedReason } = (await queue.getJob(job.id!))!;
        assert.match(failedReason, place);
        assert.ok(failedReason.length < 500, what);
        const said = () =>
          house.workers
            .flatMap(({ lines }) => lines)
            .some(
              ({ msg, queue: of, job: id, problem }) =>
                msg === "job refused" && of === name && id === job.id && place.test(`job data is wrong: ${String(problem)}`),
            );
        await waitUntil("a worker says so", said, DEADLINE);
      }
      // Right, of somebody and of a cluster that nobody knows: there is nothing to do.
      for (const data of [
        { ...payload, user: "u-nobody" },
        { ...payload, cluster: "c-nowhere" },
        { ...payload, user: "__proto__" },
      ]) {
        const job = await queue.add("idle", data);
        await waitUntil("it is complete", async () => (await job.getState()) === "completed", DEADLINE);
      }
    } finally {
      await queue.close();
    }
  }
  assert.deepEqual(await house.row(CLUSTER, ann.user), row);
  for (const calls of (await callsOf(house.cluster(CLUSTER), [ann.user, "u-nobody", "__proto__"], since)).values()) assert.deepEqual(calls, []);
  assert.equal((await objectsOf(house.cluster(CLUSTER), "u-nobody")).role, undefined);
  await assertActsAsExactly(house.cluster(CLUSTER), ann);
  await assertServes("u-after-jobs");
});

test("a job whose data is no JSON at all keeps nobody from work", async () => {
  const redis = new Redis(house.redis.socket);
  const queue = new Queue("binding", { connection: { path: house.redis.socket }, prefix: "{understudy:0}" });
  try {
    const job = await queue.add("broken", payload, { delay: 3_600_000 });
    await redis.hset(queue.toKey(job.id!), "data", '{"v":1,');
    await job.promote();
    await waitUntil("a worker met it", async () => !(await queue.getDelayedCount()) && !(await queue.getWaitingCount()), DEADLINE);
    await assertServes("u-beside-broken");
    const { code } = await house.command(["enqueue", "--cluster", CLUSTER, "--user", ann.user]);
    assert.equal(code, 0);
    await house.waitFor(CLUSTER, ann.user, "ready", DEADLINE);
  } finally {
    await queue.close();
    redis.disconnect();
  }
});

// No token, password or body of an answer gets out: after a whole life with faults that carry secrets, all that is logged, kept, shown and answered is searched for each of them.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loggedIn, settledAfter } from "../support/evidence.ts";
import { HOOK_SECRET, type House, type Process } from "../support/house.ts";
import { dumpOf, hunt, logsOf, metricsOf, pagesOf } from "../support/hunt.ts";
import { assertGone, objectsOf, tokenOf } from "../support/impersonator.ts";
import { deleteCrtb, putCrtb, putUser } from "../support/rancher-objects.ts";
import { signed } from "../support/signed.ts";
import { type CallName, type TrappedHouse, openTrappedHouse } from "../support/traps.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 60_000 };
const OTHER_SECRET = "canary-secret-of-another-proxy-4711";
const WHSEC = `whsec_${Buffer.from("canary bytes of a third proxy 4712").toString("base64")}`;
const PASSWORD = "canary-password-4713";
const WRONG = { bearer: "canary-of-another-hook-4714", signed: "canary-that-signed-wrong-4715" };
const BODY = { message: "canary message 4716", name: "canary-name-4717", cause: "canary cause 4718", html: "canary html 4719" };
const JWT = ["eyJhbGciOiJSUzI1NiIsImtpZCI6ImNhbmFyeSJ9", "eyJzdWIiOiJjYW5hcnktNDcyMCJ9", "Y2FuYXJ5LXNpZ25hdHVyZS00NzIx"].join(".");
let trapped: TrappedHouse;
let house: House;
let dashboard: Process;
/** Name → secret; name of a place → all that was read there. */
const secrets = new Map<string, string>([
  ["a hook secret", HOOK_SECRET],
  ["another hook secret", OTHER_SECRET],
  ["a whsec_ secret", WHSEC],
  ["a password of the dashboard", PASSWORD],
  ["a wrong bearer secret", WRONG.bearer],
  ["a secret that signs wrong", WRONG.signed],
  ["a token in an answer's body", JWT],
  ...Object.entries(BODY).map(([where, text]): [string, string] => [`the ${where} of an answer's body`, text]),
]);
const heard = new Map<string, string>();
const keep = (place: string, text: string): void => void heard.set(place, `${heard.get(place) ?? ""}\n${text}`);

/** What an API server, or whatever stands in front of it, may answer. */
const status = (code: number): string =>
  JSON.stringify({
    kind: "Status",
    status: "Failure",
    code,
    reason: `Because ${BODY.message}`,
    message: `${BODY.message} ${JWT}`,
    details: { name: BODY.name, causes: [{ reason: `Since ${BODY.cause}`, message: `${BODY.cause} token: ${JWT}` }] },
  });
const html = `<html>${BODY.html} Authorization: Bearer ${JWT}</html>`;

const bind = async (user: string): Promise<void> => {
  await putUser(house.management!, user);
  await putCrtb(house.management!, CLUSTER, user, { userName: user });
};
/** Its tokens are secrets from now on, also when it has gone. */
async function remember(user: string): Promise<void> {
  const token = await tokenOf(house.cluster(CLUSTER), user);
  assert.match(token, /^eyJ/);
  secrets.set(`the token of ${user}'s Secret ${secrets.size}`, token);
}

/** Set-up, change and removal meet each kind of fault, and go on. */
async function liveWithFaults(): Promise<void> {
  const traps = trapped.at(CLUSTER);
  const faults: readonly (readonly [call: CallName, code: number, body: string])[] = [
    ["POST ClusterRole", 500, status(500)],
    ["POST ServiceAccount", 403, status(403)],
    ["POST Secret", 500, html],
    ["POST ClusterRoleBinding", 503, html],
    ["POST Review", 500, status(500)],
    ["POST ClusterRole", 422, status(422)],
    ["POST Secret", 429, status(429)],
  ];
  const users = faults.map(([call, code]) => `u-${call.toLowerCase().replace(" ", "-")}-${code}`);
  for (const [i, [call, answer, body]] of faults.entries()) traps.give(users[i]!, call, () => ({ answer, body }), 1);
  await Promise.all(users.map(bind));
  await house.waitFor(CLUSTER, "u-post-clusterrole-422", "failed", DEADLINE);
  const done = users.filter((user) => user !== "u-post-clusterrole-422");
  for (const user of done) await house.waitFor(CLUSTER, user, "ready", DEADLINE);
  await Promise.all(done.map(remember));
  const [changed, removed] = [done[0]!, done[1]!];
  traps.give(changed, "PUT ClusterRole", () => ({ answer: 500, body: status(500) }), 1);
  await loggedIn(house, changed, CLUSTER, { groups: ["github_org://1"], extras: { username: [changed] } });
  traps.give(removed, "DELETE ClusterRole", () => ({ answer: 500, body: html }), 1);
  await deleteCrtb(house.management!, CLUSTER, removed);
  await house.waitFor(CLUSTER, removed, "removed", DEADLINE);
  await assertGone(house.cluster(CLUSTER), removed);
  // A Secret that somebody deletes is made anew, with another token.
  const {
    secrets: [secret],
  } = await objectsOf(house.cluster(CLUSTER), changed);
  await house.cluster(CLUSTER).call("DELETE", `/api/v1/namespaces/cattle-impersonation-system/secrets/${secret.metadata.name}`);
  await settledAfter(house, { clusters: [CLUSTER], user: changed }, () => house.command(["enqueue", "--cluster", CLUSTER, "--user", changed]));
  await remember(changed);
}

/** Lists and watches of both kinds of cluster fail, kubeconfigs break with their tokens inside. */
async function breakAround(): Promise<void> {
  const lines = (msg: string): number => house.processes.flatMap((process) => process.lines).filter((line) => line["msg"] === msg).length;
  for (const traps of [trapped.management!, trapped.at(CLUSTER)]) {
    traps.giveAll(({ url }) => ({ answer: 500, body: url.includes("watch=") ? html : status(500) }));
    traps.proxy.cut();
  }
  const newcomer = await house.start("producer");
  for (const msg of ["watch ended and is tried again", "import failed and is tried again"]) await waitUntil(msg, () => lines(msg) > 2, DEADLINE);
  for (const traps of [trapped.management!, trapped.at(CLUSTER)]) traps.giveAll(undefined);
  assert.equal(await newcomer.stop(), 0);
  const good = await readFile(join(house.clustersDir, `${CLUSTER}.yaml`), "utf8");
  const broken = {
    "c-yaml": good.replace("users:", "users: ["),
    "c-key": good.replace("token:", "tokn:"),
    "c-type": good.replace(/token: (\S+)/, 'token: {"$1": $1}'),
    "c-exec": good.replace(/token: (\S+)/, "exec: {command: $1, env: [{name: T, value: $1}]}"),
  };
  const problems = lines("kubeconfig cannot be used");
  for (const [cluster, text] of Object.entries(broken)) await writeFile(join(house.clustersDir, `${cluster}.yaml`), text);
  await waitUntil("each says what it cannot use", () => lines("kubeconfig cannot be used") >= problems + 3 * Object.keys(broken).length, DEADLINE);
}

async function askAll(): Promise<void> {
  const hook = async (method: string, path: string, headers: Record<string, string>, text?: string): Promise<void> => {
    const { status: code, body, headers: answered } = await house.hook(method, path, text, headers);
    keep("hook", JSON.stringify([code, body, [...answered]]));
  };
  const text = JSON.stringify({ user: "u-post-secret-500", cluster: CLUSTER, provider: "github" });
  await hook("POST", "/v1/logins", signed(OTHER_SECRET, text), text);
  await hook("POST", "/v1/logins", { authorization: `Bearer ${WRONG.bearer}` }, text);
  await hook("POST", "/v1/logins", signed(WRONG.signed, text), text);
  await hook("POST", "/v1/logins", { authorization: `Basic ${WRONG.bearer}` }, text);
  for (const user of ["u-post-secret-500", "u-post-clusterrole-422", "u-nobody"])
    await hook("GET", `/v1/subjects/${CLUSTER}/${user}`, { authorization: `Bearer ${HOOK_SECRET}` });
  const commands = [
    ["status"],
    ["verify", "--all"],
    ["verify", "--cluster", CLUSTER, "--user", "u-post-secret-500"],
    ["check"],
    ["cleanup"],
    ["enqueue", "--cluster", CLUSTER, "--user", "u-post-secret-500"],
  ];
  for (const command of commands)
    for (const output of [[], ["--output", "json"]]) {
      const { code, stdout, stderr } = await house.command([...command, ...output]);
      assert.ok(code === 0 || code === 1 || code === 3, stderr);
      keep("command line", stdout + stderr);
    }
  const wrong = await house.command(["status"], {
    UNDERSTUDY_HOOK_SECRETS: WRONG.bearer.slice(0, 15),
    UNDERSTUDY_DASHBOARD_USERS: `ann:${PASSWORD.slice(0, 7)}`,
    UNDERSTUDY_REDIS_URL: `http://x:${PASSWORD}@y`,
  });
  assert.equal(wrong.code, 2);
  keep("command line", wrong.stdout + wrong.stderr);
  const authorization = `Basic ${Buffer.from(`ann:${PASSWORD}`).toString("base64")}`;
  for (const [place, said] of [...(await metricsOf(house)), ...(await pagesOf(dashboard, authorization))]) heard.set(place, said);
  await fetch(`${dashboard.started["dashboard"]}/queues`, { headers: { authorization: `Basic ${Buffer.from(`ann:${WRONG.bearer}`).toString("base64")}` } });
}

before(async () => {
  trapped = await openTrappedHouse({
    clusters: [CLUSTER],
    workers: 2,
    settings: { LOG_LEVEL: "trace", UNDERSTUDY_HOOK_SECRETS: `${HOOK_SECRET},${OTHER_SECRET},${WHSEC}`, UNDERSTUDY_DASHBOARD_USERS: `ann:${PASSWORD}` },
  });
  house = trapped.house;
  dashboard = await house.start("dashboard");
  for (const path of [join(house.folder, "management.yaml"), join(house.clustersDir, `${CLUSTER}.yaml`)]) {
    secrets.set(`the token of ${path}`, /token: "?([^"\s]+)/.exec(await readFile(path, "utf8"))![1]!);
  }
  await liveWithFaults();
  await breakAround();
  await askAll();
  for (const [place, text] of [...logsOf(house), ...(await dumpOf(house.redis))]) heard.set(place, text);
});
after(() => trapped?.[Symbol.asyncDispose]());

test("the hunt finds every secret that is planted, in each spelling: what it does not find is not there", () => {
  for (const [name, secret] of secrets) {
    const planted = [
      secret,
      `Bearer ${secret}`,
      Buffer.from(secret).toString("base64"),
      JSON.stringify({ err: { body: JSON.stringify({ message: secret }) } }),
      `?token=${encodeURIComponent(secret)}`,
    ];
    for (const text of planted) {
      const found = hunt(new Map([[name, secret]]), new Map([...heard, ["a log", `${JSON.stringify({ level: 30, msg: "planted" })} ${text}`]]));
      assert.ok(
        found.some(({ place }) => place === "a log"),
        `${name} as ${text.slice(0, 20)}`,
      );
    }
  }
});

test("the life that was searched had all that it is about: faults, failed jobs with their stacks, refusals, tokens of those who have gone", () => {
  const text = (start: string): string =>
    [...heard]
      .filter(([place]) => place.startsWith(start))
      .map(([, said]) => said)
      .join("\n");
  for (const msg of [
    "subject failed and is tried again",
    "subject failed until a person acts",
    "import failed and is tried again",
    "watch ended and is tried again",
    "kubeconfig cannot be used",
    "login refused",
  ])
    assert.ok(text("log of").includes(`"${msg}"`), msg);
  assert.match(text("redis"), /stacktrace.*ClusterRole|stacktrace.*clusterroles/s);
  assert.match(text("redis"), /"failedReason"/);
  assert.match(text("dashboard"), /failedReason/);
  assert.match(text("command line"), /u-post-secret-500/);
  assert.match(text("metrics"), /understudy_passes_total\{queue="binding",result="terminal"\} [1-9]/);
  assert.ok(secrets.size >= 20, [...secrets.keys()].join(", "));
});

for (const [place, start] of Object.entries({
  "the log of any process": "log of",
  "Redis, its jobs and their stacks": "redis",
  "a metric": "metrics",
  "the dashboard": "dashboard",
  "what a command says": "command line",
  "an answer of the hook": "hook",
})) {
  test(`no secret and no body of an answer is in ${place}, because more people read it than may know them`, () => {
    const texts = new Map([...heard].filter(([name]) => name.startsWith(start)));
    assert.ok(texts.size > 0);
    assert.deepEqual(hunt(secrets, texts), []);
  });
}

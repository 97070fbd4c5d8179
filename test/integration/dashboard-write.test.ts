// The dashboard's write mode over HTTP: who may write, what a form has to bring along, and what each action does, on a real Redis with real jobs.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { GROUP_MAX } from "../../shared/ledger/ask.ts";
import { clusterRowOf } from "../../shared/ledger/cluster-row.ts";
import { openStore } from "../../shared/run/redis.ts";
import type { Subject } from "../../shared/subject.ts";
import { ACTIONS } from "../../workers/dashboard/forms.ts";
import { PASSWORD, USERS, ask, basic, dashboardOn, send, tokenOf } from "../support/dashboard.ts";
import { aMe, toldGrant } from "../support/ledger.ts";
import { startRedis } from "../support/redis.ts";

const lines: string[] = [];
const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());
const redis = cleanup.adopt(await startRedis(), (server) => server.stop());
const store = cleanup.use(await openStore(redis.url, "understudy", 5_000, () => undefined));
const { ledger, queues } = store;
assert.equal(await ledger.importEnd(await ledger.importBegin()), "ok");
const bob = { cluster: "c-amber", user: "u-bob" };
await know(bob);
const readOnly = cleanup.use(await dashboardOn(redis, { UNDERSTUDY_DASHBOARD_USERS: USERS }, lines));
const open = cleanup.use(await dashboardOn(redis, { UNDERSTUDY_DASHBOARD_USERS: USERS, UNDERSTUDY_DASHBOARD_WRITE: "olga" }, lines));
const olga = basic("olga", PASSWORD);
const piet = basic("piet", "password-of-piet");
const csrf = await tokenOf("olga", store);

async function know(subject: Subject): Promise<void> {
  await ledger.submit(subject, { grants: [toldGrant("1")] }, "binding", "binding");
}
/** A subject that a person must look at. */
async function failed(subject: Subject, reason: string, mode: "terminal" | "fail" = "terminal"): Promise<void> {
  await know(subject);
  const me = aMe();
  const taken = await ledger.take(subject, me);
  assert.ok("read" in taken);
  await ledger.fail(subject, me, taken.read.record.stamp, { mode, reason, unknown: false });
}
/** All that an action could change. */
async function world(): Promise<unknown> {
  const counts = await Promise.all(Object.values(queues).map(async (queue) => [await queue.getJobCounts(), await queue.isPaused()]));
  return { counts, bob: await ledger.record(bob), amber: await ledger.clusterFields("c-amber") };
}
const generation = async (subject: Subject): Promise<number> => (await ledger.record(subject))!.gen;
const forms = {
  reconcile: { ...bob, csrf },
  retry: { reason: "forbidden", cluster: "", csrf },
  pause: { cluster: "c-amber", csrf },
  resume: { cluster: "c-amber", csrf },
} as const;
const each = Object.entries(forms) as [keyof typeof forms, (typeof forms)["reconcile"]][];
const audited = (message: string) =>
  lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ name, msg }) => name === "understudy.audit" && msg === message);

test("read-only is the default, and each action is refused there, whoever sends whatever, because a page without a button is no protection", async () => {
  const before = await world();
  for (const [action, fields] of each) {
    const { status, headers } = await send(readOnly.url, ACTIONS[action], fields, olga);
    assert.deepEqual([status, headers["allow"]], [405, "GET, HEAD"], action);
    assert.equal((await send(readOnly.url, ACTIONS[action], fields)).status, 401, action);
  }
  assert.deepEqual(await world(), before);
});

test("who is not named to write may look and change nothing, even with a token of a writer's page", async () => {
  const before = await world();
  for (const [action, fields] of each) {
    assert.equal((await send(open.url, ACTIONS[action], fields, piet)).status, 403, action);
    assert.equal((await send(open.url, ACTIONS[action], { ...fields, csrf: await tokenOf("piet", store) }, piet)).status, 403, action);
    assert.equal((await send(open.url, ACTIONS[action], fields)).status, 401, action);
  }
  assert.equal((await ask(`${open.url}/queues`, "GET", piet)).status, 200);
  assert.deepEqual(await world(), before);
});

test("a form without the reader's own token changes nothing, because somebody else's page cannot know it", async () => {
  const before = await world();
  for (const [action, { csrf: own, ...fields }] of each) {
    const wrong = { none: {}, empty: { csrf: "" }, another: { csrf: await tokenOf("piet", store) }, changed: { csrf: `${own.slice(1)}A` } };
    for (const [what, given] of Object.entries(wrong)) {
      const { status } = await send(open.url, ACTIONS[action], { ...fields, ...given }, olga);
      assert.equal(status, what === "none" ? 400 : 403, `${action} with ${what}`);
    }
  }
  assert.deepEqual(await world(), before);
});

test("a form that another page sent changes nothing, even with the right token", async () => {
  const before = await world();
  const { host, port } = new URL(open.url);
  const none = { "sec-fetch-site": [], origin: [] };
  const foreign = [
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
    { "sec-fetch-site": "none" },
    { ...none, origin: "http://evil.example" },
    { ...none, origin: `http://127.0.0.1.evil.example:${port}` },
    { ...none, origin: `http://localhost:${port}` },
    { ...none, origin: `http://${host}.evil.example` },
    { ...none, origin: "null" },
    none,
  ];
  for (const headers of foreign)
    for (const [action, fields] of each)
      assert.equal((await send(open.url, ACTIONS[action], fields, { ...olga, ...headers })).status, 403, `${action} ${JSON.stringify(headers)}`);
  assert.deepEqual(await world(), before);
  const plain = { ...olga, ...none, origin: `http://${host}` };
  assert.equal((await send(open.url, ACTIONS.reconcile, forms.reconcile, plain)).status, 303, "plain http has no Sec-Fetch-Site");
});

test("bull-board stays read-only in write mode, because its retry passes the ledger by", async () => {
  for (const path of ["/queues/api/queues/binding/retry/failed", "/queues/api/queues/pause", "/", "/actions", "/actions/other", "/actions/reconcile/"])
    for (const method of ["PUT", "POST"]) assert.equal((await ask(open.url + path, method, olga)).status, 405, `${method} ${path}`);
  const { text } = await ask(`${open.url}/queues/api/queues?activeQueue=binding`, "GET", olga);
  assert.ok((JSON.parse(text) as { queues: { readOnlyMode: boolean }[] }).queues.every(({ readOnlyMode }) => readOnlyMode));
});

test("reconcile looks at a person now, as `enqueue` does, says so where it came from, and is in the audit log with who asked", async () => {
  const before = await generation(bob);
  const { status, headers } = await send(open.url, ACTIONS.reconcile, { ...forms.reconcile, back: "/subject?cluster=c-amber&user=u-bob" }, olga);
  assert.deepEqual([status, headers["location"]], [303, "/subject?cluster=c-amber&user=u-bob&done=reconcile&count=1"]);
  assert.equal(await generation(bob), before + 1);
  assert.equal((await ledger.record(bob))!.look, true);
  const { by, cluster, user } = audited("look asked for").at(-1)!;
  assert.deepEqual({ by, cluster, user }, { by: "olga", ...bob });
});

test("a retry asks for all that fail for one reason and for nobody else, a thousand at a time, and who asks again gets the next ones", async () => {
  const many = Array.from({ length: GROUP_MAX + 1 }, (_, i) => ({ cluster: "c-birch", user: `u-${i}` }));
  await Promise.all(many.map((subject) => failed(subject, `cluster c-birch refuses "cattle-impersonation-${subject.user}", forbidden`)));
  const [other, ready] = [
    { cluster: "c-birch", user: "u-other" },
    { cluster: "c-birch", user: "u-ready" },
  ];
  await failed(other, "quota");
  await know(ready);
  const before = [await generation(other), await generation(ready)];
  const reason = 'cluster … refuses "cattle-impersonation-…", forbidden';
  const counts = [];
  for (let i = 0; i < 3; i++) {
    const { headers } = await send(open.url, ACTIONS.retry, { reason, cluster: "", csrf }, olga);
    counts.push(new URL(String(headers["location"]), open.url).searchParams.get("count"));
  }
  assert.deepEqual(counts, [String(GROUP_MAX), "1", "0"]);
  assert.deepEqual([await generation(other), await generation(ready)], before);
  assert.deepEqual(new Set(await Promise.all(many.map(generation))), new Set([2]));
  const asked = audited("look asked for").filter((line) => line["reason"] === reason);
  assert.deepEqual(new Set(asked.map(({ by, user }) => `${String(by)} ${String(user)}`)), new Set(many.map(({ user }) => `olga ${user}`)));
});

test("a retry of one cluster leaves the same trouble elsewhere alone, and takes those along that are tried again by themselves", async () => {
  const [here, there] = [
    { cluster: "c-here", user: "u-1" },
    { cluster: "c-there", user: "u-1" },
  ];
  for (const subject of [here, there]) await failed(subject, "first line\nsecond line", "fail");
  const { headers } = await send(open.url, ACTIONS.retry, { reason: "first line\r\nsecond line", cluster: "c-here", csrf }, olga);
  assert.equal(headers["location"], "/?done=retry&count=1", "a browser sends line ends as CRLF");
  assert.deepEqual([await generation(here), await generation(there)], [2, 1]);
});

test("a pause is noted once with who and since when, for status and workers, and a resume wakes what waited", async () => {
  const row = async () => clusterRowOf("c-amber", await ledger.clusterFields("c-amber"), 0, Date.now()).reason;
  const post = async (action: "pause" | "resume") => (await send(open.url, ACTIONS[action], { ...forms[action], back: "/" }, olga)).headers["location"];
  assert.equal(await post("pause"), "/?done=pause&count=1");
  const paused = await row();
  assert.match(paused, /^paused by olga since \d{4}-\d\d-\d\dT[\d:.]+Z$/);
  assert.equal(await post("pause"), "/?done=pause&count=0");
  assert.equal(await row(), paused);
  const { by, cluster } = audited("cluster paused").at(-1)!;
  assert.deepEqual({ by, cluster, lines: audited("cluster paused").length }, { by: "olga", cluster: "c-amber", lines: 1 });
  const sweeps = async () => (await queues.binding.getJobs(["prioritized"])).filter(({ data }) => data.cluster === "c-amber").length;
  assert.equal(await sweeps(), 0);
  assert.equal(await post("resume"), "/?done=resume&count=1");
  assert.equal(await sweeps(), 1);
  assert.equal(await row(), "");
  assert.equal(await post("resume"), "/?done=resume&count=0");
  assert.equal(audited("cluster resumed").length, 1);
});

test("after an action only a page of the dashboard is led to, because a form can name any address", async () => {
  for (const back of [
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example",
    "javascript:alert(1)",
    "/.//evil.example",
    "\\\\evil.example",
    "http://",
  ]) {
    const { status, headers } = await send(open.url, ACTIONS.resume, { ...forms.resume, back }, olga);
    const location = String(headers["location"]);
    assert.deepEqual([status, new URL(location, open.url).origin], [303, new URL(open.url).origin], `${back} → ${location}`);
  }
});

test("a form that is not one is refused by name, and shows no value", async () => {
  const refused: readonly (readonly [Readonly<Record<string, string>> | URLSearchParams, number, RegExp])[] = [
    [{ csrf }, 400, /cluster: /],
    [{ csrf, cluster: "C/x" }, 400, /cluster: /],
    [{ csrf, cluster: "c-amber", more: "1" }, 400, /more/],
    [
      new URLSearchParams([
        ["csrf", csrf],
        ["cluster", "c-amber"],
        ["cluster", "c-birch"],
      ]),
      400,
      /twice/,
    ],
    [{ csrf, cluster: "c-nobody" }, 404, /nobody was ever known/],
    [{ csrf, cluster: "c".repeat(100_000) }, 413, /large/],
  ];
  for (const [fields, status, says] of refused) {
    const answer = await send(open.url, ACTIONS.pause, fields, olga);
    assert.equal(answer.status, status, answer.text);
    assert.match(answer.text, says);
    assert.ok(!answer.text.includes(csrf));
  }
  for (const type of ["application/json", "text/plain", "multipart/form-data; boundary=x"])
    assert.equal((await send(open.url, ACTIONS.pause, forms.pause, { ...olga, "content-type": type })).status, 415, type);
  assert.equal(await ledger.pausedAt("c-amber"), undefined);
});

test("a form of one dashboard is taken by another, because they may stand behind one address", async () => {
  await using second = await dashboardOn(redis, { UNDERSTUDY_DASHBOARD_USERS: USERS, UNDERSTUDY_DASHBOARD_WRITE: "*" }, lines);
  assert.equal((await send(second.url, ACTIONS.reconcile, forms.reconcile, olga)).status, 303);
  assert.equal((await send(second.url, ACTIONS.reconcile, { ...forms.reconcile, csrf: await tokenOf("piet", store) }, piet)).status, 303);
});

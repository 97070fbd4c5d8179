// The login hook as proxies call it: who may, what is answered, what a repeat does, and that a refusal names its place and stores nothing.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { loggedIn, settledAfter } from "../support/evidence.ts";
import { HOOK_SECRET, type House } from "../support/house.ts";
import { actAs, assertActsAsExactly, assertGone, objectsOf, tokenOf } from "../support/impersonator.ts";
import { deleteCrtb, putCrtb, putGrb, putUser } from "../support/rancher-objects.ts";
import { type SignedHeaders, type Signing, signed } from "../support/signed.ts";
import { type TrappedHouse, openTrappedHouse } from "../support/traps.ts";
import { waitUntil } from "../support/wait-until.ts";

const ONE = "c-one";
const TWO = "c-two";
const PLAIN = "the-plain-secret-of-another-proxy";
const WHSEC = `whsec_${Buffer.from("the bytes of a third proxy's secret").toString("base64")}`;
const TEAM = "github_team://hook";
let trapped: TrappedHouse;
let house: House;
before(async () => {
  trapped = await openTrappedHouse({ workers: 1, settings: { UNDERSTUDY_HOOK_SECRETS: `${HOOK_SECRET},${PLAIN},${WHSEC}` } });
  house = trapped.house;
  for (const cluster of [ONE, TWO]) await putCrtb(house.management!, cluster, "team", { groupPrincipalName: TEAM });
});
after(() => trapped?.[Symbol.asyncDispose]());

type Answered = Awaited<ReturnType<House["hook"]>>;
const body = (user: string, more: object = {}): string => JSON.stringify({ user, cluster: ONE, provider: "github", ...more });
const post = (text: string, headers: Readonly<Record<string, string>>, query = ""): Promise<Answered> =>
  house.hook("POST", `/v1/logins${query}`, text, headers);
const postSigned = (text: string, signing?: Signing, query = ""): Promise<Answered> => post(text, signed(PLAIN, text, signing), query);

/** RFC 9457, with a reason that a person can act on. */
function assertProblem({ status, body: problem, headers }: Answered, expected: number, detail: RegExp): void {
  assert.equal(status, expected, JSON.stringify(problem));
  assert.match(headers.get("content-type") ?? "", /^application\/problem\+json/);
  const { title, detail: said, ...rest } = problem;
  assert.deepEqual(rest, { type: "about:blank", status: expected });
  assert.ok(typeof title === "string" && title !== "");
  assert.match(String(said), detail);
}
async function boundUser(user: string): Promise<void> {
  await putUser(house.management!, user);
  await settledAfter(house, { clusters: [ONE], user }, () => putCrtb(house.management!, ONE, user, { userName: user }));
}
/** A signature holds whole seconds, and a login of the same second as a removal counts as older than it. */
const laterSecond = (time: string): Promise<unknown> => waitUntil("a later second", () => Math.floor(Date.now() / 1000) * 1000 > Date.parse(time));
/** A member of the team who is logged in on both clusters. */
async function member(user: string): Promise<void> {
  await putUser(house.management!, user);
  for (const cluster of [ONE, TWO]) await loggedIn(house, user, cluster, { groups: [TEAM], extras: { username: [user] } });
}

test("a login counts with each secret of the list, signed or as bearer, because proxies change theirs one after the other", async () => {
  await boundUser("u-signed");
  const ways: Readonly<Record<string, (text: string) => Readonly<Record<string, string>>>> = {
    plain: (text) => signed(PLAIN, text),
    whsec: (text) => signed(WHSEC, text),
    old: (text) => signed(PLAIN, text, { at: Date.now() - 290_000 }),
    bearer: () => ({ authorization: `Bearer ${PLAIN}` }),
  };
  for (const [way, headers] of Object.entries(ways)) {
    const text = body("u-signed", { provider: way, groups: [`github_team://${way}`] });
    const { status, body: said } = await post(text, headers(text), "?wait=5");
    assert.deepEqual([status, said["state"]], [200, "ready"], way);
  }
  const groups = Object.keys(ways).map((way) => `github_team://${way}`);
  await assertActsAsExactly(house.cluster(ONE), { user: "u-signed", groups });
});

test("whoever cannot authenticate is answered 401 and told what to send, and nothing is stored", async () => {
  await putUser(house.management!, "u-eve");
  await putCrtb(house.management!, TWO, "u-eve", { userName: "u-eve" });
  const row = await house.waitFor(TWO, "u-eve", "ready", { deadlineMs: 60_000 });
  const text = JSON.stringify({ user: "u-eve", cluster: TWO, provider: "github", groups: [TEAM] });
  const good = signed(PLAIN, text);
  const without = (name: keyof SignedHeaders) => Object.fromEntries(Object.entries(good).filter(([key]) => key !== name));
  const wrong: readonly (readonly [headers: Record<string, string>, detail: RegExp])[] = [
    [{}, /send Authorization: Bearer, or webhook-id/],
    [without("webhook-id"), /send .*webhook-id/],
    [without("webhook-timestamp"), /send .*webhook-timestamp/],
    [without("webhook-signature"), /send .*webhook-signature/],
    [signed("not-a-secret-of-this-hook-at-all", text), /signature is wrong/],
    [signed(PLAIN, text.replace("u-eve", "u-ann")), /signature is wrong/],
    [{ ...good, "webhook-id": "another" }, /signature is wrong/],
    [signed(PLAIN, text, { at: Date.now() - 330_000 }), /more than five minutes old/],
    [signed(PLAIN, text, { at: Date.now() + 330_000 }), /more than five minutes/],
    [{ ...good, "webhook-timestamp": `${good["webhook-timestamp"]}e9` }, /whole seconds/],
    [{ authorization: "Bearer not-a-secret-of-this-hook" }, /bearer secret is wrong/],
    [{ authorization: "Bearer not-a-secret-of-this-hook", ...good }, /bearer secret is wrong/],
    [{ authorization: `Basic ${Buffer.from(`x:${PLAIN}`).toString("base64")}` }, /send Authorization: Bearer/],
  ];
  for (const [headers, detail] of wrong) {
    const answer = await post(text, headers);
    assertProblem(answer, 401, detail);
    assert.equal(answer.headers.get("www-authenticate"), "Bearer");
  }
  assertProblem(await house.hook("GET", `/v1/subjects/${TWO}/u-eve`, undefined, {}), 401, /send/);
  assertProblem(await house.hook("DELETE", "/v1/logins/u-eve", undefined, {}), 401, /send/);
  assert.deepEqual(await house.row(TWO, "u-eve"), row);
});

test("GET and DELETE are signed over method and target as sent, query included, because else one signature would do for another act", async () => {
  await member("u-target");
  const ask = (method: string, path: string, text = `${method} ${path}`) => house.hook(method, path, undefined, signed(WHSEC, text));
  const row = await ask("GET", `/v1/subjects/${ONE}/u-target`);
  assert.deepEqual([row.status, row.body["state"]], [200, "ready"]);
  assertProblem(await ask("GET", `/v1/subjects/${ONE}/u-target`, `GET /v1/subjects/${TWO}/u-target`), 401, /signature is wrong/);
  assertProblem(await ask("DELETE", `/v1/logins/u-target?cluster=${ONE}`, "DELETE /v1/logins/u-target"), 401, /signature is wrong/);
  assertProblem(await ask("DELETE", "/v1/logins/u-target", `DELETE /v1/logins/u-target?cluster=${ONE}`), 401, /signature is wrong/);
  assertProblem(await ask("DELETE", "/v1/logins/u-target", "GET /v1/logins/u-target"), 401, /signature is wrong/);
  assert.equal((await house.row(ONE, "u-target"))?.state, "ready");
  const { status } = await ask("DELETE", `/v1/logins/u-target?cluster=${ONE}`);
  assert.equal(status, 202);
  await house.waitFor(ONE, "u-target", "removed");
  await assertGone(house.cluster(ONE), "u-target");
});

test("a login that comes twice under one id stores nothing the second time and is answered how it stands now; another body under it is 409", async () => {
  await boundUser("u-twice");
  const text = body("u-twice", { groups: ["github_team://first"] });
  const first = await postSigned(text, { id: "twice-1" }, "?wait=5");
  assert.equal(first.status, 200);
  await settledAfter(house, { clusters: [ONE], user: "u-twice" }, () => postSigned(body("u-twice", { groups: ["github_team://second"] })));
  const row = await house.row(ONE, "u-twice");
  // A sender signs its repeat anew, so the time on it is later than that of the second login.
  await laterSecond(row!.updatedAt);
  const again = await postSigned(text, { id: "twice-1" }, "?wait=5");
  assert.deepEqual([again.status, again.body["state"]], [200, "ready"]);
  assert.ok(String(again.body["verifiedAt"]) > String(first.body["verifiedAt"]), "today's state, not the first answer");
  assertProblem(await postSigned(body("u-twice"), { id: "twice-1" }), 409, /webhook-id was sent with another body/);
  assert.deepEqual(await house.row(ONE, "u-twice"), row);
  await assertActsAsExactly(house.cluster(ONE), { user: "u-twice", groups: ["github_team://second"] });
});

test("`?wait` holds the answer until it is ready, and no longer than was asked for", async () => {
  const server = house.cluster(ONE);
  server.pauseControllerManager();
  try {
    await putUser(house.management!, "u-wait");
    await waitUntil("the team's member may log in", async () => (await postSigned(body("u-wait", { groups: [TEAM] }))).status === 202);
    const began = performance.now();
    const held = postSigned(body("u-wait"), {}, "?wait=5");
    const first = await Promise.race([held, postSigned(body("u-wait"), {}, "?wait=1")]);
    assert.deepEqual([first.status, first.body["state"]], [202, "pending"], "the one that wanted to wait less");
    assert.ok(performance.now() - began > 800, "it was held");
    server.resumeControllerManager();
    assert.equal((await held).status, 200);
  } finally {
    server.resumeControllerManager();
  }
  await assertActsAsExactly(server, { user: "u-wait", groups: [TEAM] });
  for (const query of ["?wait=-1", "?wait=5.1", "?wait=6", "?wait=abc", "?wait=", "?wait=1e0", "?wait=1&wait=2", "?wait=%31%30"])
    assertProblem(await postSigned(body("u-wait"), {}, query), 400, /^wait: 0 to 5 seconds$/);
  for (const query of ["?wait=0", "?wait=0.5", "?wait=5"]) assert.equal((await postSigned(body("u-wait"), {}, query)).status, 200);
});

test("what is not there, not allowed or not a login is refused with its place, and nothing is stored", async () => {
  await putUser(house.management!, "u-none");
  const bearer = { authorization: `Bearer ${PLAIN}` };
  const ask = (method: string, path: string, text?: string, headers = {}) => house.hook(method, path, text, { ...bearer, ...headers });
  const login = (text: string, headers = {}) => ask("POST", "/v1/logins", text, headers);
  assertProblem(await login(body("u-none", { cluster: "c-nowhere" })), 404, /cluster c-nowhere is not configured/);
  assertProblem(await login(body("u-none")), 403, /no binding of the user or its groups/);
  assertProblem(await login(JSON.stringify({ user: "u-none", provider: "github" })), 403, /no binding/);
  assertProblem(await login(body("u-none", { groups: [TEAM, "system:masters"] })), 422, /groups\[1\] "system:masters"/);
  assertProblem(await login(body("u-none", { groups: ["x".repeat(1024 * 1024)] })), 413, /1048576 bytes/);
  for (const type of ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-16", "multipart/form-data"])
    assertProblem(await login("user=u-none", { "content-type": type }), 400, /not JSON in UTF-8/);
  assertProblem(await login(""), 400, /not JSON in UTF-8/);
  assertProblem(await login("not json"), 400, /not JSON in UTF-8/);
  assertProblem(await ask("GET", `/v1/subjects/${ONE}/u-none`), 404, /no such subject/);
  assertProblem(await ask("GET", `/v1/subjects/${ONE}`), 400, /GET \/v1\/subjects\/\{cluster\}\/\{user\}/);
  assertProblem(await ask("GET", `/v1/subjects/${ONE}/u%zz`), 400, /percent/);
  assertProblem(await ask("DELETE", "/v1/logins/u-none/"), 400, /provider/);
  assertProblem(await ask("DELETE", "/v1/logins/u-none?cluster=c-nowhere"), 404, /cluster c-nowhere is not configured/);
  assertProblem(await ask("DELETE", `/v1/logins/u-none?clutser=${ONE}`), 400, /clutser/);
  assertProblem(await ask("DELETE", `/v1/logins/u-none?cluster=${ONE}&cluster=${TWO}`), 400, /cluster/);
  assertProblem(await ask("PUT", "/v1/logins", "{}"), 404, /no PUT here/);
  assert.equal(await house.row(ONE, "u-none"), undefined);
  assert.equal((await objectsOf(house.cluster(ONE), "u-none")).role, undefined);
});

test("a user's id may hold slashes, percent signs and letters of any script, each percent-encoded in a path", async () => {
  for (const [i, user] of ["local://50%/ü", "%2F", "a?b=c#d&e", "名前", "x".repeat(1024)].entries()) {
    await putCrtb(house.management!, ONE, `odd-${i}`, { userName: user });
    const row = await house.waitFor(ONE, user, "waiting", { deadlineMs: 60_000 });
    assert.deepEqual([row.user, row.reason], [user, "user unknown"]);
    const path = `/v1/logins/${encodeURIComponent(user)}`;
    for (const target of [path, `${path}/github`]) assert.equal((await house.hook("DELETE", target, undefined, signed(WHSEC, `DELETE ${target}`))).status, 202);
  }
});

test("the end of a provider takes its names along, the end of the login grants the impersonator: on one cluster, or on all", async () => {
  const user = "u-ends";
  await member(user);
  const token = await tokenOf(house.cluster(ONE), user);
  await loggedIn(house, user, ONE, { provider: "openldap", groups: ["openldap_group://x"], extras: { username: ["uid-x"] } });
  await settledAfter(house, { clusters: [ONE, TWO], user }, () => house.hook("DELETE", `/v1/logins/${user}/openldap`));
  assert.equal((await actAs(house.cluster(ONE), token, { user, extras: { username: ["uid-x"] } })).status, 403);
  await assertActsAsExactly(house.cluster(TWO), { user, groups: [TEAM], extras: { username: [user] } });
  await house.hook("DELETE", `/v1/logins/${user}?cluster=${TWO}`);
  await house.waitFor(TWO, user, "removed");
  await assertActsAsExactly(house.cluster(ONE), { user, groups: [TEAM], extras: { username: [user] } });
  await member(user);
  await house.hook("DELETE", `/v1/logins/${user}`);
  for (const cluster of [ONE, TWO]) {
    await house.waitFor(cluster, user, "removed");
    await assertGone(house.cluster(cluster), user);
  }
});

test("a login that was made before a removal is answered 202 waiting and never brings the impersonator back", async () => {
  const user = "u-late";
  await boundUser(user);
  await settledAfter(house, { clusters: [ONE], user, state: "removed" }, () => deleteCrtb(house.management!, ONE, user));
  await putGrb(house.management!, user, "admin", { userName: user });
  const text = body(user);
  const { status, body: said } = await waitUntil("the global role entitles", async () => {
    const answer = await postSigned(text, { at: Date.now() - 60_000 }, "?wait=1");
    // What the refused ones said of the user is still being looked at: pending for a moment.
    return answer.status === 403 || answer.body["state"] === "pending" ? undefined : answer;
  });
  assert.deepEqual([status, said], [202, { state: "waiting", reason: "the login is older than the removal" }]);
  await assertGone(house.cluster(ONE), user);
  const row = await house.row(ONE, user);
  assert.equal(row?.state, "removed");
  await laterSecond(row.updatedAt);
  assert.equal((await postSigned(text, {}, "?wait=5")).status, 200, "a login of today does");
});

test("with UNDERSTUDY_FACTS=userattribute groups and extras of logins count for nothing, because such an installation does not trust its proxy with them", async () => {
  const user = "u-facts";
  await boundUser(user);
  const careful = await house.start("producer", { UNDERSTUDY_FACTS: "userattribute" });
  const generation = (await house.row(ONE, user))!.generation;
  const tell = async (text: string) =>
    fetch(`${careful.started["hook"]}/v1/logins?wait=5`, {
      method: "POST",
      body: text,
      headers: { "content-type": "application/json", ...signed(PLAIN, text) },
    });
  await waitUntil("its own import stands", async () => {
    const answer = await tell(body(user, { groups: ["github_team://claimed"], extras: { username: ["claimed"] } }));
    return answer.status === 200;
  });
  const row = await house.waitFor(ONE, user, "ready", { generation: generation + 1 });
  assert.ok(row.loginEnds, "the login itself counts");
  await assertActsAsExactly(house.cluster(ONE), { user, extras: { principalid: [`local://${user}`], username: [user] } });
  await putUser(house.management!, "u-claims");
  assert.equal((await tell(body("u-claims", { groups: [TEAM] }))).status, 403, "a claimed group entitles to nothing");
  assert.equal(await careful.stop(), 0);
});

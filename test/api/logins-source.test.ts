// Without a management cluster the signed login is the truth: it makes the impersonator, its end takes it away, and a lost Redis neither cuts anybody off nor widens anybody.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Redis } from "ioredis";
import type { StatusRow } from "../../shared/ledger/status.ts";
import { settledAfter } from "../support/evidence.ts";
import { HOOK_SECRET, House } from "../support/house.ts";
import { type Who, actAs, assertActsAsExactly, assertGone, objectsOf, tokenOf } from "../support/impersonator.ts";
import { signed } from "../support/signed.ts";
import { GiveUp, waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 60_000 };
let house: House;
before(async () => (house = await House.open({ clusters: [CLUSTER], workers: 2, management: false })));
after(() => house?.[Symbol.asyncDispose]());

const server = () => house.cluster(CLUSTER);
async function logIn({ user, groups = [], extras = {} }: Who, provider = "oidc"): Promise<void> {
  const login = { provider, groups: [...groups], extras: Object.fromEntries(Object.entries(extras).map(([key, values]) => [key, [...values]])) };
  await settledAfter(house, { clusters: [CLUSTER], user }, () => house.login(user, CLUSTER, login));
}
const ann: Who = { user: "u-ann", groups: ["developers", "ou=x y,dc=ü"], extras: { principalid: ["oidc://ann"], username: ["Ann Ü"] } };

test("a login makes an impersonator that acts as exactly what the login said, whatever characters id and groups have", async () => {
  const people: readonly Who[] = [
    ann,
    { user: "local://50%/ü b", groups: ["a:b"] },
    { user: "Ann@Example.com", extras: { username: ["名前"] } },
    { user: "u-bare" },
  ];
  for (const who of people) {
    await logIn(who);
    await assertActsAsExactly(server(), who);
    const again = await house.login(who.user, CLUSTER, {});
    assert.deepEqual([again.status, again.body["state"]], [200, "ready"]);
  }
});

test("a login says its cluster, because there is no source that would know the others", async () => {
  const { status, body } = await house.hook("POST", "/v1/logins", { user: "u-ann", provider: "oidc" });
  assert.equal(status, 400);
  assert.match(String(body["detail"]), /^cluster: without a management cluster a login names its cluster$/);
});

test("the end of the login takes everything along, an older login does not bring it back, and a new one makes a new token", async () => {
  const who: Who = { user: "u-end", groups: ["developers"] };
  await logIn(who);
  const token = await tokenOf(server(), who.user);
  assert.equal((await house.hook("DELETE", `/v1/logins/${who.user}`)).status, 202);
  await house.waitFor(CLUSTER, who.user, "removed", DEADLINE);
  await assertGone(server(), who.user);
  const text = JSON.stringify({ user: who.user, cluster: CLUSTER, provider: "oidc" });
  const late = await house.hook("POST", "/v1/logins?wait=1", text, signed(HOOK_SECRET, text, { at: Date.now() - 30_000 }));
  assert.deepEqual([late.status, late.body], [202, { state: "waiting", reason: "the login is older than the removal" }]);
  await assertGone(server(), who.user);
  await logIn(who);
  await assertActsAsExactly(server(), who);
  assert.notEqual(await tokenOf(server(), who.user), token);
});

test("a login that nobody renews ends by itself, with its impersonator", async () => {
  const short = await house.start("producer", { UNDERSTUDY_LOGIN_GRANT: "3s" });
  const text = JSON.stringify({ user: "u-short", cluster: CLUSTER, provider: "oidc", groups: ["developers"] });
  const login = await fetch(`${short.started["hook"]}/v1/logins?wait=5`, { method: "POST", body: text, headers: signed(HOOK_SECRET, text) });
  assert.ok(login.ok, await login.text());
  assert.equal(await short.stop(), 0);
  await house.waitFor(CLUSTER, "u-short", "removed", DEADLINE);
  await assertGone(server(), "u-short");
});

const rulesOf = async (user: string): Promise<unknown> => (await objectsOf(server(), user)).role?.rules;
const loginEndsOf = async (user: string): Promise<unknown> => (await objectsOf(server(), user)).role?.metadata.annotations["understudy.io/login-ends"];
async function statusOf(user: string): Promise<StatusRow | undefined> {
  const { code, stdout, stderr } = await house.command(["status", "--output", "json", "--user", user]);
  assert.equal(code, 0, stderr);
  return (JSON.parse(stdout) as { subjects: StatusRow[] }).subjects[0];
}
async function flushAll(): Promise<void> {
  const redis = new Redis(house.redis.socket);
  await redis.flushall();
  redis.disconnect();
}

test("after a FLUSHALL whoever is active goes on without a break as what the role remembers, whoever has gone stays away, and the next login replaces it", async () => {
  await logIn({ user: "u-gone", groups: ["developers"] });
  await settledAfter(house, { clusters: [CLUSTER], user: "u-gone", state: "removed" }, () => house.hook("DELETE", "/v1/logins/u-gone"));
  const two: Who = { user: "u-two", groups: ["developers"], extras: { username: ["two"] } };
  await logIn(two);
  await logIn({ user: "u-two", groups: ["admins"] }, "ldap");
  const tokens = { ann: await tokenOf(server(), ann.user), two: await tokenOf(server(), two.user) };
  const rules = await rulesOf(ann.user);
  const ends = await loginEndsOf(ann.user);
  await flushAll();
  // The very first login that comes may find no import mark yet: it waits, and is neither refused nor told to be ready by a forgetful ledger.
  const first = await house.hook("POST", "/v1/logins", { user: two.user, cluster: CLUSTER, provider: "oidc", groups: two.groups, extras: two.extras });
  assert.equal(first.status, 202, JSON.stringify(first.body));
  const row = await waitUntil(
    "ann is ready again",
    async () => {
      if ((await actAs(server(), tokens.ann, ann)).status !== 201) throw new GiveUp(new Error("ann was cut off"));
      assert.deepEqual(await rulesOf(ann.user), rules);
      const found = await house.row(CLUSTER, ann.user);
      return found?.state === "ready" ? found : undefined;
    },
    DEADLINE,
  );
  assert.match(row.reason, /restored from the role/);
  assert.match((await statusOf(ann.user))!.reason, /restored from the role/);
  assert.equal(row.loginEnds, ends, "no longer than it was granted");
  await assertActsAsExactly(server(), ann);
  assert.equal(await tokenOf(server(), ann.user), tokens.ann);
  assert.equal(await statusOf("u-gone"), undefined);
  await assertGone(server(), "u-gone");
  // A real word of one provider counts for more than what the role remembers of all.
  await house.waitFor(CLUSTER, two.user, "ready", DEADLINE);
  await assertActsAsExactly(server(), two);
  assert.equal((await actAs(server(), tokens.two, { user: two.user, groups: ["admins"] })).status, 403);
  const other: Who = { user: ann.user, groups: ["testers"], extras: { username: ["Ann"] } };
  await logIn(other);
  await assertActsAsExactly(server(), other);
  assert.equal((await actAs(server(), tokens.ann, ann)).status, 403);
  assert.equal((await statusOf(ann.user))!.reason, "");
});

test("a login that is ended ends, also when a FLUSHALL has left only the role to remember it, or is only just over", async () => {
  const roles: Record<string, unknown> = {};
  for (const user of ["u-restored", "u-named", "u-all"]) {
    await logIn({ user, groups: ["developers"] });
    roles[user] = await rulesOf(user);
  }
  await flushAll();
  // Refused until it can be kept, and then it is: nobody has read the roles yet.
  for (const path of [`u-named?cluster=${CLUSTER}`, "u-all"])
    await waitUntil("the end is taken", async () => (await house.hook("DELETE", `/v1/logins/${path}`)).status === 202, DEADLINE);
  await waitUntil("the others are restored", async () => (await house.row(CLUSTER, "u-restored"))?.state === "ready", DEADLINE);
  for (const user of ["u-named", "u-all"]) {
    await house.waitFor(CLUSTER, user, "removed", DEADLINE);
    await assertGone(server(), user);
  }
  assert.deepEqual(await rulesOf("u-restored"), roles["u-restored"]);
  assert.equal((await house.hook("DELETE", "/v1/logins/u-restored")).status, 202);
  await house.waitFor(CLUSTER, "u-restored", "removed", DEADLINE);
  await assertGone(server(), "u-restored");
});

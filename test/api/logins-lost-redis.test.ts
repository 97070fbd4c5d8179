// Without a management cluster, as a person sees it: real requests with their own token. They pass from the login to its end and not a moment longer, and a Redis that
// loses everything in the middle neither cuts anybody off nor gives anybody a name.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Redis } from "ioredis";
import { callsOf } from "../support/audit.ts";
import { loggedIn, settledAfter } from "../support/evidence.ts";
import { HOOK_SECRET, House, type Process } from "../support/house.ts";
import { type Who, actAs, assertActsAsExactly, assertGone, objectsOf, tokenOf } from "../support/impersonator.ts";
import { signed } from "../support/signed.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 60_000 };
const EVERY_MS = 200;
const GRANT_MS = 6_000;
const RBAC = "rbac.authorization.k8s.io";
let house: House;
let short: Process;
before(async () => {
  house = await House.open({ clusters: [CLUSTER], workers: 2, management: false });
  short = await house.start("producer", { UNDERSTUDY_LOGIN_GRANT: `${GRANT_MS / 1000}s` });
  const subjects = [{ kind: "Group", name: "developers", apiGroup: RBAC }];
  const binding = { metadata: { name: "developers" }, subjects, roleRef: { apiGroup: RBAC, kind: "ClusterRole", name: "view" } };
  assert.equal((await server().call("POST", `/apis/${RBAC}/v1/clusterrolebindings`, binding)).status, 201);
});
after(() => house?.[Symbol.asyncDispose]());

const server = () => house.cluster(CLUSTER);
const providerOf = ({ user }: Who): string => (user.endsWith("2") ? "ldap" : "oidc");
const logIn = ({ user, groups = [], extras = {} }: Who) =>
  loggedIn(house, user, CLUSTER, {
    provider: providerOf({ user }),
    groups: [...groups],
    extras: Object.fromEntries(Object.entries(extras).map(([key, list]) => [key, [...list]])),
  });

/** What a proxy does for a person: one real request with the impersonator's token, which Kubernetes allows to their group. */
async function podsAs(user: string, token: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}`, "impersonate-user": user, "impersonate-group": ["developers"] };
  return (await server().call("GET", "/api/v1/namespaces/default/pods", undefined, headers)).status;
}
/** The answers to a person's requests, one every 200 ms, until one is refused. */
async function untilRefused(user: string, token: string): Promise<{ passed: number; refused: number; at: number }> {
  for (let passed = 0; ; passed++) {
    const status = await podsAs(user, token);
    if (status !== 200) return { passed, refused: status, at: Date.now() };
    await pause(EVERY_MS);
  }
}

describe("a person's requests", { concurrency: true }, () => {
  test("pass from the login on, until the login grant ends that nobody renews: then they are refused, and the role went before the token", async (t) => {
    const user = "u-brief";
    const text = JSON.stringify({ user, cluster: CLUSTER, provider: "oidc", groups: ["developers"] });
    const login = await fetch(`${short.started["hook"]}/v1/logins?wait=5`, { method: "POST", body: text, headers: signed(HOOK_SECRET, text) });
    assert.equal(login.status, 200, await login.text());
    const end = Date.parse((await house.row(CLUSTER, user))!.loginEnds!);
    const { passed, refused, at } = await untilRefused(user, await tokenOf(server(), user));
    t.diagnostic(`${passed} requests passed; refused ${at - end} ms after the end of the grant`);
    // 401 where the API server remembers the token no longer, which it does for ten seconds: by then the Secret has gone too.
    assert.ok([401, 403].includes(refused), `${refused}`);
    assert.ok(passed > (GRANT_MS / EVERY_MS) * 0.5 && at > end, "not before its end");
    assert.ok(at - end < 15_000, "by the sweep, which comes every five seconds");
    await house.waitFor(CLUSTER, user, "removed", DEADLINE);
    await assertGone(server(), user);
    const deleted = (await callsOf(server(), [user])).get(user)!.filter(({ verb }) => verb === "delete");
    assert.equal(deleted[0]!.resource, "clusterroles", "the token's right goes before the token");
  });

  test("pass until somebody ends the login, by the user's name alone: then 403 at once", async (t) => {
    const user = "u-ended";
    await logIn({ user, groups: ["developers"] });
    const token = await tokenOf(server(), user);
    assert.equal(await podsAs(user, token), 200);
    const requests = untilRefused(user, token);
    const began = Date.now();
    assert.equal((await house.hook("DELETE", `/v1/logins/${user}`)).status, 202);
    const { refused, at } = await requests;
    t.diagnostic(`refused ${at - began} ms after the DELETE was sent`);
    assert.equal(refused, 403);
    assert.ok(at - began < 5_000);
    await house.waitFor(CLUSTER, user, "removed", DEADLINE);
    await assertGone(server(), user);
  });
});

const people: readonly Who[] = [
  { user: "u-1", groups: ["developers"], extras: { username: ["one"] } },
  { user: "u-2", groups: ["developers", "admins"], extras: { principalid: ["ldap://2"], username: ["Zwei Ü"] } },
  { user: "Three@Example.com", groups: ["developers", "ou=x y"] },
  { user: "u-bare" },
];
async function flushAll(): Promise<void> {
  const redis = new Redis(house.redis.socket);
  await redis.flushall();
  redis.disconnect();
}
const rulesOf = async (user: string): Promise<unknown> => (await objectsOf(server(), user)).role?.rules;

/** While `act` goes on, each asks every 200 ms as all that they are, which must pass, and with the names of the others, which must not. */
async function undisturbed(act: () => Promise<void>): Promise<number> {
  const tokens = new Map<string, string>();
  for (const { user } of people) tokens.set(user, await tokenOf(server(), user));
  const rules = new Map<string, unknown>();
  for (const { user } of people) rules.set(user, await rulesOf(user));
  const names = new Set(people.flatMap(({ groups = [] }) => groups));
  const found: string[] = [];
  let asked = 0;
  const over = new AbortController();
  const ask = async (who: Who): Promise<void> => {
    const token = tokens.get(who.user)!;
    const foreign = [...names].filter((group) => !who.groups?.includes(group));
    while (!over.signal.aborted) {
      asked += 1;
      const own = await actAs(server(), token, who);
      if (own.status !== 201 || own.username !== who.user) found.push(`${who.user} was refused: ${own.status}`);
      for (const group of foreign)
        if ((await actAs(server(), token, { user: who.user, groups: [group] })).status !== 403) found.push(`${who.user} gained ${group}`);
      await pause(EVERY_MS);
    }
  };
  const asking = Promise.all(people.map(ask));
  try {
    await act();
  } finally {
    over.abort();
    await asking;
  }
  assert.deepEqual(found, []);
  for (const { user } of people) {
    assert.deepEqual(await rulesOf(user), rules.get(user), user);
    assert.equal(await tokenOf(server(), user), tokens.get(user), user);
  }
  return asked;
}

test("a FLUSHALL in the middle refuses no request of anybody, gives nobody a name, brings nobody back, and the next login replaces what was restored", async (t) => {
  for (const who of people) await logIn(who);
  await logIn({ user: "u-gone", groups: ["developers"] });
  await settledAfter(house, { clusters: [CLUSTER], user: "u-gone", state: "removed" }, () => house.hook("DELETE", "/v1/logins/u-gone"));
  const ends = new Map<string, unknown>();
  for (const { user } of people) ends.set(user, (await house.row(CLUSTER, user))!.loginEnds);
  const asked = await undisturbed(async () => {
    for (const time of ["first", "second"]) {
      await flushAll();
      for (const { user } of people) {
        const { reason, loginEnds } = await house.waitFor(CLUSTER, user, "ready", DEADLINE);
        assert.match(reason, /restored from the role/, `${user}, the ${time} time`);
        assert.equal(loginEnds, ends.get(user), "no longer than it was granted");
      }
    }
  });
  t.diagnostic(`${asked} requests as all that they are, ${people.length} people, two losses`);
  for (const who of people) await assertActsAsExactly(server(), who);
  assert.equal(await house.row(CLUSTER, "u-gone"), undefined);
  await assertGone(server(), "u-gone");

  const token = await tokenOf(server(), "u-2");
  const next: Who = { user: "u-2", groups: ["testers"], extras: { username: ["two"] } };
  await logIn(next);
  await assertActsAsExactly(server(), next);
  assert.equal((await actAs(server(), token, people[1]!)).status, 403, "what was restored has gone");
  assert.equal((await house.row(CLUSTER, "u-2"))!.reason, "");
  assert.match((await house.row(CLUSTER, "u-1"))!.reason, /restored from the role/, "who has not logged in goes on as they were");
});

// learn: a UserAttribute beside logins. What it repeats is no news; what it changes or leaves out counts at its own time.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Learned } from "../../shared/ledger/told.ts";
import { benchOn, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();

type Told = NonNullable<Learned["attribute"]>[number];
/** One provider of the UserAttribute; its hash stands for its content. */
const told = (provider: string, at: number, groups: readonly string[]): Told => ({ provider, at, hash: JSON.stringify(groups), values: [["groups", groups]] });
const login = (provider: string, at: number, groups: readonly string[]): Learned => ({ values: [{ provider, key: "groups", at, list: groups }] });

function user() {
  const { ledger } = benchOn(redis);
  return async (said: Learned) => {
    const { facts, n } = await ledger.learn("u-alice", said);
    return { n, groups: Object.fromEntries(Object.entries(facts.providers).map(([provider, values]) => [provider, values.groups])) };
  };
}

test("the providers of a UserAttribute are facts, because a user who never logged in through a proxy has no others", async () => {
  const learn = user();
  assert.deepEqual((await learn({ attribute: [told("github", 1_000, ["g"]), told("okta", 900, ["o"])] })).groups, { github: ["g"], okta: ["o"] });
});

test("a refresh without news does not override a login that came between, because its content is older than its date", async () => {
  const learn = user();
  await learn({ attribute: [told("github", 1_000, ["g"])] });
  const { n } = await learn(login("github", 2_000, ["g", "new"]));
  const refreshed = await learn({ attribute: [told("github", 3_000, ["g"])] });
  assert.deepEqual(refreshed, { n, groups: { github: ["g", "new"] } });
});

test("a refresh with news overrides an older login, because the provider has been asked since", async () => {
  const learn = user();
  await learn({ attribute: [told("github", 1_000, ["g"])] });
  await learn(login("github", 2_000, ["g", "new"]));
  assert.deepEqual((await learn({ attribute: [told("github", 3_000, [])] })).groups, { github: [] });
});

test("a changed content that is dated before a login leaves the login, because the newer of the two counts", async () => {
  const learn = user();
  await learn(login("github", 2_000, ["new"]));
  assert.deepEqual((await learn({ attribute: [told("github", 1_000, ["old"])] })).groups, { github: ["new"] });
  assert.deepEqual((await learn({ attribute: [told("github", 1_500, ["older still"])] })).groups, { github: ["new"] });
});

test("the same UserAttribute again changes nothing, because imports repeat it", async () => {
  const learn = user();
  const first = await learn({ attribute: [told("github", 1_000, ["g"])] });
  assert.deepEqual(await learn({ attribute: [told("github", 1_000, ["g"])] }), first);
});

test("a key that the content leaves out keeps what is known, because silence is no statement", async () => {
  const { ledger } = benchOn(redis);
  await ledger.learn("u-alice", {
    attribute: [
      {
        provider: "github",
        at: 1_000,
        hash: "a",
        values: [
          ["groups", ["g"]],
          ["username", ["bob"]],
        ],
      },
    ],
  });
  const { facts } = await ledger.learn("u-alice", { attribute: [{ provider: "github", at: 2_000, hash: "b", values: [["groups", []]] }] });
  assert.deepEqual(facts.providers, { github: { groups: [], username: ["bob"] } });
});

test("a provider that vanished from the UserAttribute says nothing more, because Rancher has forgotten it", async () => {
  const learn = user();
  await learn({ attribute: [told("github", 1_000, ["g"]), told("okta", 1_000, ["o"])] });
  assert.deepEqual((await learn({ attribute: [told("okta", 1_000, ["o"])] })).groups, { okta: ["o"] });
});

test("a vanished provider is dropped at its own time, so that a newer login through it stays", async () => {
  const learn = user();
  await learn({ attribute: [told("github", 1_000, ["g"])] });
  await learn(login("github", 2_000, ["new"]));
  assert.deepEqual((await learn({ attribute: [] })).groups, { github: ["new"] });
});

test("a login that is older than the vanished content does not come back, because it was replaced while the content counted", async () => {
  const learn = user();
  await learn(login("github", 500, ["old"]));
  await learn({ attribute: [told("github", 1_000, ["g"])] });
  assert.deepEqual((await learn({ attribute: [] })).groups, {});
  assert.deepEqual((await learn(login("github", 900, ["late"]))).groups, {});
  assert.deepEqual((await learn(login("github", 1_100, ["new"]))).groups, { github: ["new"] });
});

test("a provider that only logins have named does not vanish, because the UserAttribute never spoke of it", async () => {
  const learn = user();
  await learn(login("okta", 1_000, ["o"]));
  await learn({ attribute: [told("github", 2_000, ["g"])] });
  assert.deepEqual((await learn({ attribute: [] })).groups, { okta: ["o"] });
});

test("a provider that comes back with the same content counts again, because Rancher says so anew", async () => {
  const learn = user();
  await learn({ attribute: [told("github", 1_000, ["g"])] });
  await learn({ attribute: [] });
  assert.deepEqual((await learn({ attribute: [told("github", 1_000, ["g"])] })).groups, { github: ["g"] });
});

test("what says nothing of the UserAttribute drops nothing, because a login is not a list of providers", async () => {
  const learn = user();
  await learn({ attribute: [told("github", 1_000, ["g"])] });
  assert.deepEqual((await learn(login("okta", 2_000, ["o"]))).groups, { github: ["g"], okta: ["o"] });
});

test("a drop on request is stronger than a refresh without news, because only newer facts count again", async () => {
  const learn = user();
  await learn({ attribute: [told("github", 1_000, ["g"])] });
  await learn({ drop: { provider: "github", at: 2_000 } });
  assert.deepEqual((await learn({ attribute: [told("github", 3_000, ["g"])] })).groups, {});
  assert.deepEqual((await learn({ attribute: [told("github", 1_500, ["changed, but before the drop"])] })).groups, {});
  assert.deepEqual((await learn({ attribute: [told("github", 3_000, ["changed"])] })).groups, { github: ["changed"] });
});

test("provider names that mean something to programs vanish like any other, because nobody chooses them for us", async () => {
  const learn = user();
  const names = ["__proto__", "a:b", "ua:x", "groups:github"];
  const seen = new Map(Object.entries((await learn({ attribute: names.map((name, i) => told(name, i + 1, [name])) })).groups));
  assert.deepEqual(seen, new Map(names.map((name) => [name, [name]])));
  assert.deepEqual(Object.keys((await learn({ attribute: [told("a:b", 2, ["a:b"])] })).groups), ["a:b"]);
});

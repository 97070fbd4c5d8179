// learn: what sources and logins say of a user, merged by time and not by arrival.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Learned } from "../../shared/ledger/told.ts";
import type { ProviderValues, UserObject, ValueKey } from "../../shared/subject.ts";
import { VALUE_KEYS } from "../../shared/subject.ts";
import { toldGrant, alice, benchOn, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();
const says = (provider: string, at: number, list: readonly string[], key: ValueKey = "groups"): Learned => ({ values: [{ provider, key, at, list }] });
const aUser = (over: Partial<UserObject> = {}): UserObject => ({ enabled: true, principalid: ["local://u-alice"], username: ["Alice"], ...over });

/** Says several things one after the other, and returns what is known at the end. */
async function known(...said: readonly Learned[]) {
  const { ledger } = benchOn(redis);
  for (const one of said) await ledger.learn("u-alice", one);
  return (await ledger.userRecord("u-alice")).facts;
}

test("what is learned is answered whole and can be read again, because the copies are made of the answer", async () => {
  const { ledger } = benchOn(redis);
  const learned = await ledger.learn("u-alice", { ...says("github", 1_000, ["github_org://1"]), user: { rv: "5", live: aUser() }, join: "c-birch" });
  assert.deepEqual(learned.facts, { user: aUser(), providers: { github: { groups: ["github_org://1"] } } });
  assert.deepEqual(learned.clusters, ["c-birch"]);
  assert.deepEqual([...learned.times], [["groups:github", 1_000]]);
  assert.deepEqual(await ledger.userRecord("u-alice"), learned);
});

test("a user of whom nothing was said has no facts, because unknown is not empty", async () => {
  const { ledger } = benchOn(redis);
  assert.deepEqual(await ledger.userRecord("u-nobody"), { n: "0", facts: { user: null, providers: {} }, clusters: [], attributed: false, times: new Map() });
});

test("an older value never replaces a newer one, because deliveries overtake each other", async () => {
  assert.deepEqual((await known(says("github", 2_000, ["new"]), says("github", 1_000, ["old"]))).providers, { github: { groups: ["new"] } });
});

test("of two values of the same time the later arrival counts, because two logins can fall into one second", async () => {
  assert.deepEqual((await known(says("github", 1_000, ["first"]), says("github", 1_000, ["second"]))).providers, { github: { groups: ["second"] } });
});

test("each key has its own time, because a login may name groups without extras", async () => {
  const facts = await known(
    says("github", 2_000, ["bob"], "username"),
    says("github", 1_000, ["github_org://1"]),
    says("github", 1_500, ["old name"], "username"),
  );
  assert.deepEqual(facts.providers, { github: { groups: ["github_org://1"], username: ["bob"] } });
});

test("a key that is not named keeps what is known and an empty list clears it, because silence is no statement", async () => {
  const facts = await known(
    {
      values: [
        { provider: "github", key: "groups", at: 1, list: ["github_org://1"] },
        { provider: "github", key: "username", at: 1, list: ["bob"] },
      ],
    },
    says("github", 2, []),
  );
  assert.deepEqual(facts.providers, { github: { groups: [], username: ["bob"] } });
});

test("providers stand side by side, because a person may have logged in with several", async () => {
  assert.deepEqual((await known(says("okta", 1, ["o"]), says("github", 9, ["g"]))).providers, { github: { groups: ["g"] }, okta: { groups: ["o"] } });
});

const statements = fc
  .uniqueArray(
    fc.record({
      at: fc.integer({ min: 1, max: 2_000_000_000_000 }),
      provider: fc.constantFrom("github", "okta", "a:b", "__proto__"),
      key: fc.constantFrom(...VALUE_KEYS),
      list: fc.option(fc.array(fc.constantFrom("x", "y", "z"), { maxLength: 2 }), { nil: undefined }),
    }),
    { selector: ({ at }) => at, minLength: 1, maxLength: 10 },
  )
  .chain((said) =>
    fc.record({
      said: fc.constant(said),
      order: fc.array(fc.nat({ max: said.length - 1 }), { maxLength: 6 }).chain((repeats) => {
        const told = [...said.keys(), ...repeats];
        return fc.shuffledSubarray([...told.keys()], { minLength: told.length }).map((positions) => positions.map((i) => told[i]!));
      }),
    }),
  );

test("facts and drops with distinct times, in any order and with repeats, end in the same facts, because queues reorder and repeat", async () => {
  await fc.assert(
    fc.asyncProperty(statements, async ({ said, order }) => {
      const learned = order.map((i): Learned => {
        const { provider, at, key, list } = said[i]!;
        return list ? says(provider, at, list, key) : { drop: { provider, at } };
      });
      const expected = new Map<string, ProviderValues>();
      for (const { provider } of said) {
        for (const key of VALUE_KEYS) {
          const newest = said.filter((one) => one.provider === provider && (one.key === key || one.list === undefined)).sort((a, b) => b.at - a.at)[0];
          if (newest?.list) expected.set(provider, { ...expected.get(provider), [key]: newest.list });
        }
      }
      const { providers } = await known(...learned);
      assert.deepEqual(new Map(Object.entries(providers)), expected);
    }),
    { numRuns: 100 },
  );
});

test("the number rises with each change and with nothing else, because a copy without news must bring no job", async () => {
  const { ledger } = benchOn(redis);
  const numbers: bigint[] = [];
  const learn = async (said: Learned) => numbers.push(BigInt((await ledger.learn("u-alice", said)).n));
  await learn(says("github", 1_000, ["a"]));
  const changes: Learned[] = [
    says("github", 2_000, ["b"]),
    { user: { rv: "1", live: aUser() } },
    { drop: { provider: "github", at: 3_000 } },
    says("github", 4_000, []),
  ];
  for (const said of changes) {
    await learn(said);
    assert.ok(numbers.at(-1)! > numbers.at(-2)!, `no rise after ${JSON.stringify(said)}`);
  }
  const silent: Learned[] = [
    says("github", 4_000, []),
    says("github", 9_000, []),
    says("github", 1, ["old"]),
    { user: { rv: "1", live: aUser() } },
    { user: { rv: "2", live: aUser() } },
    { user: { rv: "0", live: null } },
    { drop: { provider: "okta", at: 5_000 } },
    { join: "c-amber" },
    {},
  ];
  for (const said of silent) {
    await learn(said);
    assert.equal(numbers.at(-1), numbers.at(-2), `a rise after ${JSON.stringify(said)}`);
  }
});

test("the number of a record that was lost and began anew is above the old one, because subjects still hold the old copies", async () => {
  const { ledger, key } = benchOn(redis);
  for (let i = 0; i < 50; i++) await ledger.learn("u-alice", says("github", i, [`g${i}`]));
  const old = await ledger.learn("u-alice", says("github", 100, ["last"]));
  await ledger.submit(alice, { grants: [toldGrant("1")], copy: old }, "binding", "binding");
  await redis.del(key("user", "u-alice"));
  const anew = await ledger.learn("u-alice", says("github", 101, ["narrow"]));
  assert.ok(BigInt(anew.n) > BigInt(old.n), `${anew.n} after ${old.n}`);
  assert.equal((await ledger.submit(alice, { copy: anew }, "facts", "binding")).gen, 2);
  assert.deepEqual((await ledger.record(alice))?.facts?.providers, { github: { groups: ["narrow"] } });
});

test("a dropped provider says nothing more and only newer facts of it count again, because a late login must not undo the drop", async () => {
  const { ledger } = benchOn(redis);
  const providers = async (said: Learned) => (await ledger.learn("u-alice", said)).facts.providers;
  await providers({ values: VALUE_KEYS.map((key) => ({ provider: "github", key, at: 1_000, list: ["x"] })) });
  assert.deepEqual(await providers({ drop: { provider: "github", at: 2_000 } }), {});
  assert.deepEqual(await providers(says("github", 1_999, ["late"])), {});
  assert.deepEqual(await providers(says("github", 2_001, ["new"])), { github: { groups: ["new"] } });
  assert.deepEqual(await providers({ drop: { provider: "github", at: 1_500 } }), { github: { groups: ["new"] } }, "an older drop drops nothing newer");
});

test("a provider that is dropped before anything was heard of it stays dropped, because its login may only be late", async () => {
  assert.deepEqual((await known({ drop: { provider: "github", at: 2_000 } }, says("github", 1_000, ["late"]))).providers, {});
});

test("the User object counts by its version and not by its arrival, because two producers may tell of it", async () => {
  const told = (rv: string, live: UserObject | null): Learned => ({ user: { rv, live } });
  assert.deepEqual((await known(told("9", aUser({ enabled: false })), told("8", aUser()))).user, aUser({ enabled: false }));
  assert.deepEqual((await known(told("9", aUser({ enabled: false })), told("10", aUser()))).user, aUser(), "10 is newer than 9");
  assert.equal((await known(told("9", aUser()), told("12", null))).user, null);
  assert.equal((await known(told("12", null), told("9", aUser()))).user, null, "a deleted user is not brought back");
});

test("a restored management cluster's User object counts although its version is lower, because it is the source", async () => {
  assert.deepEqual(
    (await known({ user: { rv: "900", live: aUser() } }, { user: { rv: "40", live: aUser({ enabled: false }) }, whole: true })).user,
    aUser({ enabled: false }),
  );
});

test("clusters of a user add up, because a change of facts has to reach every copy", async () => {
  const { ledger } = benchOn(redis);
  for (const join of ["c-birch", "c-amber", "c-birch"]) await ledger.learn("u-alice", { join });
  assert.deepEqual((await ledger.userRecord("u-alice")).clusters, ["c-amber", "c-birch"]);
});

test("provider names that mean something to programs are names like any other, because nobody chooses them for us", async () => {
  const names = ["__proto__", "constructor", "toString", "a:b", "groups:github", "f:groups:x", "ua:x", "", " ", "ö\n"];
  const { ledger } = benchOn(redis);
  for (const [i, name] of names.entries()) await ledger.learn("u-alice", says(name, i, [`g${i}`]));
  const { facts, times } = await ledger.userRecord("u-alice");
  assert.deepEqual(new Map(Object.entries(facts.providers)), new Map(names.map((name, i) => [name, { groups: [`g${i}`] }])));
  assert.deepEqual(new Map(times), new Map(names.map((name, i) => [`groups:${name}`, i])));
  assert.equal(Object.getPrototypeOf(facts.providers), Object.prototype);
  await ledger.submit(alice, { grants: [toldGrant("1")], copy: await ledger.userRecord("u-alice") }, "facts", "binding");
  const copied = (await ledger.record(alice))?.facts?.providers ?? {};
  assert.deepEqual(new Map(Object.entries(copied)), new Map(Object.entries(facts.providers)));
});

test("a user's record of another version is left alone and says nothing, because a newer Understudy wrote it", async () => {
  const { ledger, key } = benchOn(redis);
  const newer = { v: "2", n: "7", "f:groups:github": "another shape" };
  await redis.hset(key("user", "u-alice"), newer);
  const learned = await ledger.learn("u-alice", { ...says("github", 1, ["g"]), join: "c-amber" });
  assert.deepEqual([learned.n, learned.facts], ["0", { user: null, providers: {} }]);
  assert.deepEqual({ ...(await redis.hgetall(key("user", "u-alice"))) }, newer);
});

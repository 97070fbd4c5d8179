// A whole read of the sources into the ledger: what it ends, and what it holds back because a list that lost much may be a mistake.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bindings } from "../../producers/bindings.ts";
import { type ImportOptions, importAll } from "../../producers/import.ts";
import type { Binding } from "../../producers/rancher.ts";
import { Sources } from "../../producers/sources.ts";
import { openLog } from "../../shared/run/log.ts";
import { openMetrics } from "../../shared/run/metrics.ts";
import { type Bench, alice, benchOn, redisForFile } from "../support/ledger.ts";
import { CLUSTER, ListedCluster, OTHER_TEAM, TEAM, aCrtb, bindingsAt, going, isEntitled, logIn } from "../support/told.ts";

const { redis } = await redisForFile();
const OPTIONS: ImportOptions = { whole: false, removalsMax: 0.2 };
const read = ({ ledger }: Bench, bindings: Bindings, options = OPTIONS) => importAll(ledger, bindings, options, going);
const people = (count: number): string[] => Array.from({ length: count }, (_, i) => `u-${i}`);
const entitled = async (bench: Bench, users: readonly string[]): Promise<number> =>
  (await Promise.all(users.map((user) => isEntitled(bench, user)))).filter(Boolean).length;

/** Members of the team, who have logged in and are in by its binding. */
async function membersIn(users: readonly string[]): Promise<Bench> {
  const bench = benchOn(redis);
  const before = bindingsAt("10", [aCrtb("team", { group: TEAM }, "5")], users);
  await read(bench, before);
  for (const user of users) await logIn(bench, before, user, [TEAM]);
  assert.equal(await entitled(bench, users), users.length);
  return bench;
}

for (const [what, holder] of Object.entries<Binding["holder"]>({ "another group": { group: OTHER_TEAM }, "a user": { user: "u-carol" } })) {
  test(`a group binding that names ${what} since the last import no longer lets its old members in, because nobody watched the change`, async () => {
    const bench = await membersIn([alice.user]);
    await read(bench, bindingsAt("20", [aCrtb("team", holder, "15")], [alice.user]));
    assert.equal(await isEntitled(bench, alice.user), false);
  });
}

test("a group binding that another group has now lets in whom both groups have, because it is the same binding still", async () => {
  const bench = benchOn(redis);
  const before = bindingsAt("10", [aCrtb("team", { group: TEAM }, "5")], [alice.user]);
  await read(bench, before);
  await logIn(bench, before, alice.user, [TEAM, OTHER_TEAM]);
  await read(bench, bindingsAt("20", [aCrtb("team", { group: OTHER_TEAM }, "15")], [alice.user]));
  assert.equal(await isEntitled(bench, alice.user), true);
});

/** Users with a binding of their own each. */
const own = (users: readonly string[]): Binding[] => users.map((user) => aCrtb(user, { user }, "5"));

test("a list of users that is whole and empty removes nobody where that would be many, because an empty list is more often a mistake than the truth", async () => {
  const [bench, users] = [benchOn(redis), people(12)];
  await read(bench, bindingsAt("10", own(users), users));
  const { held } = await read(bench, bindingsAt("20", own(users), []));
  assert.deepEqual([...held], [[CLUSTER, 12]]);
  assert.equal(await entitled(bench, users), 12);
  for (const user of users) assert.notEqual((await bench.ledger.userRecord(user)).facts.user, null);
});

test("a lost User is told where it is one of few, because people leave", async () => {
  const [bench, users] = [benchOn(redis), people(12)];
  await read(bench, bindingsAt("10", own(users), users));
  const { held } = await read(bench, bindingsAt("20", own(users), users.slice(2)));
  assert.deepEqual([...held], []);
  assert.equal(await entitled(bench, users), 10);
});

/** Users with a binding of their own and a UserAttribute that names a group, both lists whole. */
function attributed(rv: string, users: readonly string[], speaking: readonly string[]): Bindings {
  const bindings = bindingsAt(rv, own(users), users);
  for (const user of speaking) bindings.attributes.set(user, [{ provider: "github", at: 1, hash: "h", values: [["groups", [TEAM]]] }]);
  return bindings;
}
const speaking = async ({ ledger }: Bench, users: readonly string[]): Promise<number> => {
  const records = await Promise.all(users.map((user) => ledger.userRecord(user)));
  return records.filter(({ facts }) => facts.providers["github"]?.groups?.includes(TEAM)).length;
};

test("a list of UserAttributes that is whole and empty takes nobody's groups away where that would be many, because it ends as much access as lost bindings", async () => {
  const [bench, users] = [benchOn(redis), people(12)];
  await read(bench, attributed("10", users, users));
  assert.deepEqual([...(await read(bench, attributed("20", users, []))).held], [[CLUSTER, 12]]);
  assert.equal(await speaking(bench, users), 12);
});

test("a lost UserAttribute is told where it is one of few, and whoever never had one is none of the lost", async () => {
  const [bench, users] = [benchOn(redis), people(24)];
  await read(bench, attributed("10", users, users.slice(0, 10)));
  assert.deepEqual([...(await read(bench, attributed("20", users, []))).held], []);
  assert.equal(await speaking(bench, users), 0);
});

const noTeam = (users: readonly string[]): Bindings => bindingsAt("20", [], users);

test("a lost group binding of many members is held back, because it takes as much away as many lost bindings", async () => {
  const users = people(12);
  const bench = await membersIn(users);
  assert.deepEqual([...(await read(bench, noTeam(users))).held], [[CLUSTER, 12]]);
  assert.equal(await entitled(bench, users), 12);
});

test("a lost group binding of few members is told, because a few are never too many", async () => {
  const users = people(10);
  const bench = await membersIn(users);
  assert.deepEqual([...(await read(bench, noTeam(users))).held], []);
  assert.equal(await entitled(bench, users), 0);
});

test("a lost group binding of many members is told where a person has allowed it, because the limit is a setting", async () => {
  const users = people(12);
  const bench = await membersIn(users);
  assert.deepEqual([...(await read(bench, noTeam(users), { ...OPTIONS, removalsMax: 1 })).held], []);
  assert.equal(await entitled(bench, users), 0);
});

test("removals go on that a person has allowed, and no more of them than were named, because a list may have become shorter still", async () => {
  const users = people(14);
  const bench = await membersIn(users);
  const fewer = { ...OPTIONS, allowed: new Map([[CLUSTER, 12]]) };
  assert.deepEqual([...(await read(bench, noTeam(users), fewer)).held], [[CLUSTER, 14]]);
  assert.equal(await entitled(bench, users), 14);
  assert.deepEqual([...(await read(bench, noTeam(users), { ...OPTIONS, allowed: new Map([[CLUSTER, 14]]) })).held], []);
  assert.equal(await entitled(bench, users), 0);
});

test("a member with a binding of its own too is not counted as lost, because it keeps a reason", async () => {
  const users = people(12);
  const bench = await membersIn(users);
  assert.deepEqual([...(await read(bench, bindingsAt("20", own(users.slice(0, 2)), users))).held], []);
  assert.equal(await entitled(bench, users), 2);
});

test("an import that is told to stop says so, because half of it must not set the mark", async () => {
  const bench = benchOn(redis);
  await assert.rejects(importAll(bench.ledger, bindingsAt("10", own(["u-1"]), ["u-1"]), OPTIONS, AbortSignal.abort()), { name: "AbortError" });
});

test("a list that cannot be had ends nothing and sets no mark, because what is not known is not gone", async () => {
  const bench = await membersIn([alice.user]);
  const { promise: failed, resolve } = Promise.withResolvers<void>();
  const lines = { write: (line: string) => void (line.includes("import failed") && resolve()) };
  const end = new AbortController();
  const bindings = bindingsAt("10", [], []);
  bindings.loaded = false;
  const client = new ListedCluster((path) => {
    if (path.endsWith("/users")) throw new Error("the users cannot be had");
    return [];
  });
  const config = { globalRoles: [], removalsMax: 1, resyncMs: 60_000 };
  const sources = new Sources({
    client,
    bindings,
    ledger: bench.ledger,
    config,
    log: openLog("warn", {}, lines),
    metrics: openMetrics(),
    clusters: () => [CLUSTER],
  });
  const running = sources.run(end.signal);
  await failed;
  end.abort();
  await running;
  await client.close();
  assert.deepEqual([bindings.loaded, (await bench.ledger.mark()).complete, await isEntitled(bench, alice.user)], [false, false, true]);
});

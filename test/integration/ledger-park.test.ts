// S5b park: everything is written, the token or its proof is still to come. And shelve: the cluster is not configured.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CLUSTER_MISSING } from "../../shared/ledger/status.ts";
import { HOUR, MINUTE, toldGrant, aMe, aSettlement, alice, anApplied, toldEnd, assertNear, benchOn, redisForFile, trustsApplied } from "../support/ledger.ts";

const { redis } = await redisForFile();

async function running() {
  const bench = benchOn(redis);
  await bench.import();
  await bench.ledger.submit(alice, { grants: [toldGrant("1")] }, "drift", "binding");
  return { ...bench, ...(await bench.run(alice)) };
}

test("a parked run is released, pending and unobserved, and due in a minute, because the fill watch may miss its token", async () => {
  const { ledger, me, record, arrange, setDue, dueAt, now } = await running();
  await arrange(alice, { fails: 2, lastFail: 5, retryAt: 6 });
  await setDue(alice, (await now()) + HOUR);
  assert.equal(await ledger.park(alice, me, record, "token not filled yet", anApplied()), "ok");
  const parked = (await ledger.record(alice))!;
  assert.deepEqual([parked.gen, parked.obs, parked.owner, parked.look, parked.fails, parked.retryAt], [1, 0, "", false, 0, 0]);
  assert.deepEqual([parked.result, parked.reason, parked.written, parked.applied], ["pending", "token not filled yet", record.stamp, anApplied()]);
  assert.equal(parked.conf, (await ledger.mark()).run);
  assertNear(await dueAt(alice), (await now()) + MINUTE, "due");
});

test("a parked run is given out again without a take-over, with what it wrote, because only the proof is missing", async () => {
  const { ledger, me, record, run } = await running();
  await ledger.park(alice, me, record, "proof", anApplied());
  const next = await run(alice);
  assert.deepEqual([next.takeover, next.record.written === next.record.stamp, next.record.look], [false, true, false]);
  assert.deepEqual(next.record.applied, anApplied());
  assert.equal(await ledger.settle(alice, next.me, next.record, aSettlement()), "ok");
  assert.equal((await ledger.record(alice))?.written, "");
});

test("a parked run without an import is not confirmed, because a Redis that knows nothing confirms nothing", async () => {
  const { ledger, run } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const { me, record } = await run(alice);
  await ledger.park(alice, me, record, "token", anApplied());
  assert.equal((await ledger.record(alice))?.conf, "");
  assert.equal((await run(alice)).takeover, true);
});

test("a new fact after a park asks for writing again, because what is written belongs to the older stamp", async () => {
  const { ledger, me, record, run } = await running();
  await ledger.park(alice, me, record, "token", anApplied());
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  const next = await run(alice);
  assert.notEqual(next.record.written, next.record.stamp);
});

test("an event on the cluster after a park asks for a look, because a foreign hand may have undone what is written", async () => {
  const { ledger, me, record, run } = await running();
  await ledger.park(alice, me, record, "token", anApplied());
  await ledger.submit(alice, {}, "drift", "binding");
  assert.equal((await run(alice)).record.look, true);
});

test("a park after a newer fact only gives the lock back, because the newer fact goes on from what is seen", async () => {
  const { ledger, me, record, fields, dueAt } = await running();
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  const { owner, until, ...before } = await fields(alice);
  const due = await dueAt(alice);
  assert.ok(owner !== undefined && until !== undefined);
  assert.equal(await ledger.park(alice, me, record, "token", anApplied()), "newer");
  assert.deepEqual(await fields(alice), before);
  assert.equal(await dueAt(alice), due);
});

/** The run after one that was overtaken while it parked what it had written over a ready impersonator. */
async function afterOvertakenPark() {
  const { ledger, me, record, run } = await running();
  await ledger.settle(alice, me, record, aSettlement({ applied: anApplied({ role: { uid: "uid-role", resourceVersion: "10" } }) }));
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  const second = await run(alice);
  await ledger.submit(alice, { grants: [toldGrant("3")] }, "binding", "binding");
  assert.equal(await ledger.park(alice, second.me, second.record, "token", anApplied({ role: { uid: "uid-role", resourceVersion: "11" } })), "newer");
  return run(alice);
}

test("what was noted before a run is not believed after its overtaken park, because that run has written something else", async () => {
  const third = await afterOvertakenPark();
  assert.ok(!trustsApplied(third) || third.record.applied?.role.resourceVersion === "11", "the third run would believe role version 10");
});

test("what was ready before a run is not ready after its overtaken park, because what that run wrote was never proved", async () => {
  assert.notEqual((await afterOvertakenPark()).record.result, "ready");
});

test("who is not the owner parks nothing, because its word is about another worker's objects", async () => {
  const { ledger, me, record, fields, arrange, run, now, dueAt, key } = await running();
  await arrange(alice, { until: (await now()) - 1 });
  await run(alice);
  const before = [await fields(alice), await dueAt(alice)];
  assert.equal(await ledger.park(alice, me, record, "token", anApplied()), "lost");
  assert.deepEqual([await fields(alice), await dueAt(alice)], before);
  await redis.del(key("rec", "c-amber/u-alice"));
  assert.equal(await ledger.park(alice, me, record, "token", anApplied()), "lost");
  assert.deepEqual(await fields(alice), {});
});

test("a subject of a cluster that is not configured says so and is due no more, because nobody can reach it", async () => {
  const { ledger, dueAt } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  await ledger.shelve(alice, CLUSTER_MISSING);
  const shelved = (await ledger.record(alice))!;
  assert.deepEqual([shelved.result, shelved.reason, shelved.gen, shelved.obs], ["waiting", CLUSTER_MISSING, 1, 0]);
  assert.equal(await dueAt(alice), undefined);
});

test("a shelved subject is due again with the next fact, and is worked on when woken, because its cluster may have come back", async () => {
  const { ledger, run, dueAt } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  await ledger.shelve(alice, CLUSTER_MISSING);
  await ledger.submit(alice, { grants: [toldGrant("2", "b-2")] }, "binding", "binding");
  assert.notEqual(await dueAt(alice), undefined);
  await run(alice);
});

test("a run that holds the lock is not shelved under its hands, because its client still works", async () => {
  const { ledger, fields, dueAt } = await running();
  const before = [await fields(alice), await dueAt(alice)];
  await ledger.shelve(alice, CLUSTER_MISSING);
  assert.deepEqual([await fields(alice), await dueAt(alice)], before);
});

test("a run past its deadline does not keep its subject from being shelved, because it may be dead", async () => {
  const { ledger, arrange, now } = await running();
  await arrange(alice, { until: (await now()) - 1 });
  await ledger.shelve(alice, CLUSTER_MISSING);
  assert.equal((await ledger.record(alice))?.result, "waiting");
});

test("a subject without a record is due no more and gets none, because there is nothing to say", async () => {
  const { ledger, setDue, dueAt, fields } = benchOn(redis);
  await setDue(alice, 1);
  await ledger.shelve(alice, CLUSTER_MISSING);
  assert.equal(await dueAt(alice), undefined);
  assert.deepEqual(await fields(alice), {});
});

test("a record of another version is not shelved, because a newer Understudy wrote it", async () => {
  const { ledger, arrange, fields } = benchOn(redis);
  await arrange(alice, { v: "2", gen: "3" });
  await ledger.shelve(alice, CLUSTER_MISSING);
  assert.deepEqual(await fields(alice), { v: "2", gen: "3" });
  assert.deepEqual(await ledger.take(alice, aMe()), { answer: "version" });
});

test("a token is awaited by a run at work and by a parked subject and by nobody else, because only they are worth a wake-up", async () => {
  const { ledger, run, ready } = benchOn(redis);
  assert.equal(await ledger.awaitsToken(alice), false);
  await ready(alice);
  assert.equal(await ledger.awaitsToken(alice), false);
  await ledger.submit(alice, {}, "drift", "binding");
  assert.equal(await ledger.awaitsToken(alice), false);
  const { me, record } = await run(alice);
  assert.equal(await ledger.awaitsToken(alice), true);
  await ledger.park(alice, me, record, "token", anApplied());
  assert.equal(await ledger.awaitsToken(alice), true);
});

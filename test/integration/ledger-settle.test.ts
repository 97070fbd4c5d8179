// S5 settle: the run has seen that the cluster is as it decided.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  DAY,
  HOUR,
  MINUTE,
  toldCandidate,
  toldGrant,
  aMe,
  aSettlement,
  alice,
  anApplied,
  toldEnd,
  assertNear,
  benchOn,
  redisForFile,
  trustsApplied,
} from "../support/ledger.ts";

const { redis } = await redisForFile();
const REMOVED = { result: "removed", reason: "no grant", applied: undefined, next: 0 } as const;

/** A run of a subject with an import behind it. */
async function running() {
  const bench = benchOn(redis);
  await bench.import();
  await bench.ledger.submit(alice, { grants: [toldGrant("1")] }, "drift", "binding");
  return { ...bench, ...(await bench.run(alice)) };
}
/** A run of a subject that lives by a login and a group binding. */
async function loggedIn() {
  const bench = benchOn(redis);
  const at = (await bench.now()) - HOUR;
  const login = { at, end: at + 30 * DAY };
  await bench.ledger.submit(alice, { login, candidates: [toldCandidate("1", "github_org://1")] }, "login", "login");
  return { ...bench, ...(await bench.run(alice)), login };
}

test("a settled run is observed, released and no longer due, because nothing is left to do", async () => {
  const { ledger, me, record, arrange, dueAt, now, fields } = await running();
  await arrange(alice, { fails: 3, lastFail: 5, retryAt: 6 });
  assert.equal(await ledger.settle(alice, me, record, aSettlement({ reason: "as decided" })), "ok");
  const settled = (await ledger.record(alice))!;
  assert.deepEqual([settled.gen, settled.obs, settled.owner, settled.look, settled.fails, settled.retryAt, settled.next], [1, 1, "", false, 0, 0, 0]);
  assert.deepEqual([settled.result, settled.reason, settled.applied], ["ready", "as decided", anApplied()]);
  assertNear(settled.settledAt, await now(), "settledAt");
  assert.equal((await fields(alice)).lastFail, undefined);
  assert.equal(await dueAt(alice), undefined);
  assert.deepEqual(await ledger.take(alice, aMe()), { answer: "done" });
});

test("a settled run that knows when its decision changes is due then, because no event will tell", async () => {
  const { ledger, me, record, dueAt, now } = await running();
  const next = (await now()) + 9 * DAY;
  await ledger.settle(alice, me, record, aSettlement({ next }));
  assert.equal((await ledger.record(alice))?.next, next);
  assert.equal(await dueAt(alice), next);
});

test("a later settlement forgets the old time, because the decision no longer changes by itself", async () => {
  const { ledger, me, record, run, dueAt, now } = await running();
  await ledger.settle(alice, me, record, aSettlement({ next: (await now()) + DAY }));
  await ledger.submit(alice, {}, "verify", "binding");
  const second = await run(alice);
  await ledger.settle(alice, second.me, second.record, aSettlement());
  assert.equal((await ledger.record(alice))?.next, 0);
  assert.equal(await dueAt(alice), undefined);
});

test("a run that was settled without an import is not confirmed, because a Redis that knows nothing confirms nothing", async () => {
  const { ledger, run, ready, import: importAll } = benchOn(redis);
  await ready(alice);
  assert.equal((await ledger.record(alice))?.conf, "");
  assert.equal((await run(alice)).takeover, true);
  await importAll();
  assert.equal((await ledger.mark()).complete, true);
});

test("a run that was settled with an import is confirmed by this Redis, because a later one must ask again", async () => {
  const { ledger, me, record } = await running();
  await ledger.settle(alice, me, record, aSettlement());
  assert.equal((await ledger.record(alice))?.conf, (await ledger.mark()).run);
});

test("a waiting subject is settled as such and keeps no applied, because nothing stands on the cluster", async () => {
  const { ledger, me, record } = await running();
  assert.equal(await ledger.settle(alice, me, record, { result: "waiting", reason: "user unknown", applied: undefined, next: 0 }), "ok");
  const settled = await ledger.record(alice);
  assert.deepEqual([settled?.result, settled?.reason, settled?.applied, settled?.obs], ["waiting", "user unknown", undefined, 1]);
});

test("who is not the owner settles nothing, because its word is about another worker's objects", async () => {
  const { ledger, me, record, fields, arrange, run, now, dueAt } = await running();
  await arrange(alice, { until: (await now()) - 1 });
  await run(alice);
  const before = [await fields(alice), await dueAt(alice)];
  for (const settlement of [aSettlement(), REMOVED]) {
    assert.equal(await ledger.settle(alice, me, record, settlement), "lost");
    assert.equal(await ledger.settle(alice, aMe(), record, settlement), "lost");
  }
  assert.deepEqual([await fields(alice), await dueAt(alice)], before);
});

test("a run whose record was flushed settles nothing, because no record may come from a result alone", async () => {
  const { ledger, me, record, key, fields } = await running();
  await redis.del(key("rec", "c-amber/u-alice"));
  assert.equal(await ledger.settle(alice, me, record, REMOVED), "lost");
  assert.deepEqual(await fields(alice), {});
});

test("an owner that is late but was not taken over settles, because nobody else has begun", async () => {
  const { ledger, me, record, arrange, now } = await running();
  await arrange(alice, { until: (await now()) - 1 });
  assert.equal(await ledger.settle(alice, me, record, aSettlement()), "ok");
});

test("a settlement after a newer fact releases the lock and leaves the subject due, unobserved and looked for, because the newer fact is still to be done", async () => {
  const { ledger, me, record, run, dueAt } = await running();
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  const due = await dueAt(alice);
  assert.equal(await ledger.settle(alice, me, record, aSettlement({ next: Date.now() + DAY })), "newer");
  const settled = (await ledger.record(alice))!;
  assert.deepEqual([settled.gen, settled.obs, settled.owner, settled.look, settled.result, settled.next], [2, 1, "", true, "", 0]);
  assert.equal(await dueAt(alice), due);
  assert.equal((await run(alice)).record.grants.length, 0);
});

test("a settlement clears failures also when a newer fact came, because the cluster has answered", async () => {
  const { ledger, me, record, arrange, now, run } = await running();
  await arrange(alice, { fails: 8, lastFail: await now() });
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  await ledger.settle(alice, me, record, aSettlement());
  assert.equal((await run(alice)).record.fails, 0);
});

test("a removal that was overtaken by a newer grant is not marked as removed, because the subject goes on", async () => {
  const { ledger, me, record, ttlMs } = await running();
  await ledger.submit(alice, { grants: [toldGrant("2", "b-2")] }, "binding", "binding");
  assert.equal(await ledger.settle(alice, me, record, REMOVED), "newer");
  assert.equal((await ledger.record(alice))?.removedAt, 0);
  assert.equal(await ttlMs(alice), -1);
});

test("a generation that was counted again under another stamp stays unobserved, because a rolled back Redis reuses numbers", async () => {
  const { ledger, me, record, arrange, run } = await running();
  await arrange(alice, { stamp: "of another fact" });
  assert.equal(await ledger.settle(alice, me, record, aSettlement()), "newer");
  const settled = (await ledger.record(alice))!;
  assert.ok(settled.obs < settled.gen, `obs ${settled.obs} of gen ${settled.gen}`);
  await run(alice);
});

test("what was noted before a run is not believed after its overtaken settlement, because that run has written something else", async () => {
  const { ledger, me, record, run } = await running();
  await ledger.settle(alice, me, record, aSettlement({ applied: anApplied({ role: { uid: "uid-role", resourceVersion: "10" } }) }));
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  const second = await run(alice);
  await ledger.submit(alice, { grants: [toldGrant("3")] }, "binding", "binding");
  await ledger.settle(alice, second.me, second.record, aSettlement({ applied: anApplied({ role: { uid: "uid-role", resourceVersion: "11" } }) }));
  const third = await run(alice);
  assert.ok(!trustsApplied(third) || third.record.applied?.role.resourceVersion === "11", "the third run would believe role version 10");
});

test("what was ready before a run is not ready after its overtaken removal, because that run has taken the objects away", async () => {
  const { ledger, me, record, run } = await running();
  await ledger.settle(alice, me, record, aSettlement());
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  const second = await run(alice);
  await ledger.submit(alice, { grants: [toldGrant("3")] }, "binding", "binding");
  assert.equal(await ledger.settle(alice, second.me, second.record, REMOVED), "newer");
  const third = await run(alice);
  assert.deepEqual([third.record.applied, third.record.result], [undefined, "pending"]);
});

test("a removal is kept for a day with its time, because late logins and lagging producers have to meet it", async () => {
  const { ledger, me, record, now, ttlMs, dueAt } = await running();
  assert.equal(await ledger.settle(alice, me, record, REMOVED), "ok");
  const removed = (await ledger.record(alice))!;
  assertNear(removed.removedAt, await now(), "removedAt");
  assert.deepEqual([removed.result, removed.applied, removed.login], ["removed", undefined, undefined]);
  assertNear(await ttlMs(alice), DAY, "time to live");
  assert.equal(await dueAt(alice), undefined);
});

test("a removal lets the login grant count for a minute more, because a group binding's stream may lag behind the removal's", async () => {
  const { ledger, me, record, now, login, run } = await loggedIn();
  await ledger.settle(alice, me, record, REMOVED);
  const removed = (await ledger.record(alice))!;
  assertNear(removed.login?.drop, (await now()) + MINUTE, "drop");
  assert.deepEqual([removed.login?.at, removed.login?.end, removed.candidates.length], [login.at, login.end, 1]);
  await ledger.submit(alice, {}, "verify", "binding");
  const again = await run(alice);
  await ledger.settle(alice, again.me, again.record, REMOVED);
  assert.equal((await ledger.record(alice))?.login?.drop, removed.login?.drop, "a second removal does not prolong it");
});

test("a removal forgets what was restored from the role, because the role is gone", async () => {
  const { ledger, run, now } = benchOn(redis);
  await ledger.submit(alice, {}, "orphan", "binding");
  const { me, record } = await run(alice);
  await ledger.read(alice, me, { ends: (await now()) + DAY, values: { groups: ["github_org://1"] } });
  await ledger.settle(alice, me, record, REMOVED);
  assert.equal((await ledger.record(alice))?.restored, undefined);
});

test("a ready result within the minute makes the login grant whole again, because the user was entitled all along", async () => {
  const { ledger, me, record, login, run } = await loggedIn();
  await ledger.settle(alice, me, record, REMOVED);
  await ledger.submit(alice, { candidates: [toldCandidate("2", "github_org://1", "b-2")] }, "binding", "binding");
  const again = await run(alice);
  await ledger.settle(alice, again.me, again.record, aSettlement());
  assert.deepEqual((await ledger.record(alice))?.login, login);
});

test("a ready result after the minute does not bring the login grant back, because it went with the removal", async () => {
  const { ledger, me, record, run, arrange, now } = await loggedIn();
  await ledger.settle(alice, me, record, REMOVED);
  await arrange(alice, { loginDrop: (await now()) - 1 });
  await ledger.submit(alice, { grants: [toldGrant("5")] }, "binding", "binding");
  const again = await run(alice);
  await ledger.settle(alice, again.me, again.record, aSettlement());
  const login = (await ledger.record(alice))?.login;
  assert.ok(login === undefined || (login.drop ?? Infinity) <= (await now()) || login.end <= (await now()), `the grant counts again: ${JSON.stringify(login)}`);
});

test("since when it is ready stays over runs that find it so, because a person asks how long it has been", async () => {
  const { ledger, ready, arrange, run, now } = benchOn(redis);
  await ready(alice);
  assertNear((await ledger.record(alice))!.since, await now(), "since");
  await arrange(alice, { since: 5_000 });
  await ledger.submit(alice, {}, "verify", "binding");
  const again = await run(alice);
  assert.equal(await ledger.settle(alice, again.me, again.record, aSettlement()), "ok");
  assert.equal((await ledger.record(alice))!.since, 5_000);
  await ledger.shelve(alice, "cluster not configured");
  assertNear((await ledger.record(alice))!.since, await now(), "since it waits");
});

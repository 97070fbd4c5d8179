// S2 take and S8 renew: who works on a subject now.
import assert from "node:assert/strict";
import { test } from "node:test";
import { LOCK_MS } from "../../shared/ledger/ledger.ts";
import { HOUR, MINUTE, toldGrant, aMe, aSettlement, alice, anApplied, toldEnd, assertNear, benchOn, bob, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();

/** A subject with a grant that nobody has worked on. */
async function fresh() {
  const bench = benchOn(redis);
  await bench.import();
  await bench.ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  return bench;
}
/** A subject that was settled while an import stood: there is nothing to do. */
async function settled() {
  const bench = benchOn(redis);
  await bench.import();
  await bench.ready(alice);
  return bench;
}

test("a subject without a record is done and no longer due, because there is nothing to decide about", async () => {
  const { ledger, setDue, dueAt, fields } = benchOn(redis);
  await setDue(alice, 1);
  assert.deepEqual(await ledger.take(alice, aMe()), { answer: "done" });
  assert.equal(await dueAt(alice), undefined);
  assert.deepEqual(await fields(alice), {});
});

test("a record of another version is given to nobody, because a newer Understudy wrote it", async () => {
  const { ledger, arrange, fields } = benchOn(redis);
  await arrange(alice, { v: "2", gen: "3" });
  assert.deepEqual(await ledger.take(alice, aMe()), { answer: "version" });
  assert.deepEqual(await fields(alice), { v: "2", gen: "3" });
});

test("the lock comes with the record and Redis' own clock, because a run decides by nothing else", async () => {
  const { ledger, fields, now } = await fresh();
  const before = await now();
  const taken = await ledger.take(alice, "me");
  assert.ok(taken.answer === "go");
  assert.ok(taken.read.now >= before && taken.read.now <= (await now()));
  assert.deepEqual([taken.read.record.gen, taken.read.record.owner, taken.read.record.grants.length], [1, "me", 1]);
  assert.equal(taken.read.complete, true);
  assert.equal((await fields(alice)).until, String(taken.read.now + LOCK_MS));
});

test("the lock says that no import stands where none does, because nothing may be written then", async () => {
  const { ledger } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const taken = await ledger.take(alice, aMe());
  assert.ok(taken.answer === "go");
  assert.equal(taken.read.complete, false);
});

test("a subject that is being worked on is busy until its owner's deadline, because one worker at a time may write", async () => {
  const { ledger, run, fields } = await fresh();
  await run(alice);
  const before = await fields(alice);
  const taken = await ledger.take(alice, aMe());
  assert.ok(taken.answer === "busy");
  assert.ok(taken.waitMs > 0 && taken.waitMs <= LOCK_MS, `wait ${taken.waitMs}`);
  assert.deepEqual(await fields(alice), before);
});

test("busy goes before done and before wait, because the owner has not yet said how it ended", async () => {
  const { ledger, run, arrange, now } = await settled();
  await ledger.submit(alice, {}, "verify", "binding");
  await run(alice);
  await arrange(alice, { obs: 2, retryAt: (await now()) + HOUR });
  assert.equal((await ledger.take(alice, aMe())).answer, "busy");
});

test("of many runs at once exactly one gets the lock, because three queues and a retry button may wake the same subject", async () => {
  const { ledger } = await fresh();
  const answers = await Promise.all(Array.from({ length: 20 }, () => ledger.take(alice, aMe())));
  assert.deepEqual(answers.map((taken) => taken.answer).sort(), [...Array<string>(19).fill("busy"), "go"]);
});

test("a run that asks again is not busy with itself, because the answer to its first question may have been lost", async () => {
  const { ledger, run } = await fresh();
  const { me } = await run(alice);
  const again = await ledger.take(alice, me);
  assert.ok(again.answer === "go");
  assert.equal(again.takeover, true);
});

test("a failing subject says how long to wait and is due a minute after that, because the job that waits may be lost", async () => {
  const { ledger, arrange, now, dueAt, fields } = await fresh();
  const retryAt = (await now()) + HOUR;
  await arrange(alice, { retryAt });
  const taken = await ledger.take(alice, aMe());
  assert.ok(taken.answer === "wait");
  assertNear(taken.waitMs, HOUR, "wait");
  assert.equal(await dueAt(alice), retryAt + MINUTE);
  assert.equal((await fields(alice)).owner ?? "", "");
});

test("a retry time that has passed is no reason to wait, because the backoff is over", async () => {
  const { arrange, run, now } = await fresh();
  await arrange(alice, { retryAt: (await now()) - 1 });
  await run(alice);
});

test("a settled subject is done whatever wakes it, because the ledger costs less than the cluster", async () => {
  const { ledger, fields, arrange, now } = await settled();
  const before = await fields(alice);
  assert.deepEqual(await ledger.take(alice, aMe()), { answer: "done" });
  assert.deepEqual(await fields(alice), before);
  await arrange(alice, { next: (await now()) + HOUR });
  assert.deepEqual(await ledger.take(alice, aMe()), { answer: "done" });
});

test("a settled subject is given out once its decision has changed by itself, because a login grant ends without an event", async () => {
  const { arrange, run, now } = await settled();
  await arrange(alice, { next: (await now()) - 1 });
  assert.equal((await run(alice)).takeover, false);
});

test("a settled subject is given out as a take-over where another Redis confirmed it, because what this one forgot may have been written", async () => {
  const { arrange, run } = await settled();
  await arrange(alice, { conf: "0".repeat(40) });
  assert.equal((await run(alice)).takeover, true);
});

test("a settled subject whose last write is in doubt is given out as a take-over, because it has to be sealed", async () => {
  const { arrange, run } = await settled();
  await arrange(alice, { taken: "1" });
  assert.equal((await run(alice)).takeover, true);
});

test("a new fact after a clean settle is no take-over, because nobody has a write in hand", async () => {
  const { ledger, run } = await settled();
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  assert.equal((await run(alice)).takeover, false);
});

test("the first run of a new subject is a take-over, because after a lost Redis every record is new", async () => {
  const { run } = await fresh();
  assert.equal((await run(alice)).takeover, true);
});

test("an owner past its deadline is taken over, because it may be dead, and its last write may still land", async () => {
  const { ledger, run, arrange, now } = await settled();
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  const first = await run(alice);
  assert.equal(first.takeover, false);
  await arrange(alice, { until: (await now()) - 1 });
  const second = await run(alice);
  assert.equal(second.takeover, true);
  assert.equal(await ledger.read(alice, first.me, undefined), "lost");
});

test("a take-over stays one through releases and failures until a run settles, because only an observed end seals it", async () => {
  const { ledger, run, arrange, now } = await settled();
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  await run(alice);
  await arrange(alice, { until: (await now()) - 1 });
  const released = await run(alice);
  await ledger.fail(alice, released.me, released.record.stamp, { mode: "release", reason: "no import", unknown: false });
  const failed = await run(alice);
  assert.equal(failed.takeover, true);
  await ledger.fail(alice, failed.me, failed.record.stamp, { mode: "fail", reason: "500", unknown: false });
  await arrange(alice, { retryAt: 0 });
  const { me, record, takeover } = await run(alice);
  assert.equal(takeover, true);
  await ledger.settle(alice, me, record, aSettlement());
  await ledger.submit(alice, { grants: [toldGrant("3")] }, "binding", "binding");
  assert.equal((await run(alice)).takeover, false);
});

test("a lock that was given back is no take-over for the next run, because its owner ended in order", async () => {
  const { ledger, run } = await settled();
  await ledger.submit(alice, {}, "drift", "binding");
  const { me, record } = await run(alice);
  await ledger.fail(alice, me, record.stamp, { mode: "release", reason: "409", unknown: false });
  assert.equal((await run(alice)).takeover, false);
});

test("the lock of one subject leaves another's alone, because one person's trouble is nobody else's", async () => {
  const { ledger, run } = await fresh();
  await ledger.submit(bob, { grants: [toldGrant("2")] }, "binding", "binding");
  await run(alice);
  await run(bob);
});

test("a renewed lock lasts its whole time again, because a slow cluster may take longer than one term", async () => {
  const { ledger, run, arrange, fields, now } = await fresh();
  const { me } = await run(alice);
  await arrange(alice, { until: (await now()) + 50 });
  assert.deepEqual(await ledger.renew([{ subject: alice, me }]), []);
  assertNear(Number((await fields(alice)).until), (await now()) + LOCK_MS, "until");
});

test("renewal names exactly the runs that lost their lock, because each has to be stopped and no other", async () => {
  const { ledger, run, arrange, fields, now } = await fresh();
  const carol = { cluster: "c-amber", user: "u-carol" };
  await ledger.submit(bob, { grants: [toldGrant("2")] }, "binding", "binding");
  const lost = { subject: alice, me: (await run(alice)).me };
  const kept = { subject: bob, me: (await run(bob)).me };
  const gone = { subject: carol, me: aMe() };
  await arrange(alice, { until: (await now()) - 1 });
  const winner = await run(alice);
  const before = await fields(alice);
  assert.deepEqual(await ledger.renew([lost, kept, gone]), [lost, gone]);
  assert.deepEqual(await fields(alice), before, "the winner's deadline is its own");
  assert.equal(before.owner, winner.me);
  assert.deepEqual(await fields(carol), {});
});

test("an owner that was not taken over renews even past its deadline, because nobody else has begun", async () => {
  const { ledger, run, arrange, now } = await fresh();
  const { me } = await run(alice);
  await arrange(alice, { until: (await now()) - 1 });
  assert.deepEqual(await ledger.renew([{ subject: alice, me }]), []);
  assert.equal((await ledger.take(alice, aMe())).answer, "busy");
});

test("renewal of nothing asks nothing, because an idle worker has no locks", async () => {
  assert.deepEqual(await benchOn(redis).ledger.renew([]), []);
});

test("a parked subject is given out with what it wrote, because only the proof is missing", async () => {
  const { ledger, run } = await settled();
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "binding", "binding");
  const { me, record } = await run(alice);
  assert.equal(await ledger.park(alice, me, record, "token", anApplied()), "ok");
  const next = await run(alice);
  assert.deepEqual([next.takeover, next.record.result, next.record.written, next.record.look], [false, "pending", record.stamp, false]);
});

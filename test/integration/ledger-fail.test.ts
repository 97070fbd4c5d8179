// S6 fail: the lock is given back without a result, and the record says when to try again.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HOUR, MINUTE, toldGrant, aMe, aSettlement, alice, anApplied, toldEnd, assertNear, benchOn, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();
const BROKEN = { mode: "fail", reason: "cluster c-amber answered 500", unknown: false } as const;
const REFUSED = { mode: "terminal", reason: "quota exceeded", unknown: false } as const;
const RELEASED = { mode: "release", waitMs: 1_000, reason: "conflict", unknown: false } as const;

/** A run of a subject that stands on the cluster and was confirmed there. */
async function running() {
  const bench = benchOn(redis);
  await bench.import();
  await bench.ready(alice);
  await bench.ledger.submit(alice, { grants: [toldGrant("2", "b-2")] }, "binding", "binding");
  const run = await bench.run(alice);
  assert.equal(run.takeover, false);
  return { ...bench, ...run };
}

test("a first failure is tried again after 5 s and due a minute later, because most troubles are short", async () => {
  const { ledger, me, record, now, dueAt } = await running();
  assert.equal(await ledger.retryIn(alice), 0);
  assert.equal(await ledger.fail(alice, me, record.stamp, BROKEN), 5_000);
  assertNear(await ledger.retryIn(alice), 5_000, "the wait as the mover of a job asks for it");
  const failed = (await ledger.record(alice))!;
  assertNear(failed.retryAt, (await now()) + 5_000, "retryAt");
  assert.deepEqual([failed.owner, failed.fails, failed.result, failed.reason, failed.obs], ["", 1, "retrying", BROKEN.reason, 1]);
  assert.equal(await dueAt(alice), failed.retryAt + MINUTE);
  assert.equal((await ledger.take(alice, aMe())).answer, "wait");
});

test("failures in a row wait twice as long each time, give or take a quarter, from 5 s to ten minutes, because a dead cluster must cost little", async () => {
  const { ledger, me, record, arrange } = await running();
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 2_000 }), async (fails) => {
      await arrange(alice, { owner: me, fails, retryAt: 0 });
      const waitMs = await ledger.fail(alice, me, record.stamp, BROKEN);
      const base = Math.min(10 * MINUTE, 1_000 * 2 ** Math.min(fails + 1, 20));
      assert.ok(
        Number.isInteger(waitMs) && waitMs >= Math.max(5_000, Math.floor(base * 0.75)) && waitMs <= Math.max(5_000, base * 1.25),
        `${waitMs} ms after ${fails + 1} failures`,
      );
      assert.equal((await ledger.record(alice))?.fails, fails + 1);
    }),
    { numRuns: 100, examples: [[0], [1], [2], [3], [8], [9], [10], [19], [20], [1_000]] },
  );
});

test("subjects that fail together do not come back together, because a cluster that recovers must not be trampled", async () => {
  const { ledger, me, record, arrange } = await running();
  const waits = new Set<number>();
  for (let i = 0; i < 20; i++) {
    await arrange(alice, { owner: me, fails: 12, retryAt: 0 });
    waits.add(await ledger.fail(alice, me, record.stamp, BROKEN));
  }
  assert.ok(waits.size > 10, `only ${waits.size} different waits`);
});

test("what a person must mend is failed, and tried again in an hour, because nobody may tell us that it was mended", async () => {
  const { ledger, me, record, now, dueAt } = await running();
  assert.equal(await ledger.fail(alice, me, record.stamp, REFUSED), HOUR);
  const failed = (await ledger.record(alice))!;
  assert.deepEqual([failed.owner, failed.fails, failed.result, failed.reason], ["", 0, "failed", "quota exceeded"]);
  assertNear(failed.retryAt, (await now()) + HOUR, "retryAt");
  assert.equal(await dueAt(alice), failed.retryAt + MINUTE);
});

test("a release changes nothing but lock and due time, because waiting is no failure", async () => {
  const { ledger, me, record, fields, dueAt, now, run, arrange } = await running();
  await arrange(alice, { fails: 3, retryAt: 1, look: "1" });
  const { owner, until, ...before } = await fields(alice);
  assert.deepEqual([owner, until === undefined], [me, false]);
  assert.equal(await ledger.fail(alice, me, record.stamp, RELEASED), 1_000);
  assert.deepEqual(await fields(alice), before);
  assertNear(await dueAt(alice), (await now()) + 1_000 + MINUTE, "due");
  assert.equal((await run(alice)).takeover, false);
});

test("a release without a time waits for nothing, because the mover of the job knows when", async () => {
  const { ledger, me, record } = await running();
  assert.equal(await ledger.fail(alice, me, record.stamp, { mode: "release", reason: "no import", unknown: false }), 0);
});

for (const how of [BROKEN, REFUSED, RELEASED]) {
  test(`who is not the owner cannot ${how.mode}, because the subject is in other hands`, async () => {
    const { ledger, me, record, arrange, run, fields, dueAt, now, key } = await running();
    await arrange(alice, { until: (await now()) - 1 });
    await run(alice);
    const before = [await fields(alice), await dueAt(alice)];
    assert.equal(await ledger.fail(alice, me, record.stamp, { ...how, unknown: true }), 0);
    assert.deepEqual([await fields(alice), await dueAt(alice)], before);
    await redis.del(key("rec", "c-amber/u-alice"));
    assert.equal(await ledger.fail(alice, me, record.stamp, { ...how, unknown: true }), 0);
    assert.deepEqual(await fields(alice), {});
  });

  test(`a ${how.mode} after a write whose answer is unknown seals and believes nothing, because the write may still land`, async () => {
    const { ledger, me, record, run, arrange } = await running();
    assert.notEqual(record.applied, undefined);
    await ledger.fail(alice, me, record.stamp, { ...how, unknown: true });
    assert.equal((await ledger.record(alice))?.applied, undefined);
    await arrange(alice, { retryAt: 0 });
    assert.equal((await run(alice)).takeover, true);
  });

  test(`a ${how.mode} after an unproved write believes nothing and is ready no more, but does not seal, because its answer is known`, async () => {
    const { ledger, me, record, run, arrange } = await running();
    assert.deepEqual([record.result, record.applied], ["ready", anApplied()]);
    await ledger.fail(alice, me, record.stamp, { ...how, wrote: true });
    await arrange(alice, { retryAt: 0 });
    const next = await run(alice);
    assert.deepEqual([next.record.applied, next.takeover], [undefined, false]);
    assert.notEqual(next.record.result, "ready");
  });

  test(`a ${how.mode} that wrote nothing keeps what was noted, because the objects are as they were`, async () => {
    const { ledger, me, record } = await running();
    await ledger.fail(alice, me, record.stamp, { ...how, wrote: false });
    assert.deepEqual((await ledger.record(alice))?.applied, anApplied());
  });

  test(`a ${how.mode} with all answers known does not seal, because nothing is on its way`, async () => {
    const { ledger, me, record, run, arrange } = await running();
    await ledger.fail(alice, me, record.stamp, how);
    await arrange(alice, { retryAt: 0 });
    assert.equal((await run(alice)).takeover, false);
  });

  test(`a ${how.mode} during a take-over leaves it one, because the dead owner's write may still land`, async () => {
    const { ledger, run, arrange, now } = await running();
    await arrange(alice, { until: (await now()) - 1 });
    const { me, record } = await run(alice);
    await ledger.fail(alice, me, record.stamp, how);
    await arrange(alice, { retryAt: 0 });
    assert.equal((await run(alice)).takeover, true);
  });
}

for (const how of [BROKEN, REFUSED]) {
  test(`a newer fact during a pass that ends in ${how.mode} is tried after 5 s, neither sooner nor after the long wait, because it may be the cure`, async () => {
    const { ledger, me, record, arrange, now } = await running();
    await arrange(alice, { fails: 15 });
    await ledger.submit(alice, { grants: [toldEnd("3", "b-2")] }, "deletion", "deletion");
    assert.equal(await ledger.fail(alice, me, record.stamp, how), 5_000);
    assertNear((await ledger.record(alice))?.retryAt, (await now()) + 5_000, "retryAt");
  });

  test(`a fact that comes after a ${how.mode} is tried 5 s after it, because the reason to wait may be over`, async () => {
    const { ledger, me, record, arrange, dueAt, now } = await running();
    await arrange(alice, { fails: 15 });
    assert.ok((await ledger.fail(alice, me, record.stamp, how)) > 5 * MINUTE);
    const { delayMs } = await ledger.submit(alice, { grants: [toldEnd("3", "b-2")] }, "deletion", "deletion");
    assert.ok(delayMs <= 5_000, `delay ${delayMs}`);
    assertNear(await dueAt(alice), (await now()) + MINUTE, "due");
  });
}

test("failures are forgotten once a pass settles, because the next trouble is another one", async () => {
  const { ledger, me, record, run, arrange } = await running();
  await ledger.fail(alice, me, record.stamp, BROKEN);
  await arrange(alice, { retryAt: 0 });
  const again = await run(alice);
  assert.equal(again.record.fails, 1);
  await ledger.settle(alice, again.me, again.record, aSettlement());
  assert.deepEqual([(await ledger.record(alice))?.fails, (await ledger.record(alice))?.retryAt], [0, 0]);
  assert.equal((await ledger.submit(alice, {}, "verify", "binding")).delayMs, 0);
});

test("a failed subject stays failed through releases, and is ready once it settles, because only a result replaces a result", async () => {
  const { ledger, me, record, run, arrange } = await running();
  await ledger.fail(alice, me, record.stamp, REFUSED);
  await arrange(alice, { retryAt: 0 });
  const released = await run(alice);
  await ledger.fail(alice, released.me, released.record.stamp, RELEASED);
  assert.equal((await ledger.record(alice))?.result, "failed");
  const settled = await run(alice);
  await ledger.settle(alice, settled.me, settled.record, aSettlement());
  assert.deepEqual([(await ledger.record(alice))?.result, (await ledger.record(alice))?.reason], ["ready", ""]);
});

test("a run whose cluster may not be written to leaves its subject waiting and unsettled, because it is no failure and the sweep has to look again", async () => {
  const { ledger, me, record, now, dueAt } = await running();
  const SHELVED = { mode: "shelve", waitMs: 30_000, reason: "the fence is not on", unknown: false } as const;
  assert.equal(await ledger.fail(alice, me, record.stamp, SHELVED), 30_000);
  const left = (await ledger.record(alice))!;
  assert.deepEqual([left.owner, left.fails, left.retryAt, left.result, left.reason], ["", 0, 0, "waiting", SHELVED.reason]);
  assert.ok(left.obs < left.gen && left.applied, "what stands is remembered");
  assertNear(await dueAt(alice), (await now()) + 30_000, "due");
  assert.equal((await ledger.take(alice, aMe())).answer, "go", "whoever is woken may try at once");
});

test("since when it fails stays while it goes on failing, whatever the reason, because a person asks how long it has been so", async () => {
  const { ledger, me, record, arrange, run, now } = await running();
  await ledger.fail(alice, me, record.stamp, BROKEN);
  assertNear((await ledger.record(alice))!.since, await now(), "since");
  await arrange(alice, { since: 5_000, retryAt: 0 });
  const again = await run(alice);
  await ledger.fail(alice, again.me, again.record.stamp, REFUSED);
  const failed = (await ledger.record(alice))!;
  assert.equal(failed.since, 5_000);
  assertNear(failed.lastFail, await now(), "lastFail");
  await arrange(alice, { retryAt: 0 });
  const mended = await run(alice);
  assert.equal(await ledger.settle(alice, mended.me, mended.record, aSettlement()), "ok");
  await ledger.submit(alice, { grants: [toldGrant("3", "b-3")] }, "binding", "binding");
  const anew = await run(alice);
  await ledger.fail(alice, anew.me, anew.record.stamp, BROKEN);
  assertNear((await ledger.record(alice))!.since, await now(), "since of a failure after a success");
});

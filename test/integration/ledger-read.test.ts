// S3 read and S4 check: facts for the owner only, what a role remembers after a lost Redis, and the question before the completing write.
import assert from "node:assert/strict";
import { test } from "node:test";
import { LOCK_MS } from "../../shared/ledger/ledger.ts";
import { DAY, aCopy, toldGrant, aMe, aSettlement, alice, toldEnd, assertNear, benchOn, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();
const values = { groups: ["github_org://1"], principalid: ["github_user://1"], username: ["alice"] };

/** A run of a subject whose record is new: a resync met its role after a lost Redis. */
async function metAfterLoss() {
  const bench = benchOn(redis);
  await bench.ledger.submit(alice, {}, "orphan", "binding");
  return { ...bench, ...(await bench.run(alice)), ends: (await bench.now()) + 9 * DAY };
}
async function owned() {
  const bench = benchOn(redis);
  await bench.ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  return { ...bench, ...(await bench.run(alice)) };
}

test("a read gives the facts of this moment and Redis' clock, because the observation has just been made", async () => {
  const { ledger, me, now } = await owned();
  await ledger.submit(alice, { grants: [toldGrant("2", "b-2")] }, "binding", "binding");
  const before = await now();
  const read = await ledger.read(alice, me, undefined);
  assert.ok(read !== "lost");
  assert.deepEqual([read.record.gen, read.record.grants.length], [2, 2]);
  assert.ok(read.now >= before && read.now <= (await now()));
});

test("a read is complete only while an import stands, because a missing grant means nothing before", async () => {
  const bench = await owned();
  assert.ok(((read) => read !== "lost" && !read.complete)(await bench.ledger.read(alice, bench.me, undefined)));
  await bench.import();
  assert.ok(((read) => read !== "lost" && read.complete)(await bench.ledger.read(alice, bench.me, undefined)));
});

test("a read makes the lock last its whole time again, because the pass goes on from here", async () => {
  const { ledger, me, arrange, fields, now } = await owned();
  await arrange(alice, { until: (await now()) + 10 });
  await ledger.read(alice, me, undefined);
  assertNear(Number((await fields(alice)).until), (await now()) + LOCK_MS, "until");
});

test("who is not the owner reads nothing and changes nothing, because a frozen worker must not go on with facts", async () => {
  const { ledger, fields, ends } = await metAfterLoss();
  const before = await fields(alice);
  assert.equal(await ledger.read(alice, aMe(), { ends, values }), "lost");
  assert.deepEqual(await fields(alice), before);
});

test("an owner that was taken over reads nothing, because somebody else has begun", async () => {
  const { ledger, me, arrange, run, now } = await owned();
  await arrange(alice, { until: (await now()) - 1 });
  await run(alice);
  assert.equal(await ledger.read(alice, me, undefined), "lost");
});

test("a run whose record is gone reads nothing, because a flushed Redis has no owner", async () => {
  const { ledger, me, key, fields } = await owned();
  await redis.del(key("rec", "c-amber/u-alice"));
  assert.equal(await ledger.read(alice, me, undefined), "lost");
  assert.deepEqual(await fields(alice), {});
});

test("a role that remembers a login becomes a login grant and restored names, without a new generation, because after a lost Redis it is the memory", async () => {
  const { ledger, me, ends, fields } = await metAfterLoss();
  const before = await ledger.record(alice);
  const read = await ledger.read(alice, me, { ends, values });
  assert.ok(read !== "lost");
  assert.deepEqual(read.record.login, { at: 0, end: ends });
  assert.deepEqual(read.record.restored, { ...values, end: ends });
  assert.deepEqual([read.record.gen, read.record.stamp], [before?.gen, before?.stamp]);
  assert.equal((await fields(alice)).appliedEnds, String(ends), "the role already remembers this end");
});

test("a second look does not replace what was restored, because the role may have been written in between", async () => {
  const { ledger, me, ends } = await metAfterLoss();
  await ledger.read(alice, me, { ends, values });
  await ledger.read(alice, me, { ends: ends + DAY, values: { groups: ["github_org://wide"] } });
  const record = await ledger.record(alice);
  assert.deepEqual([record?.login?.end, record?.restored], [ends, { ...values, end: ends }]);
});

test("where a provider has spoken only the login grant is adopted, because a fact is better than a memory", async () => {
  const { ledger, me, ends } = await metAfterLoss();
  await ledger.submit(alice, { copy: aCopy(1, { github: { groups: [] } }) }, "facts", "binding");
  await ledger.read(alice, me, { ends, values });
  const record = await ledger.record(alice);
  assert.deepEqual([record?.login, record?.restored], [{ at: 0, end: ends }, undefined]);
});

test("where only the User object is known the names are restored too, because it says nothing of groups", async () => {
  const { ledger, me, ends } = await metAfterLoss();
  await ledger.submit(alice, { copy: aCopy(1) }, "facts", "binding");
  await ledger.read(alice, me, { ends, values });
  assert.deepEqual((await ledger.record(alice))?.restored, { ...values, end: ends });
});

test("a group that is spelled like an empty provider list restores nothing, because it is a fact like any other", async () => {
  const { ledger, me, ends } = await metAfterLoss();
  await ledger.submit(alice, { copy: aCopy(1, { github: { groups: ['"providers":{}'] } }) }, "facts", "binding");
  await ledger.read(alice, me, { ends, values });
  assert.equal((await ledger.record(alice))?.restored, undefined);
});

test("a login grant in the record stays as it is, because a login is newer than what a role remembers", async () => {
  const { ledger, me, ends, now } = await metAfterLoss();
  const login = { at: await now(), end: (await now()) + DAY };
  await ledger.submit(alice, { login }, "login", "login");
  await ledger.read(alice, me, { ends, values });
  assert.deepEqual((await ledger.record(alice))?.login, login);
});

for (const { what, seenOf } of [
  { what: "a role that remembers no end", seenOf: () => ({ ends: 0, values }) },
  { what: "a role whose remembered end has passed", seenOf: (now: number) => ({ ends: now - 1, values }) },
  { what: "no role at all", seenOf: () => undefined },
]) {
  test(`${what} restores nothing, because nothing then says how long it may count`, async () => {
    const { ledger, me, now } = await metAfterLoss();
    await ledger.read(alice, me, seenOf(await now()));
    const record = await ledger.record(alice);
    assert.deepEqual([record?.login, record?.restored], [undefined, undefined]);
  });
}

test("a role restores nothing once a pass was settled, because the ledger then knows better than an edited role", async () => {
  const { ledger, run, ready, now } = benchOn(redis);
  await ready(alice);
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  const { me } = await run(alice);
  await ledger.read(alice, me, { ends: (await now()) + DAY, values });
  const record = await ledger.record(alice);
  assert.deepEqual([record?.login, record?.restored], [undefined, undefined]);
});

test("a check is ok while owner, generation and stamp are the run's, and changes nothing, because it only asks", async () => {
  const { ledger, me, record, fields } = await owned();
  const before = await fields(alice);
  assert.equal(await ledger.check(alice, me, record), "ok");
  assert.deepEqual(await fields(alice), before);
});

test("a check says newer after another fact, because the completing write must not rest on an old one", async () => {
  const { ledger, me, record } = await owned();
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  assert.equal(await ledger.check(alice, me, record), "newer");
});

test("a check says newer where the generation is the same under another stamp, because a rolled back Redis counts the same number again", async () => {
  const { ledger, me, record, arrange } = await owned();
  await arrange(alice, { stamp: "another" });
  assert.equal(await ledger.check(alice, me, record), "newer");
});

test("a check stays ok through a renewed login, because no decision depends on it", async () => {
  const { ledger, run, now } = benchOn(redis);
  const at = (await now()) - 1_000;
  await ledger.submit(alice, { login: { at, end: at + DAY } }, "login", "login");
  const first = await run(alice);
  await ledger.settle(alice, first.me, first.record, aSettlement({ applied: { ...aSettlement().applied!, ends: at + DAY } }));
  await ledger.submit(alice, {}, "verify", "binding");
  const { me, record } = await run(alice);
  await ledger.submit(alice, { login: { at: at + 500, end: at + 500 + DAY } }, "login", "login");
  assert.equal(await ledger.check(alice, me, record), "ok");
});

test("a check says lost to who is not the owner, because another worker may have removed what this one would complete", async () => {
  const { ledger, me, record, arrange, run, now, key } = await owned();
  assert.equal(await ledger.check(alice, aMe(), record), "lost");
  await arrange(alice, { until: (await now()) - 1 });
  await run(alice);
  assert.equal(await ledger.check(alice, me, record), "lost");
  await redis.del(key("rec", "c-amber/u-alice"));
  assert.equal(await ledger.check(alice, me, record), "lost");
});

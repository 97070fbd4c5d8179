// S1 submit: what raises a generation, and which job follows.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Cause, CAUSES, LOOKING_CAUSES } from "../../shared/jobs.ts";
import { Ledger, type Waker } from "../../shared/ledger/ledger.ts";
import { DAY, HOUR, MINUTE, toldCandidate, aCopy, toldGrant, alice, toldEnd, assertNear, benchOn, bob, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();

test("a new subject begins at generation 1 with a job at once, so that nothing is known without being worked on", async () => {
  const { ledger, added, now, dueAt, listed } = benchOn(redis);
  assert.deepEqual(await ledger.submit(alice, { grants: [toldGrant("5")] }, "binding", "binding"), { gen: 1, delayMs: 0, loginStored: false });

  const record = await ledger.record(alice);
  assert.deepEqual([record?.gen, record?.obs, record?.look], [1, 0, false]);
  assert.deepEqual(record?.grants, [{ id: "crtb:c-amber/b-1", kind: "ClusterRoleTemplateBinding", name: "c-amber/b-1" }]);
  assert.deepEqual(
    added.map(({ queue, data }) => ({ queue, data })),
    [{ queue: "binding", data: { v: 1, cluster: "c-amber", user: "u-alice", cause: "binding" } }],
  );
  assertNear(await dueAt(alice), (await now()) + MINUTE, "the sweep looks a minute later, should the job be lost");
  assertNear(record?.changedAt, await now(), "changedAt");
  assert.deepEqual(await ledger.clusters(), ["c-amber"]);
  assert.deepEqual(await listed("c-amber"), ["c-amber/u-alice"]);
});

test("each queue gets only the jobs that were submitted to it, because a login must not stand behind bindings", async () => {
  const { ledger, added } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  await ledger.submit(alice, { grants: [toldGrant("3")] }, "login", "login");
  assert.deepEqual(
    added.map((job) => job.queue),
    ["binding", "deletion", "login"],
  );
});

test("the fact is stored before its job is added, so that no job meets an older record", async () => {
  const { ledger, tag } = benchOn(redis);
  const seen: unknown[] = [];
  const looking: Waker = { add: async () => void seen.push((await ledger.record(alice))?.grants.length) };
  await new Ledger(redis, tag, { binding: looking, login: looking, deletion: looking }).submit(alice, { grants: [toldGrant("5")] }, "binding", "binding");
  assert.deepEqual(seen, [1]);
});

test("a fact whose job could not be added is stored and due, because the sweep has to find it", async () => {
  const { tag, ledger, dueAt } = benchOn(redis);
  const deaf: Waker = { add: () => Promise.reject(new Error("no queue")) };
  await assert.rejects(
    new Ledger(redis, tag, { binding: deaf, login: deaf, deletion: deaf }).submit(alice, { grants: [toldGrant("5")] }, "binding", "binding"),
    /no queue/,
  );
  assert.equal((await ledger.record(alice))?.gen, 1);
  assert.notEqual(await dueAt(alice), undefined);
});

test("what is said again changes nothing and brings no job, because imports repeat everything", async () => {
  const { ledger, added, fields } = benchOn(redis);
  const told = { grants: [toldGrant("5")], copy: aCopy(1) };
  await ledger.submit(alice, told, "binding", "binding");
  const before = await fields(alice);
  assert.deepEqual(await ledger.submit(alice, told, "binding", "binding"), { gen: 1, delayMs: -1, loginStored: false });
  assert.deepEqual(await fields(alice), before);
  assert.equal(added.length, 1);
});

test("a second grant and each end raise the generation and its stamp, because a run must see that its facts are old", async () => {
  const { ledger } = benchOn(redis);
  const stamps = new Set<string>();
  const tell = async (grants: Parameters<typeof ledger.submit>[1]["grants"] & object) => {
    const { gen } = await ledger.submit(alice, { grants }, "binding", "binding");
    stamps.add((await ledger.record(alice))!.stamp);
    return gen;
  };
  assert.equal(await tell([toldGrant("5")]), 1);
  assert.equal(await tell([toldGrant("6", "prtb:c-amber/p-1")]), 2);
  assert.equal(await tell([toldEnd("7")]), 3);
  assert.equal(await tell([toldEnd("8", "prtb:c-amber/p-1")]), 4);
  assert.equal(stamps.size, 4);
  assert.deepEqual((await ledger.record(alice))?.grants, []);
});

test("a binding touched without news brings no job, but its version counts against a lagging end", async () => {
  const { ledger } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("5")] }, "binding", "binding");
  assert.equal((await ledger.submit(alice, { grants: [toldGrant("9")] }, "binding", "binding")).delayMs, -1);
  assert.equal((await ledger.submit(alice, { grants: [toldEnd("8")] }, "deletion", "deletion")).delayMs, -1);
  assert.equal((await ledger.record(alice))?.grants.length, 1);
});

test("a record of another version is left alone, because a newer Understudy wrote it", async () => {
  const { ledger, added, fields, arrange } = benchOn(redis);
  await arrange(alice, { v: "2", gen: "3", shape: "unknown" });
  assert.deepEqual(await ledger.submit(alice, { grants: [toldGrant("5")] }, "drift", "binding"), { gen: 0, delayMs: -1, loginStored: false });
  assert.deepEqual(await fields(alice), { v: "2", gen: "3", shape: "unknown" });
  assert.equal(added.length, 0);
});

test("candidates, copies and the end of a login make no record, because they are no reason for a subject to exist", async () => {
  const { ledger, fields } = benchOn(redis);
  const told = { candidates: [toldCandidate("5", "github_org://1")], copy: aCopy(1), endLogin: Date.now() };
  assert.deepEqual(await ledger.submit(alice, told, "facts", "binding"), { gen: 0, delayMs: -1, loginStored: false });
  assert.deepEqual(await fields(alice), {});
  assert.deepEqual(await ledger.clusters(), []);
});

for (const cause of CAUSES) {
  const looks = LOOKING_CAUSES.has(cause);
  const why = looks ? "because somebody else may have changed its objects" : "because it says nothing of its objects";
  test(`cause ${cause} without news ${looks ? "raises the generation and asks for a look" : "changes nothing"}, ${why}`, async () => {
    const { ledger, ready, fields, added } = benchOn(redis);
    await ready(alice);
    const before = await fields(alice);
    const answer = await ledger.submit(alice, {}, cause satisfies Cause, "binding");
    assert.deepEqual(answer, looks ? { gen: 2, delayMs: 0, loginStored: false } : { gen: 1, delayMs: -1, loginStored: false });
    assert.equal((await ledger.record(alice))?.look, looks);
    assert.equal(added.length, looks ? 2 : 1);
    if (!looks) assert.deepEqual(await fields(alice), before);
  });
}

test("a stray object makes its subject known without any grant, because a worker has to decide about it", async () => {
  const { ledger } = benchOn(redis);
  assert.deepEqual(await ledger.submit(bob, {}, "orphan", "binding"), { gen: 1, delayMs: 0, loginStored: false });
  const record = await ledger.record(bob);
  assert.deepEqual([record?.grants, record?.look], [[], true]);
});

test("a failing subject is tried at most once in 5 s however many facts come, because events must not defeat the backoff", async () => {
  const { ledger, arrange, now, added } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const failed = (await now()) - 2_000;
  await arrange(alice, { lastFail: failed, retryAt: failed + 5_000, fails: 1 });
  for (let rv = 2; rv < 7; rv++) await ledger.submit(alice, { grants: [rv % 2 === 0 ? toldEnd(String(rv)) : toldGrant(String(rv))] }, "binding", "binding");
  assert.equal((await ledger.record(alice))?.retryAt, failed + 5_000);
  assert.equal(added.length, 6);
  for (const { opts } of added.slice(1)) assert.ok(opts.delay! <= 3_000, `delay ${opts.delay}`);
});

test("a new fact cuts a backoff of minutes to 5 s after the last failure, because it may be what was missing", async () => {
  const { ledger, arrange, now } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const failed = (await now()) - 1_000;
  await arrange(alice, { lastFail: failed, retryAt: failed + 10 * MINUTE, fails: 9 });
  const { delayMs } = await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  assert.ok(delayMs > 0 && delayMs <= 4_000, `delay ${delayMs}`);
  assert.equal((await ledger.record(alice))?.retryAt, failed + 5_000);
});

test("a new fact runs at once where the last failure is 5 s ago, because the floor has passed", async () => {
  const { ledger, arrange, now } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  await arrange(alice, { lastFail: (await now()) - 6_000, retryAt: (await now()) + HOUR });
  assert.equal((await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion")).delayMs, 0);
  assert.ok((await ledger.record(alice))!.retryAt <= (await now()));
});

test("a repeat leaves the backoff alone, because it brings nothing new", async () => {
  const { ledger, arrange, now } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const retryAt = (await now()) + HOUR;
  await arrange(alice, { lastFail: await now(), retryAt });
  assert.equal((await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding")).delayMs, -1);
  assert.equal((await ledger.record(alice))?.retryAt, retryAt);
});

test("an earlier due time stays and a later one is brought forward, because the sweep must not come later than a minute after a fact", async () => {
  const { ledger, setDue, dueAt, now } = benchOn(redis);
  const early = (await now()) + 1_000;
  await setDue(alice, early);
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  assert.equal(await dueAt(alice), early);
  await setDue(alice, early + HOUR);
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  assertNear(await dueAt(alice), (await now()) + MINUTE, "due");
});

test("a removed record that gets a grant again is kept, because its day of mourning is over", async () => {
  const { ledger, ready, run, ttlMs } = benchOn(redis);
  await ready(alice);
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  const { me, record } = await run(alice);
  await ledger.settle(alice, me, record, { result: "removed", reason: "no grant", applied: undefined, next: 0 });
  assertNear(await ttlMs(alice), DAY, "time to live");
  await ledger.submit(alice, { grants: [toldGrant("3")] }, "binding", "binding");
  assert.equal(await ttlMs(alice), -1);
});

// The small keys: webhook ids, resync claims, what is noted of clusters and who is listed there. And scripts that Redis has forgotten.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MINUTE, toldGrant, aMe, aSettlement, alice, anApplied, assertNear, benchOn, bob, redisForFile } from "../support/ledger.ts";
import { waitUntil } from "../support/wait-until.ts";

const { redis } = await redisForFile();

test("a webhook id that was stored is the same when it comes again, and another body under it is another, because senders repeat", async () => {
  const { ledger, key } = benchOn(redis);
  assert.equal(await ledger.replay("msg-1", "hash-a"), "new");
  await ledger.endReplay("msg-1", "hash-a");
  assert.equal(await ledger.replay("msg-1", "hash-a"), "same");
  assert.equal(await ledger.replay("msg-1", "hash-b"), "other");
  assert.equal(await ledger.replay("msg-1", "hash-a"), "same", "the other body did not replace the first");
  assert.equal(await ledger.replay("msg-2", "hash-b"), "new");
  assertNear(await redis.pttl(key("hook", "msg-1")), 10 * MINUTE, "an id is remembered for ten minutes");
});

test("a webhook id stays new until it was stored, because who began may have lost its Redis in between", async () => {
  const { ledger, key } = benchOn(redis);
  const answers = await Promise.all(Array.from({ length: 20 }, () => ledger.replay("msg-1", "hash-a")));
  assert.deepEqual(new Set(answers), new Set(["new"]));
  assert.equal(await ledger.replay("msg-1", "hash-b"), "other", "another body has to wait for its own id all the same");
  assertNear(await redis.pttl(key("hook", "msg-1")), 10 * MINUTE, "what was begun is forgotten by itself");
});

test("a webhook id that could not be stored is forgotten, so that its repeat is new", async () => {
  const { ledger } = benchOn(redis);
  await ledger.replay("msg-1", "hash-a");
  await ledger.forgetReplay("msg-1");
  assert.equal(await ledger.replay("msg-1", "hash-b"), "new");
});

test("one process at a time may resync a cluster and others wait for its end, because the lists are long", async () => {
  const { ledger } = benchOn(redis);
  const racers = Array.from({ length: 10 }, aMe);
  const claims = await Promise.all(racers.map((me) => ledger.claimResync("c-amber", me, MINUTE)));
  assert.equal(claims.filter(Boolean).length, 1);
  assert.equal(await ledger.claimResync("c-birch", aMe(), MINUTE), true, "another cluster is another claim");
  await ledger.endResync("c-amber", racers[claims.indexOf(false)]!);
  assert.equal(await ledger.claimResync("c-amber", aMe(), MINUTE), false, "only who claimed it ends it");
  await ledger.endResync("c-amber", racers[claims.indexOf(true)]!);
  assert.equal(await ledger.claimResync("c-amber", aMe(), MINUTE), true);
});

test("the claim of a process that died ends by itself, because nobody else would end it", async () => {
  const { ledger } = benchOn(redis);
  assert.equal(await ledger.claimResync("c-amber", aMe(), 30), true);
  await waitUntil("the claim has ended", () => ledger.claimResync("c-amber", aMe(), MINUTE), { everyMs: 5 });
});

test("what is noted of a cluster adds up field by field, because gate, watch and resync write apart", async () => {
  const { ledger } = benchOn(redis);
  assert.deepEqual({ ...(await ledger.clusterFields("c-amber")) }, {});
  await ledger.noteCluster("c-amber", { gate: "open", lastResync: 5 });
  await ledger.noteCluster("c-amber", { lastResync: 7 });
  assert.deepEqual({ ...(await ledger.clusterFields("c-amber")) }, { gate: "open", lastResync: "7" });
});

test("each cluster lists its own subjects, because a resync compares one cluster", async () => {
  const { ledger, listed } = benchOn(redis);
  for (const subject of [alice, bob, { cluster: "c-birch", user: "u-alice" }]) await ledger.submit(subject, { grants: [toldGrant("1")] }, "binding", "binding");
  assert.deepEqual(await ledger.clusters(), ["c-amber", "c-birch"]);
  assert.deepEqual(await listed("c-amber"), ["c-amber/u-alice", "c-amber/u-bob"]);
  assert.deepEqual(await listed("c-birch"), ["c-birch/u-alice"]);
  assert.deepEqual(await listed("c-cedar"), []);
});

test("a subject whose record has expired is listed no more and forgotten on the way, because the index has no deadline of its own", async () => {
  const { ledger, listed, key } = benchOn(redis);
  for (const subject of [alice, bob]) await ledger.submit(subject, { grants: [toldGrant("1")] }, "binding", "binding");
  await redis.del(key("rec", "c-amber/u-bob"));
  assert.deepEqual(await listed("c-amber"), ["c-amber/u-alice"]);
  assert.deepEqual(await redis.smembers(key("subjects", "c-amber")), ["c-amber/u-alice"]);
  await ledger.submit(bob, { grants: [toldGrant("2")] }, "binding", "binding");
  assert.deepEqual(await listed("c-amber"), ["c-amber/u-alice", "c-amber/u-bob"]);
});

test("more subjects than a page are all listed, because a status must not leave anybody out", async () => {
  const { ledger, listed } = benchOn(redis);
  await Promise.all(
    Array.from({ length: 1_200 }, (_, i) => ledger.submit({ cluster: "c-amber", user: `u-${i}` }, { grants: [toldGrant("1")] }, "binding", "binding")),
  );
  assert.equal(new Set(await listed("c-amber")).size, 1_200);
});

test("scripts that Redis has forgotten are sent again without anybody noticing, because a restart and SCRIPT FLUSH forget them", async () => {
  const { ledger, run } = benchOn(redis);
  const forgetting = async <T>(step: () => Promise<T>): Promise<T> => {
    await redis.script("FLUSH");
    return step();
  };
  const nonce = await forgetting(() => ledger.importBegin());
  assert.equal(await forgetting(() => ledger.importEnd(nonce)), "ok");
  assert.equal((await forgetting(() => ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding"))).gen, 1);
  const { me, record } = await forgetting(() => run(alice));
  assert.notEqual(await forgetting(() => ledger.read(alice, me, undefined)), "lost");
  assert.equal(await forgetting(() => ledger.check(alice, me, record)), "ok");
  assert.deepEqual(await forgetting(() => ledger.renew([{ subject: alice, me }])), []);
  assert.equal(await forgetting(() => ledger.park(alice, me, record, "token", anApplied())), "ok");
  const second = await run(alice);
  assert.equal(await forgetting(() => ledger.fail(alice, second.me, second.record.stamp, { mode: "release", waitMs: 7, reason: "", unknown: false })), 7);
  const third = await run(alice);
  assert.equal(await forgetting(() => ledger.settle(alice, third.me, third.record, aSettlement())), "ok");
  assert.deepEqual(await forgetting(() => ledger.sweep(5)), []);
  await forgetting(() => ledger.shelve(alice, "cluster not configured"));
  assert.deepEqual((await forgetting(() => ledger.learn("u-alice", { join: "c-amber" }))).clusters, ["c-amber"]);
});

test("a script is sent by its hash once Redis knows it, because its text is long", async () => {
  const { ledger } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const callsOf = async (): Promise<number> => Number(/cmdstat_eval:calls=(\d+)/.exec(await redis.info("commandstats"))?.[1] ?? 0);
  const before = await callsOf();
  for (let i = 0; i < 5; i++) await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  assert.equal(await callsOf(), before);
});

test("what Redis refuses is told and not tried again, because only a forgotten script is worth a second try", async () => {
  const { ledger, key } = benchOn(redis);
  await redis.set(key("rec", "c-amber/u-alice"), "not a hash");
  await assert.rejects(ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding"), /WRONGTYPE/);
});

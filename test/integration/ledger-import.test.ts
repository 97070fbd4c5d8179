// S9 import: the mark that says nothing is missing, and what it is worth on another Redis.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Redis } from "ioredis";
import { Ledger } from "../../shared/ledger/ledger.ts";
import { HOUR, toldGrant, aMe, aSettlement, alice, assertNear, benchOn, redisForFile } from "../support/ledger.ts";
import { startRedis } from "../support/redis.ts";

// Every test here has a tag of its own, but FLUSHALL and restart reach all of them: they happen on servers of their own.
const { redis } = await redisForFile();

async function ownServer(options: { persist?: boolean; args?: string[] } = {}) {
  const server = await startRedis(options);
  const clients: Redis[] = [];
  after(async () => {
    for (const client of clients) client.disconnect();
    await server.stop();
  });
  const connect = (): Redis => {
    const client = new Redis(server.socket, { maxRetriesPerRequest: null });
    clients.push(client);
    return client;
  };
  return { server, connect };
}

test("a Redis without an import is not complete, because nobody has said that nothing is missing", async () => {
  const { complete, run } = await benchOn(redis).ledger.mark();
  assert.equal(complete, false);
  assert.match(run, /^[0-9a-f]{40}$/);
});

test("an import that began and ended on the same Redis sets the mark for the run_id that answers", async () => {
  const { ledger, key } = benchOn(redis);
  const nonce = await ledger.importBegin();
  assert.equal((await ledger.mark()).complete, false, "half an import is none");
  assertNear(await redis.pttl(key("import", nonce)), HOUR, "an import that was given up is forgotten");
  assert.equal(await ledger.importEnd(nonce), "ok");
  const { complete, run } = await ledger.mark();
  assert.equal(complete, true);
  assert.match(await redis.info("server"), new RegExp(`run_id:${run}`));
});

test("an import that never began cannot end, because its facts may have gone to another Redis", async () => {
  const { ledger } = benchOn(redis);
  assert.equal(await ledger.importEnd("0".repeat(32)), "again");
  assert.equal((await ledger.mark()).complete, false);
});

test("an import ends once, because a repeated end says nothing of the facts after it", async () => {
  const { ledger } = benchOn(redis);
  const nonce = await ledger.importBegin();
  assert.equal(await ledger.importEnd(nonce), "ok");
  assert.equal(await ledger.importEnd(nonce), "again");
  assert.equal((await ledger.mark()).complete, true);
});

test("two producers that import at once do not disturb each other, because each has its own beginning", async () => {
  const { ledger } = benchOn(redis);
  const [first, second] = await Promise.all([ledger.importBegin(), ledger.importBegin()]);
  assert.notEqual(first, second);
  assert.equal(await ledger.importEnd(second), "ok");
  assert.equal(await ledger.importEnd(first), "ok");
  assert.equal((await ledger.mark()).complete, true);
});

test("an import does not confirm what was settled before, because it says nothing of the clusters", async () => {
  const { ledger, ready, run, import: importAll } = benchOn(redis);
  await ready(alice);
  await importAll();
  assert.equal((await ledger.record(alice))?.conf, "");
  assert.equal((await run(alice)).takeover, true);
});

test("a FLUSHALL in the middle of an import lets it begin again, because the first half of its facts is gone", async () => {
  const { connect } = await ownServer();
  const { ledger, fields } = benchOn(connect());
  const nonce = await ledger.importBegin();
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const { run } = await ledger.mark();
  await ledger.redis.flushall();
  await ledger.submit({ cluster: "c-amber", user: "u-second-half" }, { grants: [toldGrant("2")] }, "binding", "binding");
  assert.equal(await ledger.importEnd(nonce), "again");
  assert.deepEqual(await ledger.mark(), { complete: false, run });
  assert.deepEqual(await fields(alice), {});
});

test("an import that survives another's FLUSHALL sets the mark, and the one that did not does not spoil it", async () => {
  const { connect } = await ownServer();
  const { ledger } = benchOn(connect());
  const before = await ledger.importBegin();
  await ledger.redis.flushall();
  const since = await ledger.importBegin();
  assert.equal(await ledger.importEnd(before), "again");
  assert.equal((await ledger.mark()).complete, false);
  assert.equal(await ledger.importEnd(since), "ok");
  assert.equal(await ledger.importEnd(before), "again");
  assert.equal((await ledger.mark()).complete, true);
});

test("a FLUSHALL takes the mark although the run_id stays, because everything is missing then", async () => {
  const { connect } = await ownServer();
  const { ledger, run, import: importAll } = benchOn(connect());
  await importAll();
  const { run: runId } = await ledger.mark();
  await ledger.redis.flushall();
  assert.deepEqual(await ledger.mark(), { complete: false, run: runId });
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  assert.equal((await run(alice)).complete, false);
});

test("a FLUSHALL under a run's hands is a lost lock in every step, because its record is gone", async () => {
  const { connect } = await ownServer();
  const { ledger, run, import: importAll, fields } = benchOn(connect());
  await importAll();
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const { me, record } = await run(alice);
  await ledger.redis.flushall();
  assert.equal(await ledger.read(alice, me, undefined), "lost");
  assert.equal(await ledger.check(alice, me, record), "lost");
  assert.equal(await ledger.settle(alice, me, record, { result: "removed", reason: "no grant", applied: undefined, next: 0 }), "lost");
  assert.deepEqual(await ledger.renew([{ subject: alice, me }]), [{ subject: alice, me }]);
  assert.deepEqual(await fields(alice), {});
});

test("a restart that kept every fact still takes the mark, because nobody knows what the new process has not seen", async () => {
  const { server, connect } = await ownServer({ persist: true, args: ["--appendfsync", "always"] });
  const old = benchOn(connect());
  await old.import();
  await old.ready(alice);
  const half = await old.ledger.importBegin();
  const { run: before } = await old.ledger.mark();
  old.redis.disconnect();
  await server.restart();

  const nowhere = { add: async () => undefined };
  const ledger = new Ledger(connect(), old.tag, { binding: nowhere, login: nowhere, deletion: nowhere });
  const { complete, run } = await ledger.mark();
  assert.equal(complete, false);
  assert.notEqual(run, before);
  assert.equal(await ledger.importEnd(half), "again");
  assert.equal((await ledger.mark()).complete, false);
  const taken = await ledger.take(alice, "me");
  assert.ok(taken.answer === "go", "what another Redis confirmed is looked at again");
  assert.deepEqual([taken.takeover, taken.read.complete, taken.read.record.grants.length], [true, false, 1]);

  assert.equal(await ledger.importEnd(await ledger.importBegin()), "ok");
  const read = await ledger.read(alice, "me", undefined);
  assert.ok(read !== "lost" && read.complete, "the same run may go on once the import stands");
  assert.equal(await ledger.settle(alice, "me", read.record, aSettlement()), "ok");
  assert.deepEqual(await ledger.take(alice, aMe()), { answer: "done" });
});

// Redis comes back from an older dump: facts are lost, numbers are counted again.
import assert from "node:assert/strict";
import { copyFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { Redis } from "ioredis";
import { Ledger } from "../../shared/ledger/ledger.ts";
import { toldGrant, aMe, aSettlement, alice, anApplied, toldEnd, benchOn } from "../support/ledger.ts";
import { startRedis } from "../support/redis.ts";

const REMOVED = { result: "removed", reason: "no grant", applied: undefined, next: 0 } as const;

/** A ledger whose Redis can be saved, and brought back as it was then: as after a failover to a replica that lagged. */
async function withDumps() {
  // No append-only file: with one, Redis does not load the dump.
  const server = await startRedis();
  const clients: Redis[] = [];
  const connect = (): Redis => {
    const client = new Redis(server.socket, { maxRetriesPerRequest: null });
    clients.push(client);
    return client;
  };
  after(async () => {
    for (const client of clients) client.disconnect();
    await server.stop();
  });
  const bench = benchOn(connect());
  const dump = join(server.dir, "dump.rdb");
  return {
    ...bench,
    save: async () => {
      await bench.redis.save();
      await copyFile(dump, `${dump}.aside`);
    },
    /** The ledger on the older facts; the one of before sees nothing of it. */
    rollBack: async (): Promise<Ledger> => {
      bench.redis.disconnect();
      await server.kill("SIGKILL");
      await rename(`${dump}.aside`, dump);
      await server.restart();
      const nowhere = { add: async () => undefined };
      return new Ledger(connect(), bench.tag, { binding: nowhere, login: nowhere, deletion: nowhere });
    },
  };
}

test("a removal that a failover lost is not undone by a worker, because the older Redis is not trusted before an import", async () => {
  const { ledger, import: importAll, ready, run, save, rollBack } = await withDumps();
  await importAll();
  await ready(alice);
  await save();
  await ledger.submit(alice, { grants: [toldEnd("9")] }, "deletion", "deletion");
  const remover = await run(alice);
  assert.equal(await ledger.settle(alice, remover.me, remover.record, REMOVED), "ok");
  const { run: before } = await ledger.mark();

  const older = await rollBack();
  assert.notEqual((await older.mark()).run, before);
  assert.equal((await older.mark()).complete, false);
  const taken = await older.take(alice, "me");
  assert.ok(taken.answer === "go");
  assert.deepEqual(
    [taken.takeover, taken.read.complete, taken.read.record.grants.length],
    [true, false, 1],
    "the lost grant stands, and nothing may be written",
  );
  const read = await older.read(alice, "me", undefined);
  assert.ok(read !== "lost" && !read.complete);
  await older.fail(alice, "me", read.record.stamp, { mode: "release", waitMs: 1_000, reason: "no import", unknown: false });

  const nonce = await older.importBegin();
  assert.equal((await older.submit(alice, { grants: [toldEnd("12")] }, "deletion", "deletion")).gen, 2, "the list lacks the binding");
  assert.equal(await older.importEnd(nonce), "ok");
  const again = await older.take(alice, "me again");
  assert.ok(again.answer === "go");
  assert.deepEqual([again.takeover, again.read.complete, again.read.record.grants], [true, true, []]);
});

test("a run from before a failover cannot finish where the older Redis does not know it, because its lock went with the lost facts", async () => {
  const { ledger, import: importAll, ready, run, save, rollBack } = await withDumps();
  await importAll();
  await ready(alice);
  await save();
  await ledger.submit(alice, { grants: [toldGrant("5", "b-2")] }, "binding", "binding");
  const { me, record } = await run(alice);

  const older = await rollBack();
  assert.equal((await older.submit(alice, { grants: [toldEnd("9")] }, "deletion", "deletion")).gen, record.gen, "the number is counted again");
  const before = await older.record(alice);
  assert.equal(await older.read(alice, me, undefined), "lost");
  assert.equal(await older.check(alice, me, record), "lost");
  assert.equal(await older.settle(alice, me, record, aSettlement()), "lost");
  assert.deepEqual(await older.record(alice), before);
});

test("a run from before a failover never marks another fact of the same number as done, because facts are told apart by their stamp", async () => {
  const { ledger, import: importAll, run, save, rollBack } = await withDumps();
  await importAll();
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const { me } = await run(alice);
  await save();
  await ledger.submit(alice, { grants: [toldGrant("5", "b-2")] }, "binding", "binding");
  const read = await ledger.read(alice, me, undefined);
  assert.ok(read !== "lost");
  assert.equal(read.record.gen, 2);

  const older = await rollBack();
  assert.equal((await older.submit(alice, { grants: [toldEnd("9")] }, "deletion", "deletion")).gen, 2, "the number is counted again");
  assert.equal((await older.record(alice))?.owner, me, "the older Redis knows the run");
  assert.equal(await older.check(alice, me, read.record), "newer");
  assert.equal(await older.settle(alice, me, read.record, aSettlement()), "newer");
  const record = (await older.record(alice))!;
  assert.deepEqual([record.gen, record.obs, record.result, record.grants], [2, 1, "", []]);
  const taken = await older.take(alice, aMe());
  assert.ok(taken.answer === "go");
  assert.equal(taken.takeover, true);
});

test("a park from before a failover does not stand in for another fact of the same number, because what it wrote is not what is asked", async () => {
  const { ledger, import: importAll, run, save, rollBack } = await withDumps();
  await importAll();
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const { me } = await run(alice);
  await save();
  await ledger.submit(alice, { grants: [toldGrant("5", "b-2")] }, "binding", "binding");
  const read = await ledger.read(alice, me, undefined);
  assert.ok(read !== "lost");

  const older = await rollBack();
  await older.submit(alice, { grants: [toldEnd("9")] }, "deletion", "deletion");
  assert.equal(await older.park(alice, me, read.record, "token", anApplied()), "newer");
  const record = (await older.record(alice))!;
  assert.deepEqual([record.result, record.written, record.owner], ["", "", ""]);
});

test("a generation ahead of the older Redis' own leaves it to be done, because observed must never pass it", async () => {
  const { ledger, import: importAll, run, save, rollBack } = await withDumps();
  await importAll();
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const { me } = await run(alice);
  await save();
  for (const rv of ["5", "6", "7"]) await ledger.submit(alice, { grants: [toldGrant(rv, `b-${rv}`)] }, "binding", "binding");
  const read = await ledger.read(alice, me, undefined);
  assert.ok(read !== "lost");
  assert.equal(read.record.gen, 4);

  const older = await rollBack();
  assert.equal(await older.settle(alice, me, read.record, REMOVED), "newer");
  const record = (await older.record(alice))!;
  assert.deepEqual([record.gen, record.obs, record.removedAt], [1, 0, 0]);
  const facts = await older.importBegin();
  assert.equal((await older.submit(alice, { grants: [toldGrant("7", "b-7")] }, "binding", "binding")).gen, 2);
  assert.equal(await older.importEnd(facts), "ok");
});

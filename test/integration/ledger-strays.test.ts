// What watches and resyncs note of other hands: Secrets that no label leads to, which a run has to look at by name, and others' bindings, which only people hear of.
import assert from "node:assert/strict";
import { test } from "node:test";
import { statusOf } from "../../shared/ledger/status.ts";
import { aSettlement, alice, anApplied, benchOn, bob, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();
async function ready() {
  const bench = benchOn(redis);
  await bench.import();
  await bench.ready(alice);
  const strays = async (): Promise<readonly string[] | undefined> => (await bench.ledger.record(alice))?.strays;
  const found = (...names: string[]) => bench.ledger.submit(alice, { strays: names }, "drift", "binding");
  return { ...bench, strays, found };
}

test("stray Secrets are kept by name, each once and fifty at most, until a run has looked at them", async () => {
  const { ledger, run, strays, found } = await ready();
  await found("a");
  await found("b", "a");
  assert.deepEqual(await strays(), ["a", "b"]);
  await found(...Array.from({ length: 60 }, (_, i) => `s-${i}`));
  assert.equal((await strays())?.length, 50);
  const { me, record } = await run(alice);
  assert.deepEqual([record.strays.slice(0, 2), record.look], [["a", "b"], true]);
  await ledger.settle(alice, me, record, aSettlement());
  assert.deepEqual(await strays(), []);
});

test("a parked run has looked at them too, a failed one has not, because only that one's deletes may be missing", async () => {
  const parked = await ready();
  await parked.found("a");
  const one = await parked.run(alice);
  await parked.ledger.park(alice, one.me, one.record, "the proof", anApplied());
  assert.deepEqual(await parked.strays(), []);
  const failed = await ready();
  await failed.found("a");
  const other = await failed.run(alice);
  await failed.ledger.fail(alice, other.me, other.record.stamp, { mode: "fail", reason: "x", unknown: false });
  assert.deepEqual(await failed.strays(), ["a"]);
});

test("a stray that is found while a run is at work is left for the next one, because this one has not looked at it", async () => {
  for (const end of ["settle", "park"] as const) {
    const { ledger, run, strays, found } = await ready();
    await found("a");
    const { me, record } = await run(alice);
    await found("b");
    const verdict = end === "settle" ? await ledger.settle(alice, me, record, aSettlement()) : await ledger.park(alice, me, record, "the proof", anApplied());
    assert.equal(verdict, "newer");
    assert.deepEqual(await strays(), ["a", "b"]);
    assert.equal((await run(alice)).record.look, true);
  }
});

test("a stray makes no record of somebody who is not known, because the Secret of an account nobody made goes by itself", async () => {
  const { ledger, added, fields } = benchOn(redis);
  await ledger.store(bob, { strays: ["a"] }, "binding");
  assert.deepEqual([added.length, await fields(bob)], [0, {}]);
});

test("others' bindings are noted for people alone: the row says so and stays ready, no generation rises and nobody is woken", async () => {
  const { ledger, added, fields } = await ready();
  const before = await fields(alice);
  added.length = 0;
  await ledger.noteAlien(alice, "ClusterRoleBinding by-hand");
  assert.deepEqual(await fields(alice), { ...before, alien: "ClusterRoleBinding by-hand" });
  assert.equal(added.length, 0);
  const { run } = await ledger.mark();
  const row = statusOf(alice, (await ledger.record(alice))!, run);
  assert.deepEqual([row.state, row.reason], ["ready", "tampering: bound by ClusterRoleBinding by-hand too"]);
  await ledger.noteAlien(alice, "");
  assert.deepEqual(await fields(alice), before);
});

test("the note stays while the subject is worked on, beside the reason of the run, because only a resync knows whether it has gone", async () => {
  const { ledger, run } = await ready();
  await ledger.noteAlien(alice, "RoleBinding default/x");
  await ledger.submit(alice, {}, "verify", "binding");
  const { me, record } = await run(alice);
  await ledger.settle(alice, me, record, aSettlement({ reason: "left out: a" }));
  const mark = await ledger.mark();
  assert.equal(statusOf(alice, (await ledger.record(alice))!, mark.run).reason, "left out: a; tampering: bound by RoleBinding default/x too");
});

test("who is not known, and what a newer version wrote, gets no note, because a record must not come from one alone", async () => {
  const { ledger, fields, arrange } = await ready();
  await ledger.noteAlien(bob, "ClusterRoleBinding x");
  assert.deepEqual(await fields(bob), {});
  await arrange(alice, { v: "2" });
  const before = await fields(alice);
  await ledger.noteAlien(alice, "ClusterRoleBinding x");
  assert.deepEqual(await fields(alice), before);
});

// Who lost what is told once in the stream of revocations, by whichever step ends the run, because proxies cut open streams by it and by nothing else.
import assert from "node:assert/strict";
import { test } from "node:test";
import { STREAM_START, revocationsSince } from "../../shared/ledger/revocations.ts";
import { aMe, aSettlement, alice, anApplied, benchOn, redisForFile, toldEnd, toldGrant } from "../support/ledger.ts";

const { redis } = await redisForFile();
const REMOVED = { result: "removed", reason: "no grant", applied: undefined, next: 0 } as const;
const WAITING = { result: "waiting", reason: "user unknown", applied: undefined, next: 0 } as const;

/** A ready subject, a run that has begun because of something new, and what the stream holds of it. */
async function running() {
  const bench = benchOn(redis);
  await bench.import();
  await bench.ready(alice);
  await bench.ledger.submit(alice, {}, "verify", "binding");
  const told = async (): Promise<string[]> => {
    const entries = await revocationsSince(redis, bench.tag, STREAM_START, 100);
    assert.ok(entries !== "unknown");
    return entries.map(({ cluster, user, generation, kind }) => `${cluster}/${user} ${generation} ${kind}`);
  };
  return { ...bench, ...(await bench.run(alice)), told };
}
const ONE_REMOVED = ["c-amber/u-alice 2 removed"];
const ONE_NARROWED = ["c-amber/u-alice 2 narrowed"];

test("a removal is told once with its generation, and not again when the removed subject is looked at", async () => {
  const { ledger, me, record, run, told } = await running();
  await ledger.settle(alice, me, record, { ...REMOVED, revokes: "removed" });
  assert.deepEqual(await told(), ONE_REMOVED);
  await ledger.submit(alice, {}, "verify", "binding");
  const again = await run(alice);
  await ledger.settle(alice, again.me, again.record, REMOVED);
  assert.deepEqual(await told(), ONE_REMOVED);
});

test("a run that finds already gone what one before it removed and died tells it, because that one told nobody", async () => {
  for (const settlement of [REMOVED, WAITING]) {
    const { ledger, me, record, told } = await running();
    await ledger.settle(alice, me, record, settlement);
    assert.deepEqual(await told(), ONE_REMOVED, settlement.result);
  }
});

test("fewer names are told as narrowed, whether the run ends settled or parked, and the settlement after a park does not tell it again", async () => {
  const settled = await running();
  await settled.ledger.settle(alice, settled.me, settled.record, aSettlement({ revokes: "narrowed" }));
  assert.deepEqual(await settled.told(), ONE_NARROWED);
  const { ledger, me, record, run, told } = await running();
  await ledger.park(alice, me, record, "the proof", anApplied(), { revokes: "narrowed" });
  assert.deepEqual(await told(), ONE_NARROWED, "whoever was narrowed does not wait for a proof");
  const next = await run(alice);
  await ledger.settle(alice, next.me, next.record, aSettlement());
  assert.deepEqual(await told(), ONE_NARROWED);
});

test("a run that fails, or hands back, tells what it has taken away, because the next one finds it gone", async () => {
  for (const mode of ["fail", "terminal", "release"] as const) {
    for (const revokes of ["removed", "narrowed"] as const) {
      const { ledger, me, record, told } = await running();
      await ledger.fail(alice, me, record.stamp, { mode, reason: "x", unknown: false, wrote: true, revokes });
      assert.deepEqual(await told(), revokes === "removed" ? ONE_REMOVED : ONE_NARROWED, `${mode} ${revokes}`);
    }
    const { ledger, me, record, told } = await running();
    await ledger.fail(alice, me, record.stamp, { mode, reason: "x", unknown: true, wrote: true });
    assert.deepEqual(await told(), [], `${mode} of a run that took nothing away`);
  }
});

test("what was taken away is told although a newer fact came meanwhile, because it is so until the next run", async () => {
  for (const end of ["settle", "park"] as const) {
    const { ledger, me, record, told } = await running();
    await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
    if (end === "settle") assert.equal(await ledger.settle(alice, me, record, aSettlement({ revokes: "narrowed" })), "newer");
    else assert.equal(await ledger.park(alice, me, record, "the proof", anApplied(), { revokes: "narrowed" }), "newer");
    assert.deepEqual(await told(), ONE_NARROWED, end);
  }
});

test("a set-up, an added name, a look that finds nothing and a subject that never stood tell nothing, because nobody lost anything", async () => {
  const { ledger, me, record, run, told } = await running();
  await ledger.settle(alice, me, record, aSettlement());
  await ledger.submit(alice, { grants: [toldGrant("5", "crtb:c-amber/b-2")] }, "binding", "binding");
  const more = await run(alice);
  const identity = { ...anApplied().identity, groups: ["github_org://1", "system:authenticated"] };
  await ledger.park(alice, more.me, more.record, "the proof", anApplied({ identity }));
  const parked = await run(alice);
  await ledger.settle(alice, parked.me, parked.record, aSettlement({ applied: anApplied({ identity }) }));
  assert.deepEqual(await told(), []);
  for (const settlement of [REMOVED, WAITING]) {
    const bench = benchOn(redis);
    await bench.ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
    const first = await bench.run(alice);
    await bench.ledger.settle(alice, first.me, first.record, settlement);
    assert.deepEqual(await revocationsSince(redis, bench.tag, STREAM_START, 100), []);
  }
});

test("who is not the owner tells nothing, because its word is about another worker's objects", async () => {
  const { ledger, record, told } = await running();
  await ledger.settle(alice, aMe(), record, { ...REMOVED, revokes: "removed" });
  await ledger.park(alice, aMe(), record, "the proof", anApplied(), { revokes: "narrowed" });
  await ledger.fail(alice, aMe(), record.stamp, { mode: "fail", reason: "x", unknown: false, revokes: "removed" });
  assert.deepEqual(await told(), []);
});

// How often another manager wrote over a subject's objects: counted in the record by whoever ends a run, kept once it has stopped the subject, and forgotten when a person asks.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HOUR, MINUTE, aSettlement, alice, anApplied, benchOn, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();
const STOPPED = { mode: "terminal", reason: "another manager", unknown: false } as const;
async function standing() {
  const bench = benchOn(redis);
  await bench.import();
  await bench.ready(alice);
  /** A run that looks and meets this version. */
  const looks = async (rival: string | undefined, end: "settle" | "park" | "fail", rivalOver = false): Promise<void> => {
    await bench.ledger.submit(alice, {}, "drift", "binding");
    await bench.arrange(alice, { retryAt: 0 });
    const { me, record } = await bench.run(alice);
    if (end === "settle") await bench.ledger.settle(alice, me, record, { ...aSettlement(), rival, rivalOver });
    else if (end === "park") await bench.ledger.park(alice, me, record, "not filled", anApplied(), { rival, rivalOver });
    else await bench.ledger.fail(alice, me, record.stamp, { ...STOPPED, rival });
  };
  const rivals = async (): Promise<string[]> => (await bench.ledger.record(alice))!.rivals.map(({ resourceVersion }) => resourceVersion).sort();
  return { ...bench, looks, rivals };
}

test("each version that another manager wrote is counted once, whatever the run's end, because a run that failed has met it too", async () => {
  const { looks, rivals } = await standing();
  for (const end of ["settle", "park", "fail"] as const) await looks(end === "fail" ? "12" : "11", end);
  assert.deepEqual(await rivals(), ["11", "12"]);
  await looks(undefined, "settle");
  assert.deepEqual(await rivals(), ["11", "12"]);
});

test("what is older than ten minutes no longer counts, because two edits a day are no fight", async () => {
  const { looks, rivals, arrange, now } = await standing();
  const at = await now();
  await arrange(alice, { rivals: `${at - MINUTE}/8 ${at - 11 * MINUTE}/7` });
  await looks("9", "settle");
  assert.deepEqual(await rivals(), ["8", "9"]);
});

test("three that stopped a subject are kept when a fourth comes hours later, or it would begin anew every hour", async () => {
  const { looks, rivals, arrange, now } = await standing();
  const at = await now();
  await arrange(alice, { rivals: [5, 4, 3].map((hours) => `${at - hours * HOUR}/${hours}`).join(" ") });
  await looks("9", "fail");
  await looks("10", "settle");
  assert.deepEqual(await rivals(), ["3", "4", "5"]);
});

test("a person's enqueue forgets them, a producer's does not, because only a person knows that the other has stopped", async () => {
  const { ledger, rivals, arrange, now } = await standing();
  const at = await now();
  await arrange(alice, { rivals: ["6", "7", "8"].map((version) => `${at}/${version}`).join(" ") });
  await ledger.submit(alice, {}, "verify", "binding");
  await ledger.submit(alice, {}, "drift", "binding");
  assert.deepEqual(await rivals(), ["6", "7", "8"]);
  await ledger.submit(alice, { again: true }, "verify", "binding");
  assert.deepEqual(await rivals(), []);
});

test("once the other has written what we want they are forgotten, or its next write would stop the subject at once", async () => {
  const { looks, rivals, arrange, now } = await standing();
  const at = await now();
  await arrange(alice, { rivals: ["6", "7", "8"].map((version) => `${at}/${version}`).join(" ") });
  await looks(undefined, "settle", true);
  assert.deepEqual(await rivals(), []);
});

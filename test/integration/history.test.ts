// A subject's history: the last runs, for people who ask later. It has to stay small, whatever runs do and however many subjects there are.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HistoryEntry } from "../../shared/ledger/history.ts";
import { historyOf, noteHistory } from "../../shared/ledger/history.ts";
import { DAY, alice, assertNear, benchOn, bob, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();
const KEY = ["history", "c-amber/u-alice"];

/** A set-up, as most subjects have one. */
const anEntry = (over: Partial<HistoryEntry> = {}): HistoryEntry => ({
  fact: 1_764_000_000_000,
  began: 1_764_000_000_050,
  ended: 1_764_000_000_210,
  cause: "binding",
  because: ["clusterroletemplatebindings:c-amber/crtb-7x2kq"],
  steps: ["ClusterRole", "ServiceAccount", "Secret", "ClusterRoleBinding"].map((kind) => `create ${kind}: it is missing`),
  outcome: "ready",
  reason: "",
  added: ["users u-alice", "groups system:authenticated", "groups system:cattle:authenticated", "userextras/principalid local://u-alice"],
  removed: [],
  ...over,
});

test("entries come back whole and newest first, of this subject alone, because a person reads what happened to one", async () => {
  const { ledger } = benchOn(redis);
  assert.deepEqual(await historyOf(ledger, alice), []);
  const later = anEntry({ began: 1_764_000_009_000, cause: "deletion", outcome: "removed", reason: "no grant" });
  await noteHistory(ledger, alice, anEntry());
  await noteHistory(ledger, alice, later);
  await noteHistory(ledger, bob, anEntry({ cause: "login" }));
  assert.deepEqual(await historyOf(ledger, alice), [later, anEntry()]);
});

test("a run that is noted late stands where it began, because it is noted after the lock is free and the next may be quicker", async () => {
  const { ledger } = benchOn(redis);
  for (const began of [2, 1, 3]) await noteHistory(ledger, alice, anEntry({ began }));
  assert.deepEqual(
    (await historyOf(ledger, alice)).map(({ began }) => began),
    [3, 2, 1],
  );
});

test("twenty entries are kept, because a subject that fails for months may not fill Redis", async () => {
  const { ledger, key } = benchOn(redis);
  for (let began = 1; began <= 50; began++) await noteHistory(ledger, alice, anEntry({ began }));
  const kept = (await historyOf(ledger, alice)).map(({ began }) => began);
  assert.deepEqual(
    kept,
    Array.from({ length: 20 }, (_, i) => 50 - i),
  );
  assert.equal(await redis.llen(key(...KEY)), 20);
});

test("a history ends thirty days after its newest entry, because nobody else would delete it once the subject is gone", async () => {
  const { ledger, key } = benchOn(redis);
  await noteHistory(ledger, alice, anEntry());
  await redis.pexpire(key(...KEY), 5_000);
  await noteHistory(ledger, alice, anEntry({ began: 2 }));
  assertNear(await redis.pttl(key(...KEY)), 30 * DAY, "when it expires");
});

test("an entry that is sent twice is there once, because a connection that breaks sends again what was carried out", async () => {
  const { ledger } = benchOn(redis);
  for (let i = 0; i < 2; i++) await noteHistory(ledger, alice, anEntry());
  assert.equal((await historyOf(ledger, alice)).length, 1);
});

test("long lists and reasons are cut and say so, because one user's thousand stale Secrets may not fill Redis twenty times", async () => {
  const { ledger, key } = benchOn(redis);
  const many = Array.from({ length: 1_000 }, (_, i) => `groups ${"g".repeat(100)}-${i}`);
  await noteHistory(ledger, alice, anEntry({ because: many, steps: many, added: many, removed: many, reason: "x".repeat(5_000) }));
  const [entry] = await historyOf(ledger, alice);
  for (const list of [entry!.because, entry!.steps, entry!.added, entry!.removed])
    assert.deepEqual([list.length, list[49], list[50]], [51, many[49], "and 950 more"]);
  assert.equal(entry!.reason.length, 1_000);
  assert.ok((await redis.memory("USAGE", key(...KEY)))! < 40_000);
});

test("entries of another version, and what is none, are left out, because a newer worker may write beside an older reader", async () => {
  const { ledger, key } = benchOn(redis);
  await noteHistory(ledger, alice, anEntry());
  for (const text of [JSON.stringify({ ...anEntry(), v: 2 }), JSON.stringify({ v: 1 }), "no JSON", "null"]) await redis.lpush(key(...KEY), text);
  assert.deepEqual(await historyOf(ledger, alice), [anEntry()]);
});

test("a set-up costs less than a kilobyte, because a hundred thousand of them have to fit beside the records", async () => {
  const { ledger, key } = benchOn(redis);
  await noteHistory(ledger, alice, anEntry());
  const first = (await redis.memory("USAGE", key(...KEY)))!;
  for (let began = 1; began < 20; began++) await noteHistory(ledger, alice, anEntry({ began }));
  const all = (await redis.memory("USAGE", key(...KEY), "SAMPLES", 0))!;
  console.log(`history: ${first} bytes with one entry, ${Math.round(all / 20)} each of twenty`);
  assert.ok(first < 1_000 && all / 20 < 1_000, `${first} bytes for one, ${all} for twenty`);
});

// What a job carries, how it is deduplicated, and what happens after an error.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BACKGROUND_CAUSES, CAUSES, JobData, LOOKING_CAUSES, QUEUES, TerminalError, WaitError, jobFor, nextMoveOf } from "../../shared/jobs.ts";
import { anyText } from "../support/builders.ts";

const alice = { cluster: "c-abc12", user: "u-alice" };
const aJob = (about: Record<string, unknown> = {}): Record<string, unknown> => ({ v: 1, ...alice, cause: "binding", ...about });

const moves: readonly (readonly [why: string, error: unknown, move: object])[] = [
  ["a terminal error is not tried again, because a person must act", new TerminalError("a policy refuses it"), { kind: "terminal" }],
  ["a wait error comes back after its time and uses no attempt, because nothing failed", new WaitError("busy", 250), { kind: "wait", waitMs: 250 }],
  ["any other error is tried again, because most pass", new Error("socket hang up"), { kind: "retry" }],
  ["a type error is tried again, because the next version may know better", new TypeError("x is undefined"), { kind: "retry" }],
  [
    "an error that only says terminal is tried again, because errors are told apart by class",
    Object.assign(new Error("terminal"), { name: "TerminalError" }),
    { kind: "retry" },
  ],
  ["what is no error at all is tried again", "TerminalError", { kind: "retry" }],
  ["nothing thrown is tried again", undefined, { kind: "retry" }],
];
for (const [why, error, move] of moves) test(why, () => assert.deepEqual(nextMoveOf(error), move));

test("both errors keep what caused them, because the first one says where it began", () => {
  const cause = new Error("first");
  assert.equal(new TerminalError("a", { cause }).cause, cause);
  assert.equal(new WaitError("b", 1, { cause }).cause, cause);
});

const refused: readonly (readonly [why: string, job: unknown, says: RegExp])[] = [
  ["of an older version", aJob({ v: 0 }), /update it, or remove the job/],
  ["of a newer version", aJob({ v: 2 }), /update it, or remove the job/],
  ["of a version in words", aJob({ v: "1" }), /update it, or remove the job/],
  ["without a version", { ...alice, cause: "binding" }, /update it, or remove the job/],
  ["of a cause that is none", aJob({ cause: "because" }), /cause/],
  ["without a cause", { v: 1, ...alice }, /cause/],
  ["without a user", { v: 1, cluster: "c-abc12", cause: "binding" }, /user/],
  ["with an empty user", aJob({ user: "" }), /user/],
  ["with an endless user", aJob({ user: "u".repeat(1025) }), /user/],
  ["without a cluster", { v: 1, user: "u-alice", cause: "binding" }, /cluster/],
  ["with a cluster that would split the key elsewhere", aJob({ cluster: "c/abc" }), /cluster/],
  ["that brings groups of its own", aJob({ groups: ["system:masters"] }), /groups/],
  ["that is a list", [], /object/],
  ["that is nothing", null, /object/],
];
for (const [which, job, says] of refused) {
  test(`a job ${which} is refused, because a job only names a subject and a cause`, () => {
    const parsed = JobData.safeParse(job);
    assert.equal(parsed.success, false);
    assert.match(JSON.stringify(parsed.error.issues), says);
  });
}

test("every job that is made is one that a worker takes, whoever the user is", () => {
  fc.assert(
    fc.property(anyText, fc.constantFrom(...CAUSES), fc.double({ min: -1e6, max: 1e9, noNaN: true }), (user, cause, delayMs) => {
      const { name, data, opts } = jobFor({ cluster: "c-abc12", user }, cause, delayMs);
      assert.deepEqual(JobData.parse(JSON.parse(JSON.stringify(data))), { v: 1, cluster: "c-abc12", user, cause });
      assert.equal(name, `c-abc12/${user}`);
      assert.ok(Number.isInteger(opts.delay) && opts.delay >= 0 && opts.delay >= delayMs, `delay ${opts.delay}`);
    }),
  );
});

test("two subjects never share a deduplication id, in the foreground or in the background", () => {
  const subjects = [alice, { cluster: "c-abc1", user: "2/u-alice" }, { cluster: "c-abc12", user: "~u-alice" }, { cluster: "c-abc12", user: "u-alice/" }];
  const ids = subjects.flatMap((subject) => [jobFor(subject, "binding", 0), jobFor(subject, "resync", 0)]).map(({ opts }) => opts.deduplication.id);
  assert.equal(new Set(ids).size, ids.length);
});

for (const cause of CAUSES) {
  const background = ["resync", "orphan", "sweep"].includes(cause);
  test(`a wake-up for ${cause} ${background ? "stands behind all others under an id of its own, so that a fact never waits behind it" : "is not put behind others, because somebody waits for it"}`, () => {
    const { opts } = jobFor(alice, cause, 0);
    assert.equal(opts.deduplication.id, background ? "~c-abc12/u-alice" : "c-abc12/u-alice");
    assert.equal("priority" in opts ? opts.priority : undefined, background ? 100 : undefined);
    assert.equal(BACKGROUND_CAUSES.has(cause), background);
  });
}

test("a wake-up during a run is kept as one next job and a delayed one only moves nearer, so that no fact is lost and none runs twice", () => {
  const { opts } = jobFor(alice, "binding", 1.2);
  assert.equal(opts.delay, 2);
  assert.deepEqual(opts.deduplication, { id: "c-abc12/u-alice", keepLastIfActive: true, reschedule: true });
  assert.deepEqual(opts.backoff, { type: "ledger" });
});

test("causes after which others may have written make the pass look at the cluster", () => {
  assert.deepEqual(
    CAUSES.filter((cause) => LOOKING_CAUSES.has(cause)),
    ["verify", "drift", "resync", "orphan"],
  );
  assert.deepEqual([...QUEUES], ["binding", "login", "deletion"]);
});

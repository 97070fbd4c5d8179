// Which runs leave an entry in a subject's history, because what nobody needs to read pushes out what somebody does.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterClient } from "../../../shared/kube/client.ts";
import type { HistoryEntry } from "../../../shared/ledger/history.ts";
import type { Run } from "../../../workers/run.ts";
import { historyEntryOf, newRun } from "../../../workers/run.ts";

const STEP = "change ClusterRole: the rules are not the identity's";
type End = Pick<HistoryEntry, "outcome" | "reason">;
/** A run of a subject that stood at `before`. */
function ended(before: End, end: End | undefined, steps: readonly string[] = []): Run {
  const run = newRun({ cluster: "c-one", user: "u-ada" }, {} as ClusterClient, new AbortController().signal);
  run.fact = 900;
  run.taken = { at: 1_000, since: 50, result: before.outcome, reason: before.reason };
  run.end = end;
  run.steps.push(...steps);
  return run;
}
const outcome = (word: HistoryEntry["outcome"], reason = ""): End => ({ outcome: word, reason });

test("what a run wrote is kept whatever its end, with when its fact came and how long it took by the clock of Redis", () => {
  for (const end of [outcome("ready"), outcome("retrying", "no answer"), outcome("released", "stopped"), outcome("newer"), outcome("lost")]) {
    const run = ended(outcome("ready"), end, [STEP]);
    run.names.added.push("groups g");
    run.because = ["login"];
    assert.deepEqual(historyEntryOf(run, "drift", 92.4), {
      ...end,
      fact: 900,
      began: 1_000,
      ended: 1_042,
      cause: "drift",
      because: ["login"],
      steps: [STEP],
      added: ["groups g"],
      removed: [],
    });
  }
});

test("a run that wrote nothing is kept only where the subject stands otherwise than before, or for another reason", () => {
  const kept = (before: End, end: End | undefined): boolean => historyEntryOf(ended(before, end), "resync", 60) !== undefined;
  assert.ok(!kept(outcome("ready"), outcome("ready")), "a look that changes nothing");
  assert.ok(!kept(outcome("retrying", "no answer"), outcome("retrying", "no answer")), "the next try that fails alike");
  assert.ok(kept(outcome("retrying", "no answer"), outcome("retrying", "refused")), "a failure for another reason");
  assert.ok(kept(outcome("retrying", "no answer"), outcome("ready")), "it is well again");
  assert.ok(kept(outcome("pending", "its token"), outcome("ready")), "the proof that was waited for");
  for (const end of [outcome("released", "busy"), outcome("newer"), outcome("lost")]) assert.ok(!kept(outcome("ready"), end), end.outcome);
  assert.ok(!kept(outcome("ready"), undefined), "a run that never ended");
});

test("a job that was not given its subject leaves nothing, because another run has it and will tell", () => {
  const run = ended(outcome("ready"), outcome("released", "busy"), []);
  run.taken = undefined;
  assert.equal(historyEntryOf(run, "binding", 60), undefined);
});

// When another manager is one: it wrote last, what it wrote is not what was settled, and it does so again and again.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { V1ManagedFieldsEntry } from "@kubernetes/client-node";
import type { Seen } from "../../../shared/decide/plan.ts";
import { type Overwritten, isStopped, overwrittenIn, wasStopped } from "../../../shared/decide/rival.ts";
import type { Rival } from "../../../shared/ledger/record.ts";
import { nameOf } from "../../../shared/names.ts";
import { NOW, wanted } from "../../support/builders.ts";
import { ObjectModel, carryOut } from "../../support/object-model.ts";

const goal = wanted();
const MINUTE = 60_000;
/** As an API server notes them; it gives whole seconds. */
const by = (manager: string, second: number): V1ManagedFieldsEntry =>
  ({ manager, operation: "Update", apiVersion: "v1", time: `2026-01-15T12:00:${String(second).padStart(2, "0")}Z` }) as unknown as V1ManagedFieldsEntry;

/** A whole impersonator whose role was changed, with these entries. */
function changed(...managedFields: V1ManagedFieldsEntry[]): Seen {
  const model = new ObjectModel();
  carryOut(model, nameOf("u-alice"), goal);
  model.edit("ClusterRole", nameOf("u-alice"), (role) => {
    role.rules!.pop();
    role.metadata!.managedFields = managedFields;
  });
  return model.seen(nameOf("u-alice"));
}

for (const [why, entries, manager] of [
  ["who wrote after us is another manager", [by("understudy", 1), by("rancher", 2)], "rancher"],
  ["who wrote in the same second as we did is one, because it cannot be told and ours was there first", [by("understudy", 2), by("rancher", 2)], "rancher"],
  ["of two others it is the last to write", [by("kubectl-edit", 3), by("rancher", 2), by("understudy", 1)], "kubectl-edit"],
  ["who made what we adopted, and wrote nothing since, is none: it was we who changed it", [by("rancher", 1), by("understudy", 2)], undefined],
  ["a change that only we have made, and could not settle, is nobody else's", [by("understudy", 2)], undefined],
  ["a change that says no manager counts for nobody, because a stop names who is to be stopped", [], undefined],
] as const)
  test(why, () => assert.equal(overwrittenIn(changed(...entries), goal)?.manager, manager));

test("another manager whose fields stand beside ours has overwritten nothing, because what others add is theirs", () => {
  const seen = changed(by("understudy", 1), by("rancher", 2));
  seen.role!.rules = [...carriedRules()];
  assert.equal(overwrittenIn(seen, goal), undefined);
});
function carriedRules() {
  const model = new ObjectModel();
  carryOut(model, nameOf("u-alice"), goal);
  return model.seen(nameOf("u-alice")).role!.rules!;
}

test("a binding that was made anew for another role is overwritten, although its subjects are right", () => {
  const seen = changed(by("understudy", 1));
  seen.binding!.roleRef.name = "cluster-admin";
  seen.binding!.metadata!.managedFields = [by("rancher", 2)];
  assert.deepEqual(overwrittenIn(seen, goal), { kind: "ClusterRoleBinding", manager: "rancher", resourceVersion: seen.binding!.metadata!.resourceVersion });
});

const now: Overwritten = { kind: "ClusterRole", manager: "rancher", resourceVersion: "9" };
const at = (minutesAgo: number, resourceVersion: string): Rival => ({ at: NOW - minutesAgo * MINUTE, resourceVersion });
for (const [why, rivals, overwritten, stopped] of [
  ["a first time is put back", [], now, false],
  ["a second time is put back, as a person may edit twice", [at(1, "8")], now, false],
  ["a third time in ten minutes stops it", [at(9, "7"), at(1, "8")], now, true],
  ["a third time after more than ten minutes does not", [at(11, "7"), at(1, "8")], now, false],
  ["one write that is met twice counts once, because a run may not get to its end", [at(2, "7"), at(1, "9")], now, false],
  ["who was stopped stays so, however long ago it was", [at(900, "6"), at(899, "7"), at(898, "8")], now, true],
  ["who was stopped stays so while nobody writes", [at(3, "6"), at(2, "7"), at(1, "8")], undefined, true],
  ["who was not stopped goes on while nobody writes", [at(2, "7"), at(1, "8")], undefined, false],
] as const)
  test(why, () => {
    assert.equal(isStopped(rivals, overwritten, NOW), stopped);
    assert.equal(wasStopped(rivals), rivals.length === 3);
  });

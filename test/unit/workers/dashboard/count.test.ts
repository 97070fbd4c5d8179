// What the page counts, and what a search finds in it.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Count } from "../../../../workers/dashboard/count.ts";
import { Counting } from "../../../../workers/dashboard/count.ts";
import { People } from "../../../../workers/dashboard/people.ts";
import { askedFrom, search } from "../../../../workers/dashboard/search.ts";
import type { SubjectRecord } from "../../../../shared/ledger/record.ts";
import { recordOf } from "../../../../shared/ledger/record.ts";

const NOW = Date.UTC(2026, 0, 15, 12);
const MINUTE = 60_000;
const RUN = "run";
type Fields = Readonly<Record<string, string | number>>;
const record = (fields: Fields): SubjectRecord =>
  recordOf(new Map(Object.entries({ gen: 1, obs: 1, conf: RUN, ...fields }).map(([name, value]) => [name, String(value)])));
const ready = (changedAt: number, settledAt: number): Fields => ({ result: "ready", changedAt, settledAt, since: settledAt });

/** `subjects`: `cluster/user` → fields of its record. */
function counted(subjects: Readonly<Record<string, Fields>>): Count {
  const counting = new Counting(NOW, RUN);
  for (const cluster of ["c-amber", "c-birch"]) counting.open(cluster);
  for (const [key, fields] of Object.entries(subjects)) {
    const [cluster, user] = key.split("/") as [string, string];
    counting.add({ subject: { cluster, user }, record: record(fields), factsN: 1 });
  }
  return counting.end();
}

test("failures of one reason are one group over all clusters and users, because they are mended by one hand", () => {
  const refused = (cluster: string, user: string) =>
    `cluster ${cluster} refuses the object: POST /apis/clusterroles/cattle-impersonation-${user} on cluster ${cluster}: 422 Invalid`;
  const { reasons, rows } = counted({
    "c-amber/u-1": { result: "failed", reason: refused("c-amber", "u-1"), since: NOW - 9 * MINUTE, lastFail: NOW - 2 * MINUTE },
    "c-birch/u-2": { result: "failed", reason: refused("c-birch", "u-2"), since: NOW - 5 * MINUTE, lastFail: NOW - 4 * MINUTE },
    "c-birch/u-3": { obs: 0, result: "retrying", fails: 3, reason: "no answer", since: NOW - 3 * MINUTE, lastFail: NOW - MINUTE },
  });
  const said = reasons.map(({ clusters, first, last, ...rest }) => ({
    ...rest,
    clusters: clusters.size,
    first: (NOW - first) / MINUTE,
    last: (NOW - last) / MINUTE,
  }));
  const shared = "cluster … refuses the object: POST /apis/clusterroles/cattle-impersonation-… on cluster …: 422 Invalid";
  assert.deepEqual(said, [
    { state: "failed", reason: shared, subjects: 2, clusters: 2, first: 9, last: 2 },
    { state: "pending", reason: "no answer", subjects: 1, clusters: 1, first: 3, last: 1 },
  ]);
  assert.deepEqual(
    rows.map(({ reason }) => reason),
    [shared, shared, "no answer"],
    "each row leads to its group",
  );
});

test("the namespace keeps its name in a reason, because it is nobody's own", () => {
  const { reasons } = counted({
    "c-amber/u-1": { result: "failed", reason: "GET /namespaces/cattle-impersonation-system/secrets/cattle-impersonation-u-1-token-x" },
  });
  assert.equal(reasons[0]?.reason, "GET /namespaces/cattle-impersonation-system/secrets/cattle-impersonation-…");
});

test("the oldest wait is of those that are worked on, because who waits for a person would hide who waits for a worker", () => {
  const { clusters } = counted({
    "c-amber/u-1": { obs: 0, changedAt: NOW - 3 * MINUTE },
    "c-amber/u-2": { obs: 0, result: "failed", reason: "foreign object", changedAt: NOW - 90 * MINUTE },
    "c-amber/u-3": ready(NOW - MINUTE, NOW),
  });
  const { backlog, oldest, states } = clusters.get("c-amber")!;
  assert.deepEqual([backlog, NOW - oldest], [2, 3 * MINUTE]);
  assert.deepEqual(states, { failed: 1, pending: 1, waiting: 0, ready: 1, removed: 0 });
  assert.equal(clusters.get("c-birch")?.backlog, 0, "nobody there, and there all the same");
});

test("event to ready counts who changed within the hour, because a look that found nothing new is no event", () => {
  const { readyTimes } = counted({
    "c-amber/u-1": ready(NOW - MINUTE, NOW - MINUTE + 50),
    "c-amber/u-2": ready(NOW - MINUTE, NOW - MINUTE + 70),
    "c-amber/u-3": ready(NOW - 1440 * MINUTE, NOW - MINUTE),
  });
  assert.deepEqual(readyTimes, { subjects: 2, p50: 50, p99: 70 });
  assert.equal(counted({}).readyTimes, undefined);
});

test("a subject that a scan tells twice counts once, because SSCAN may repeat", () => {
  const counting = new Counting(NOW, RUN);
  counting.open("c-amber");
  for (let i = 0; i < 2; i++) counting.add({ subject: { cluster: "c-amber", user: "u-1" }, record: record(ready(1, 2)), factsN: 1 });
  assert.equal(counting.end().states.ready, 1);
});

test("who is gone since the count before is in no list, and who is new stands in its place", () => {
  const before = counted({ "c-amber/u-1": ready(1, 2), "c-amber/u-3": ready(1, 2) }).rows;
  const counting = new Counting(NOW, RUN, before);
  counting.open("c-amber");
  for (const user of ["u-3", "u-2"]) counting.add({ subject: { cluster: "c-amber", user }, record: record(ready(1, 2)), factsN: 1 });
  assert.deepEqual(
    counting.end().rows.map(({ user }) => user),
    ["u-2", "u-3"],
  );
});

test("a group is found by who is in it now, because people leave groups and go", () => {
  const people = new People();
  people.learn("u-1", 1, ["org://1"]);
  people.learn("u-2", 1, ["org://1"]);
  const count = counted({ "c-amber/u-1": ready(1, 2), "c-birch/u-2": ready(1, 2) });
  const users = () => search(count, people, askedFrom({ q: "org://1" })).rows.map(({ user }) => user);
  assert.deepEqual(users(), ["u-1", "u-2"]);
  assert.deepEqual([people.isOlder("u-1", 1), people.isOlder("u-1", 2), people.isOlder("u-3", 0)], [false, true, true]);
  people.learn("u-1", 2, []);
  assert.deepEqual(users(), ["u-2"]);
  people.forgetAllBut(new Set(["u-1"]));
  assert.deepEqual([users(), [...people.groups]], [[], []]);
});

test("an address that means nothing asks nothing, because people type addresses", () => {
  assert.deepEqual(askedFrom({ q: ["a", "b"], state: "broken", page: "-3", cluster: {}, other: "1" }), {
    q: "",
    cluster: "",
    state: undefined,
    reason: "",
    page: 1,
  });
  assert.equal(askedFrom({ q: "  u-ada " }).q, "u-ada");
});

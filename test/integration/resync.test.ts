// One cluster's lists against the ledger: who is looked at again although nothing was told, and what a role remembers that the ledger has forgotten.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Bindings } from "../../producers/bindings.ts";
import { type ResyncParts, type ResyncResult, resync } from "../../producers/resync.ts";
import { appliedFrom } from "../../shared/decide/memory.ts";
import type { Wanted } from "../../shared/decide/objects.ts";
import { RANCHERS } from "../../shared/decide/memory.ts";
import { CLUSTER_MISSING } from "../../shared/ledger/status.ts";
import { nameOf } from "../../shared/names.ts";
import { anIdentity, wanted } from "../support/builders.ts";
import { type Bench, DAY, aSettlement, benchOn, redisForFile, toldGrant } from "../support/ledger.ts";
import { ObjectModel, carryOut } from "../support/object-model.ts";
import { ranchersObjects } from "../support/rancher-impersonator.ts";
import { CLUSTER, TEAM, aCrtb, bindingsAt, going, listing } from "../support/told.ts";

const { redis } = await redisForFile();

/** The finished impersonator of a user. */
function impersonator(goal: Wanted): ObjectModel {
  const model = new ObjectModel();
  carryOut(model, nameOf(goal.identity.user), goal);
  return model;
}
const of = (user: string, groups: readonly string[] = [], loginEnds = 0): Wanted =>
  wanted({ identity: anIdentity({ user, groups }), loginEnds: loginEnds > 0 ? { at: loginEnds - 30 * DAY, end: loginEnds } : undefined });

/** No binding of others, and RoleBindings were seen. */
const NOBODY_ELSE = { aliens: [], roleBindingsHidden: false };
const CONFIG: ResyncParts["config"] = { source: "rancher", install: "understudy", removalsMax: 0.2, profile: "strict", tokenMode: "secret", adopt: false };
async function resynced(bench: Bench, on: readonly ObjectModel[], bindings = new Bindings(), config = CONFIG, allowed = 0): Promise<ResyncResult> {
  const client = listing(on);
  const { run } = await bench.ledger.mark();
  bench.added.length = 0;
  try {
    return await resync({ client, ledger: bench.ledger, bindings, config, run, allowed }, going);
  } finally {
    await client.close();
  }
}

/** A subject that has a grant, is settled as ready, and whose cluster shows just what was settled. */
async function settled(bench: Bench, goal: Wanted): Promise<ObjectModel> {
  const { user } = goal.identity;
  const subject = { cluster: CLUSTER, user };
  const model = impersonator(goal);
  await bench.ledger.submit(subject, { grants: [toldGrant("1")] }, "binding", "binding");
  const { me, record } = await bench.run(subject);
  const applied = appliedFrom(goal, model.seen(nameOf(user)));
  assert.equal(await bench.ledger.settle(subject, me, record, aSettlement({ applied })), "ok");
  return model;
}
const woken = ({ added }: Bench): string[] => added.map(({ name }) => name);
const nameIn = (user: string): string => `${CLUSTER}/${user}`;

/** What a settled subject, whose objects are as they were settled, has beside them in its record. */
const reasons: readonly (readonly [why: string, user: string, fields: Readonly<Record<string, string>>])[] = [
  ["was confirmed by a Redis that is gone, because nobody knows what that one had been told later", "u-elsewhere", { conf: "0".repeat(40) }],
  ["was put aside while its cluster was not configured, because the cluster is there now", "u-aside", { result: "waiting", reason: CLUSTER_MISSING }],
];
for (const [why, user, fields] of reasons) {
  test(`a subject is looked at again that ${why}; its equal neighbour is left alone`, async () => {
    const bench = benchOn(redis);
    await bench.import();
    const on = [await settled(bench, of(user)), await settled(bench, of("u-equal"))];
    await bench.arrange({ cluster: CLUSTER, user }, fields);
    assert.deepEqual(await resynced(bench, on), { subjects: 2, woken: 1, orphans: 0, held: 0, ...NOBODY_ELSE });
    assert.deepEqual(woken(bench), [nameIn(user)]);
    const run = await bench.run({ cluster: CLUSTER, user });
    assert.equal(run.record.look, true, "what the record says of its objects is not believed");
  });
}

test("every subject is looked at again that was written under another profile, because its role allows what the profile of that time did", async () => {
  const bench = benchOn(redis);
  await bench.import();
  const on = [await settled(bench, of("u-strict")), await settled(bench, { ...of("u-rancher"), profile: "rancher" })];
  await resynced(bench, on, new Bindings(), { ...CONFIG, profile: "rancher" });
  assert.deepEqual(woken(bench), [nameIn("u-strict")]);
});

test("every subject is looked at again that was written in the other token mode, there and back, because its Secret is one too many or too few", async () => {
  for (const [tokenMode, woke] of [
    ["request", "u-secret"],
    ["secret", "u-request"],
  ] as const) {
    const bench = benchOn(redis);
    await bench.import();
    const on = [await settled(bench, of("u-secret")), await settled(bench, { ...of("u-request"), tokenMode: "request" })];
    await resynced(bench, on, new Bindings(), { ...CONFIG, tokenMode });
    assert.deepEqual(woken(bench), [nameIn(woke)]);
  }
});

test("whose impersonator is left to Rancher costs nothing until that may be adopted or has gone, and then is looked at by nobody's word", async () => {
  const bench = benchOn(redis);
  await bench.import();
  const user = "u-theirs";
  const subject = { cluster: CLUSTER, user };
  await bench.ledger.submit(subject, { grants: [toldGrant("1")] }, "binding", "binding");
  const { me, record } = await bench.run(subject);
  await bench.ledger.settle(subject, me, record, aSettlement({ result: "waiting", reason: RANCHERS, applied: undefined }));
  const theirs = new ObjectModel();
  const make = ranchersObjects(user);
  theirs.create("ClusterRole", make.role());
  theirs.create("ServiceAccount", make.account(theirs.all("ClusterRole")[0]!));
  theirs.create("Secret", make.secret(theirs.all("ServiceAccount")[0]!));
  const unknown = new ObjectModel();
  unknown.create("ClusterRole", ranchersObjects("u-unknown").role());
  assert.deepEqual(await resynced(bench, [theirs, unknown]), { subjects: 1, woken: 0, orphans: 0, held: 0, ...NOBODY_ELSE });
  assert.deepEqual(woken(bench), []);
  await resynced(bench, [theirs, unknown], new Bindings(), { ...CONFIG, adopt: true });
  assert.deepEqual(woken(bench), [nameIn(user)]);
  const again = await bench.run(subject);
  await bench.ledger.settle(subject, again.me, again.record, aSettlement({ result: "waiting", reason: RANCHERS, applied: undefined }));
  await resynced(bench, [unknown]);
  assert.deepEqual(woken(bench), [nameIn(user)]);
});

test("subjects that are confirmed and stand as they were settled cost nothing, because a resync comes every half hour", async () => {
  const bench = benchOn(redis);
  await bench.import();
  const on = [await settled(bench, of("u-1")), await settled(bench, of("u-2", [TEAM]))];
  const before = await bench.fields({ cluster: CLUSTER, user: "u-1" });
  assert.deepEqual(await resynced(bench, on), { subjects: 2, woken: 0, orphans: 0, held: 0, ...NOBODY_ELSE });
  assert.deepEqual(await bench.fields({ cluster: CLUSTER, user: "u-1" }), before);
});

test("a role that remembers a running login brings the bindings of its groups into a record that has only begun, because the first binding told there is not all that the user has", async () => {
  const bench = benchOn(redis);
  await bench.import();
  const user = "u-forgotten";
  const subject = { cluster: CLUSTER, user };
  await bench.ledger.submit(subject, { grants: [toldGrant("1")] }, "binding", "binding");
  const bindings = bindingsAt("10", [aCrtb("team", { group: TEAM }, "5")], [user]);
  assert.equal((await resynced(bench, [impersonator(of(user, [TEAM], Date.now() + DAY))], bindings)).woken, 1);
  const record = (await bench.ledger.record(subject))!;
  assert.deepEqual(
    record.candidates.map((candidate) => "group" in candidate && candidate.group),
    [TEAM],
  );
  assert.deepEqual([record.look, (await bench.ledger.userRecord(user)).clusters], [true, [CLUSTER]]);
});

test("a Secret that no label leads to is told with a role that the ledger has forgotten, because the next resync is half an hour away", async () => {
  const bench = benchOn(redis);
  await bench.import();
  for (const begun of [true, false]) {
    const user = `u-forgotten-stray-${begun}`;
    const subject = { cluster: CLUSTER, user };
    if (begun) await bench.ledger.submit(subject, { grants: [toldGrant("1")] }, "binding", "binding");
    const model = impersonator(of(user, [], Date.now() + DAY));
    const annotations = { "kubernetes.io/service-account.name": nameOf(user) };
    model.create("Secret", { apiVersion: "v1", kind: "Secret", metadata: { name: "by-hand", annotations } });
    await resynced(bench, [model]);
    assert.deepEqual((await bench.ledger.record(subject))?.strays, ["by-hand"]);
  }
});

test("a role whose login has ended brings no bindings, because nobody is let in by it any more", async () => {
  const bench = benchOn(redis);
  await bench.import();
  const subject = { cluster: CLUSTER, user: "u-ended" };
  await bench.ledger.submit(subject, { grants: [toldGrant("1")] }, "binding", "binding");
  const bindings = bindingsAt("10", [aCrtb("team", { group: TEAM }, "5")], [subject.user]);
  await resynced(bench, [impersonator(of(subject.user, [TEAM], Date.now() - 1_000))], bindings);
  assert.deepEqual((await bench.ledger.record(subject))?.candidates, []);
  assert.deepEqual(woken(bench), [nameIn(subject.user)]);
});

test("where logins are the only source, roles that never had one are kept and counted as held, because another source made them whose setting may be missing", async () => {
  const bench = benchOn(redis);
  await bench.import();
  const on = [impersonator(of("u-bound-1")), impersonator(of("u-bound-2")), impersonator(of("u-late", [], Date.now() - 1_000))];
  assert.deepEqual(await resynced(bench, on, new Bindings(), { ...CONFIG, source: "logins" }), { subjects: 0, woken: 1, orphans: 3, held: 2, ...NOBODY_ELSE });
  assert.deepEqual(await bench.listed(CLUSTER), [nameIn("u-late")]);
});

test("roles that are held are looked at where a person has allowed as many, and no more than these", async () => {
  const bench = benchOn(redis);
  await bench.import();
  const on = [impersonator(of("u-bound-1")), impersonator(of("u-bound-2"))];
  const logins = { ...CONFIG, source: "logins" } as const;
  assert.deepEqual((({ woken: count, held }) => [count, held])(await resynced(bench, on, new Bindings(), logins, 1)), [0, 2]);
  assert.deepEqual((({ woken: count, held }) => [count, held])(await resynced(bench, on, new Bindings(), logins, 2)), [2, 0]);
});

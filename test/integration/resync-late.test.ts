// A resync whose lists are older than a settlement: who was settled in between is judged by what stands now.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Bindings } from "../../producers/bindings.ts";
import { resync } from "../../producers/resync.ts";
import { appliedFrom } from "../../shared/decide/memory.ts";
import type { Wanted } from "../../shared/decide/objects.ts";
import type { Submission } from "../../shared/ledger/told.ts";
import { nameOf } from "../../shared/names.ts";
import { anIdentity, wanted } from "../support/builders.ts";
import { type Bench, DAY, aSettlement, benchOn, redisForFile, toldGrant } from "../support/ledger.ts";
import { ObjectModel, carryOut } from "../support/object-model.ts";
import { CLUSTER, ListedCluster, TEAM, aCrtb, bindingsAt, going, itemsOf, listing } from "../support/told.ts";

const { redis } = await redisForFile();
const CONFIG = { source: "rancher", install: "understudy", removalsMax: 0.2, profile: "strict", tokenMode: "secret", adopt: false } as const;
const user = "u-late";
const subject = { cluster: CLUSTER, user };
const name = nameOf(user);
const bare = wanted({ identity: anIdentity({ user }) });
const grown = wanted({ identity: anIdentity({ user, groups: [TEAM] }) });

/** A worker's whole run: what is told, written and settled. */
async function work(bench: Bench, model: ObjectModel, goal: Wanted | undefined, told: Submission = { grants: [toldGrant("1")] }): Promise<void> {
  await bench.ledger.submit(subject, told, "binding", "binding");
  const { me, record } = await bench.run(subject);
  carryOut(model, name, goal);
  model.collect();
  const outcome = goal ? { applied: appliedFrom(goal, model.seen(name)) } : ({ result: "removed", applied: undefined } as const);
  assert.equal(await bench.ledger.settle(subject, me, record, aSettlement(outcome)), "ok");
}

/** How many a resync wakes. */
async function resynced({ ledger }: Bench, client: ListedCluster, bindings = new Bindings()): Promise<number> {
  const { run } = await ledger.mark();
  try {
    return (await resync({ client, ledger, bindings, config: CONFIG, run }, going)).woken;
  } finally {
    await client.close();
  }
}

/** A resync during which something happens, after the lists have been read and before anything is judged. */
function resyncedAround(bench: Bench, model: ObjectModel, meanwhile: () => Promise<void>): Promise<number> {
  let happened: Promise<void> | undefined;
  const client = new ListedCluster(async (path, { fieldSelector, labelSelector }) => {
    if (fieldSelector || labelSelector?.toString().endsWith(name)) return itemsOf([model], path);
    const items = itemsOf([model], path);
    await (happened ??= Promise.resolve().then(meanwhile));
    return items;
  });
  return resynced(bench, client);
}

const lateWork: Readonly<Record<string, readonly [before: Wanted | undefined, then: Wanted | undefined]>> = {
  "set up": [undefined, bare],
  "given a group": [bare, grown],
  removed: [bare, undefined],
};
for (const [what, [before, then]] of Object.entries(lateWork)) {
  test(`whoever was ${what} after the lists were read is left alone, because they were just answered by what stands now`, async () => {
    const bench = benchOn(redis);
    await bench.import();
    const model = new ObjectModel();
    if (before) await work(bench, model, before);
    const woken = await resyncedAround(bench, model, () => work(bench, model, then, { grants: [toldGrant("2", "crtb:c-amber/b-2")] }));
    assert.equal(woken, 0);
    const record = (await bench.ledger.record(subject))!;
    assert.deepEqual([record.obs, record.look], [record.gen, false]);
  });
}

test("whoever was settled after the lists were read is looked at all the same where another hand has written since, because the worker looked before it did", async () => {
  const bench = benchOn(redis);
  await bench.import();
  const model = new ObjectModel();
  const woken = await resyncedAround(bench, model, async () => {
    await work(bench, model, bare);
    model.edit("ClusterRole", name, ({ rules }) => void rules!.push({ apiGroups: [""], resources: ["groups"], verbs: ["impersonate"], resourceNames: ["g"] }));
  });
  assert.equal(woken, 1);
  assert.equal((await bench.ledger.record(subject))!.look, true);
});

test("a first set-up that ends while its role is taken for a forgotten one is not looked at again, and the bindings of its groups are told", async () => {
  const bench = benchOn(redis);
  await bench.import();
  const model = new ObjectModel();
  const at = await bench.now();
  const goal = { ...grown, loginEnds: { at, end: at + 30 * DAY } };
  const bindings = bindingsAt("10", [aCrtb("team", { group: TEAM }, "5")], [user]);
  await bench.ledger.submit(subject, { login: goal.loginEnds }, "login", "login");
  const { me, record } = await bench.run(subject);
  carryOut(model, name, goal);
  // The resync has judged the record, and is about to tell of the role.
  const learn = bench.ledger.learn.bind(bench.ledger);
  bench.ledger.learn = async (...told) => {
    await bench.ledger.settle(subject, me, record, aSettlement({ applied: appliedFrom(goal, model.seen(name)) }));
    return learn(...told);
  };
  await resynced(bench, listing([model]), bindings);
  const after = (await bench.ledger.record(subject))!;
  assert.equal(after.look, false);
  assert.equal(after.candidates.length, 1);
});

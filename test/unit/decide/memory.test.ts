// What ledger and role remember of each other: a settled subject costs no call, a forgotten one keeps its names, and nobody's object is taken for ours.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubernetesObject, V1ClusterRole } from "@kubernetes/client-node";
import fc from "fast-check";
import { appliedFrom, holderOf, memoryOf, ownOnly, rememberedObjects, remembersAll } from "../../../shared/decide/memory.ts";
import type { Wanted } from "../../../shared/decide/objects.ts";
import { roleFor } from "../../../shared/decide/objects.ts";
import type { Seen } from "../../../shared/decide/plan.ts";
import { nextStep } from "../../../shared/decide/plan.ts";
import { namesIn } from "../../../shared/decide/rules.ts";
import type { Applied } from "../../../shared/ledger/record.ts";
import { nameOf } from "../../../shared/names.ts";
import { DAY_MS, NOW, aLogin, aPass, anIdentity, anyId, anyWanted, wanted } from "../../support/builders.ts";
import { ObjectModel, carryOut, says } from "../../support/object-model.ts";

const alice = wanted({ identity: anIdentity({ groups: ["g://1"], principalid: ["p"], username: ["Ann"] }), loginEnds: aLogin() });
const NAME = nameOf("u-alice");
const OURS = { install: "understudy", adopt: false };

/** A cluster on which this has been settled, and what the ledger then remembers of it. */
function settled(goal: Wanted = alice): { model: ObjectModel; seen: Seen; applied: Applied } {
  const model = new ObjectModel();
  const name = nameOf(goal.identity.user);
  carryOut(model, name, goal);
  const seen = model.seen(name);
  return { model, seen, applied: appliedFrom(goal, seen) };
}
/** As it comes back from Redis. */
const stored = (applied: Applied): Applied => JSON.parse(JSON.stringify(applied)) as Applied;

test("what was settled needs no step when it is remembered, so that an unchanged subject costs no call", () => {
  fc.assert(
    fc.property(anyWanted, (goal) => {
      const { applied } = settled(goal);
      assert.equal(nextStep(goal, rememberedObjects(stored(applied), goal.install), aPass()).do, "done");
    }),
  );
});

test("from what is remembered a change is the same step as from a fresh look, precondition and all, or it would overwrite another's", () => {
  fc.assert(
    fc.property(anyWanted, anyWanted, (before, next) => {
      const goal = { ...next, identity: { ...next.identity, user: before.identity.user }, install: before.install };
      const { seen, applied } = settled(before);
      const [remembered, looked] = [rememberedObjects(stored(applied), before.install), seen].map((known) => nextStep(goal, known, aPass()));
      assert.equal(says(remembered!), says(looked!));
      if (remembered!.do !== "change" || looked!.do !== "change") return;
      assert.equal(remembered!.object.metadata!.resourceVersion, looked!.object.metadata!.resourceVersion);
      assert.deepEqual(remembered!.object, looked!.object);
    }),
  );
});

test("what was settled in the other token mode is looked at before it is changed, because of an account the ledger remembers no version to refuse the change by", () => {
  fc.assert(
    fc.property(anyWanted, anyWanted, (before, next) => {
      const goal = { ...next, identity: { ...next.identity, user: before.identity.user }, install: before.install };
      const { applied } = settled(before);
      assert.equal(remembersAll(stored(applied), goal.tokenMode), goal.tokenMode === before.tokenMode);
      if (!remembersAll(stored(applied), goal.tokenMode)) return;
      const step = nextStep(goal, rememberedObjects(stored(applied), before.install), aPass());
      if (step.do === "change") assert.ok(step.object.metadata!.resourceVersion, says(step));
    }),
  );
});

test("a removal from what is remembered deletes just what was made, by uid, and the role by its version too", () => {
  const { model, seen, applied } = settled();
  const step = nextStep(undefined, rememberedObjects(stored(applied), "understudy"), aPass());
  assert.ok(step.do === "delete");
  assert.deepEqual([step.kind, step.uid, step.resourceVersion], ["ClusterRole", seen.role!.metadata!.uid, seen.role!.metadata!.resourceVersion]);
  for (const { kind, uid, name } of [step, ...remainingDeletes(applied)]) model.apply({ do: "delete", kind, uid, name, reason: "" });
  assert.equal(model.size, 0);
});
function remainingDeletes(applied: Applied) {
  const deletes = [];
  let known: Seen = { ...rememberedObjects(stored(applied), "understudy"), role: undefined };
  for (;;) {
    const step = nextStep(undefined, known, aPass({ absenceSeen: true }));
    if (step.do !== "delete") return deletes;
    deletes.push(step);
    if (step.kind === "Secret") known = { ...known, secrets: [] };
    else known = { ...known, [step.kind === "ServiceAccount" ? "account" : "binding"]: undefined };
  }
}

test("the end of the login grant that is remembered is the one on the role, while that is no reason to write", () => {
  const login = { at: NOW, end: NOW + 30 * DAY_MS };
  const renewed = { at: NOW + DAY_MS, end: NOW + 31 * DAY_MS };
  const { seen } = settled({ ...alice, loginEnds: login });
  assert.equal(appliedFrom({ ...alice, loginEnds: renewed }, seen).ends, login.end, "a day of thirty is not written, so the role still says the old end");
  const much = { at: NOW + 9 * DAY_MS, end: NOW + 39 * DAY_MS };
  assert.equal(appliedFrom({ ...alice, loginEnds: much }, seen).ends, much.end);
  assert.equal(settled({ ...alice, loginEnds: undefined }).applied.ends, 0);
});

test("what is still to be proved is remembered with it, and only then", () => {
  const { seen } = settled();
  const witness = { names: [{ resource: "groups", name: "g://1" }], allowed: true };
  assert.deepEqual(appliedFrom(alice, seen, witness).witness, witness);
  assert.ok(!("witness" in appliedFrom(alice, seen)));
});

test("a role of ours tells a ledger that forgot exactly the names that it allows, and until when", () => {
  fc.assert(
    fc.property(anyWanted, (goal) => {
      const { user, groups, principalid, username } = goal.identity;
      const memory = memoryOf(roleFor(goal), user, goal.install);
      assert.deepEqual(memory, { ends: goal.loginEnds?.end ?? 0, values: { groups, principalid, username } });
    }),
  );
});

test("a role tells no names beyond those that RBAC reads from it as impersonated, or a foreign rule would become an identity", () => {
  const role = roleFor(alice);
  const rules = [
    ...role.rules!,
    { verbs: ["get"], apiGroups: [""], resources: ["groups"], resourceNames: ["g://get"] },
    { verbs: ["impersonate"], apiGroups: ["apps"], resources: ["groups"], resourceNames: ["g://apps"] },
    { verbs: ["impersonate"], apiGroups: [""], resources: ["groups"] },
    { verbs: ["impersonate"], apiGroups: ["authentication.k8s.io"], resources: ["userextras/scopes"], resourceNames: ["s"] },
  ];
  const memory = memoryOf({ ...role, rules }, "u-alice", "understudy");
  assert.deepEqual(memory?.values, { groups: alice.identity.groups, principalid: ["p"], username: ["Ann"] });
  assert.ok(namesIn(rules).length > 0);
});

for (const [what, change] of Object.entries<(role: V1ClusterRole) => unknown>({
  "another user's": ({ metadata }) => (metadata!.annotations!["understudy.io/user"] = "u-eve"),
  "another installation's": ({ metadata }) => (metadata!.annotations!["understudy.io/install"] = "other"),
  "Rancher's": ({ metadata }) => (metadata!.annotations = {}),
  "nobody's": ({ metadata }) => Object.assign(metadata!, { annotations: {}, labels: {} }),
})) {
  test(`a role that is ${what} tells nothing, because its names are not for us to give`, () => {
    const role = JSON.parse(JSON.stringify(roleFor(alice))) as V1ClusterRole;
    change(role);
    assert.equal(memoryOf(role, "u-alice", "understudy"), undefined);
  });
}
test("a role that is not there tells nothing", () => assert.equal(memoryOf(undefined, "u-alice", "understudy"), undefined));

test("of a whole impersonator of ours everything is ours, and nothing stands in the way", () => {
  const { seen, applied } = settled();
  assert.deepEqual(ownOnly(seen, "u-alice", OURS, applied), { own: seen, inTheWay: undefined });
  assert.deepEqual(ownOnly(seen, "u-alice", OURS, undefined), { own: seen, inTheWay: undefined });
  const nothing: Seen = { secrets: [] };
  assert.deepEqual(ownOnly(nothing, "u-alice", OURS, undefined).inTheWay, undefined);
});

const KINDS = { ClusterRole: "role", ServiceAccount: "account", ClusterRoleBinding: "binding" } as const;
for (const [kind, field] of Object.entries(KINDS)) {
  const alone = (change: (object: KubernetesObject) => unknown): Seen => {
    const { seen } = settled();
    const object = seen[field]!;
    object.metadata!.ownerReferences = [];
    change(object);
    return { secrets: seen.secrets, [field]: object };
  };
  test(`a ${kind} with another installation's marks stands in the way as a foreign one, and is not ours to remove`, () => {
    const { own, inTheWay } = ownOnly(
      alone(({ metadata }) => (metadata!.annotations!["understudy.io/install"] = "other")),
      "u-alice",
      OURS,
      undefined,
    );
    assert.deepEqual([inTheWay, own[field]], [{ kind, holder: "foreign" }, undefined]);
  });
  test(`a ${kind} with Rancher's label and none of our marks stands in the way as Rancher's`, () => {
    const { own, inTheWay } = ownOnly(
      alone(({ metadata }) => (metadata!.annotations = { team: "blue" })),
      "u-alice",
      OURS,
      undefined,
    );
    assert.deepEqual([inTheWay, own[field]], [{ kind, holder: "rancher" }, undefined]);
  });
  test(`a ${kind} whose marks were cut off by hand is known by the uid that was recorded, so that a hand cannot take it away from us`, () => {
    const { applied } = settled();
    const seen = alone((object) => Object.assign(object.metadata!, { annotations: {}, labels: {} }));
    assert.deepEqual(ownOnly(seen, "u-alice", OURS, applied).inTheWay, undefined);
    assert.deepEqual(ownOnly(seen, "u-alice", OURS, undefined).inTheWay, { kind, holder: "foreign" });
  });
}

test("an unmarked child of our role is ours by its owner, also where the ledger forgot its uid", () => {
  const { seen } = settled();
  seen.binding!.metadata!.annotations = {};
  seen.account!.metadata!.annotations = {};
  assert.equal(ownOnly(seen, "u-alice", OURS, undefined).inTheWay, undefined);
});

test("the Secrets of a foreign account are not ours, whatever is written on them", () => {
  const { seen } = settled();
  Object.assign(seen.account!.metadata!, { annotations: {}, labels: {}, ownerReferences: [] });
  assert.deepEqual(ownOnly(seen, "u-alice", OURS, undefined).own.secrets, []);
});

test("nobody's object is ever ours by its name alone, because names can be chosen by anybody", () => {
  const marks = fc.record({
    user: fc.option(fc.oneof(fc.constant("u-alice"), anyId)),
    install: fc.option(fc.constantFrom("understudy", "other")),
    rancher: fc.boolean(),
  });
  fc.assert(
    fc.property(marks, ({ user, install, rancher }) => {
      const annotations = { ...(user === null ? {} : { "understudy.io/user": user }), ...(install === null ? {} : { "understudy.io/install": install }) };
      const labels = rancher ? { "authz.cluster.cattle.io/impersonator": "true" } : {};
      const holder = holderOf({ metadata: { name: NAME, uid: "uid-x", annotations, labels } }, "u-alice", OURS.install, new Set(["uid-y"]));
      const ours = user === "u-alice" && install === "understudy";
      assert.equal(holder, ours ? "ours" : rancher && user === null && install === null ? "rancher" : "foreign");
    }),
  );
});

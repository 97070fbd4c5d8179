// What of an impersonator's objects is drift, and what of it is tampering: by content. Whatever our own steps leave is none.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubernetesObject } from "@kubernetes/client-node";
import fc from "fast-check";
import { type Drift, driftIn, isLeftBehind, nameIn, userIn } from "../../../shared/decide/drift.ts";
import { appliedFrom } from "../../../shared/decide/memory.ts";
import type { Wanted } from "../../../shared/decide/objects.ts";
import { type Kind, KINDS } from "../../../shared/decide/plan.ts";
import type { Applied } from "../../../shared/ledger/record.ts";
import { nameOf } from "../../../shared/names.ts";
import { aLogin, aPass, anIdentity, anyWanted, wanted } from "../../support/builders.ts";
import { ObjectModel, carryOut } from "../../support/object-model.ts";
import { REF, damages } from "./damages.ts";

const LABEL = "authz.cluster.cattle.io/impersonator";
const GOAL = wanted({ identity: anIdentity({ groups: ["github_org://1"] }), loginEnds: aLogin() });

/** A finished impersonator, and what the record says of it. */
function finished(goal: Wanted, model = new ObjectModel(), nonce = "n1"): { model: ObjectModel; applied: Applied } {
  const name = nameOf(goal.identity.user);
  carryOut(model, name, goal, aPass({ nonce }));
  return { model, applied: appliedFrom(goal, model.seen(name)) };
}

type Shown = { kind: Kind; object: KubernetesObject; gone: boolean };
/** What the watches tell between two states: all but Secrets are selected by the label, so what lost it is told as gone. */
function told(before: readonly Shown[], model: ObjectModel): Shown[] {
  const now = KINDS.flatMap((kind) => model.all(kind).map((object) => ({ kind, object, gone: false })));
  const shown = now.filter(({ kind, object }) => kind === "Secret" || object.metadata?.labels?.[LABEL] === "true");
  const stays = ({ object }: Shown): boolean => shown.some((one) => one.object.metadata!.uid === object.metadata!.uid);
  return [...before.filter((one) => !stays(one)).map((one) => ({ ...one, gone: true })), ...shown];
}
const driftsOf = (sights: readonly Shown[], goal: Wanted, applied: Applied): Drift[] =>
  sights.map((sight) => driftIn(sight, goal.identity.user, applied, goal.install)).filter((drift) => drift !== undefined);

/** By the names of damages.ts; of the Secret the type, which cannot be changed, and contents stay unseen. */
const NO_DRIFT = /has a foreign note|rules are permuted|was sealed|is of another type/;
const TAMPERING =
  /extra rule|extra path|extra group|every user|role aggregates|role is aggregated|there (is|are) .*stray|another subject|second subject|is of another role|is of a Role/;

for (const [what, damage] of Object.entries(damages)) {
  const verdict = NO_DRIFT.test(what) ? "no drift" : TAMPERING.test(what) ? "drift, and tampering" : "drift, and no tampering";
  test(`${what}: ${verdict}, because a look costs calls and a lost event costs a person's safety`, () => {
    const { model, applied } = finished(GOAL);
    const before = told([], model);
    damage(model, nameOf(GOAL.identity.user));
    const drifts = driftsOf(told(before, model), GOAL, applied);
    assert.equal(drifts.length > 0, verdict !== "no drift", JSON.stringify(drifts));
    assert.equal(
      drifts.some(({ tampering }) => tampering !== undefined),
      verdict === "drift, and tampering",
      JSON.stringify(drifts),
    );
  });
}

test("what a cluster shows after our own steps is never drift, whatever was there before, or every login would be followed by a look", () => {
  fc.assert(
    fc.property(anyWanted, fc.array(anyWanted, { maxLength: 2 }), (first, others) => {
      const { user } = first.identity;
      let { model, applied } = finished(first);
      for (const [i, other] of others.entries()) {
        const goal = { ...other, install: first.install, identity: { ...other.identity, user } };
        const before = told([], model);
        ({ model, applied } = finished(goal, model, `n${i + 2}`));
        assert.deepEqual(driftsOf(told(before, model), goal, applied), []);
      }
      assert.deepEqual(driftsOf(told([], model), first, applied), []);
    }),
  );
});

test("any single damage to any impersonator is drift, or nothing that anybody could do more or less by", () => {
  const memory = ["role remembers another login", "role remembers nonsense"]; // none where the role remembers none
  const names = Object.keys(damages).filter((what) => !NO_DRIFT.test(what) && !memory.includes(what));
  fc.assert(
    fc.property(anyWanted, fc.constantFrom(...names), (goal, what) => {
      const { model, applied } = finished(goal);
      const before = told([], model);
      const content = (sights: readonly Shown[]): string => JSON.stringify(sights).replace(/"resourceVersion":"\d+"/g, "");
      damages[what]!(model, nameOf(goal.identity.user));
      const after = told(before, model);
      // Nothing was there to be damaged: the Secret of an account whose tokens are requested.
      if (content(after) === content(before)) return;
      assert.ok(driftsOf(after, goal, applied).length > 0, what);
    }),
  );
});

test("an object that was deleted and made anew is drift by its uid alone, and tampering where it was widened on the way", () => {
  const { model, applied } = finished(GOAL);
  const [role] = model.all("ClusterRole");
  const anew = { ...role!, metadata: { ...role!.metadata, uid: "uid-of-another" } };
  const see = (object: KubernetesObject) => driftIn({ kind: "ClusterRole", object, gone: false }, GOAL.identity.user, applied, GOAL.install);
  assert.deepEqual(see(anew), { what: "another object stands in its place" });
  const wider = see({ ...anew, rules: [{ verbs: ["impersonate"], apiGroups: [""], resources: ["users"] }] } as KubernetesObject);
  assert.equal(wider?.what, "another object stands in its place");
  assert.match(wider?.tampering ?? "", /users/);
  // The end of an object that stood there before is no news of ours.
  assert.equal(driftIn({ kind: "ClusterRole", object: anew, gone: true }, GOAL.identity.user, applied, GOAL.install), undefined);
});

test("the account of this name in another namespace is somebody else, because a binding means the one that it names", () => {
  const { model, applied } = finished(GOAL);
  const [binding] = model.all("ClusterRoleBinding");
  const object = { ...binding!, subjects: [{ ...binding!.subjects![0]!, namespace: "default" }] };
  const drift = driftIn({ kind: "ClusterRoleBinding", object, gone: false }, GOAL.identity.user, applied, GOAL.install);
  assert.match(drift?.tampering ?? "", /ServiceAccount cattle-impersonation-u-alice/);
});

test("a Secret is known by its account, not by its name, and names the stray that no label leads to", () => {
  const { applied } = finished(GOAL);
  const metadata = { name: "evil", annotations: { "kubernetes.io/service-account.name": "cattle-impersonation-u-alice" } };
  const sight = { kind: "Secret", object: { metadata }, gone: false } as const;
  assert.equal(userIn(sight), "u-alice");
  assert.equal(driftIn(sight, "u-alice", applied, GOAL.install)?.stray, "evil");
  assert.equal(driftIn({ ...sight, gone: true }, "u-alice", applied, GOAL.install), undefined);
  const other = { ...sight, object: { metadata: { ...metadata, annotations: { "kubernetes.io/service-account.name": "default" } } } };
  assert.equal(driftIn(other, "u-alice", applied, GOAL.install), undefined);
});

test("the last Secret of ours is looked at and is no tampering, because a new one may be settled before the watch has told of its end", () => {
  const { applied } = finished(GOAL);
  const annotations = { "kubernetes.io/service-account.name": "cattle-impersonation-u-alice" };
  const driftOf = (...managers: readonly string[]) => {
    const metadata = { name: "cattle-impersonation-u-alice-token-old", annotations, managedFields: managers.map((manager) => ({ manager })) };
    return driftIn({ kind: "Secret", object: { metadata }, gone: false }, "u-alice", applied, GOAL.install);
  };
  const ours = driftOf("understudy", "kube-controller-manager");
  assert.deepEqual([ours?.stray, ours?.tampering], ["cattle-impersonation-u-alice-token-old", undefined]);
  assert.match(driftOf("kubectl-create", "kube-controller-manager")?.tampering ?? "", /^Secret \S+-token-old held a token of the account$/);
});

test("whose an object is says its mark where that fits the name, else the name; a slug without its mark says only that it is an impersonator's", () => {
  const role = (name: string, annotations = {}) => ({ kind: "ClusterRole", object: { metadata: { name, annotations } } }) as const;
  const slug = nameOf("Alice@Example.com");
  assert.equal(userIn(role(slug, { "understudy.io/user": "Alice@Example.com" })), "Alice@Example.com");
  assert.equal(userIn(role("cattle-impersonation-u-alice", { "understudy.io/user": "u-eve" })), "u-alice");
  assert.equal(userIn(role(slug)), undefined);
  assert.equal(nameIn(role(slug)), slug);
  const stray = { kind: "Secret", object: { metadata: { name: "x", annotations: { "kubernetes.io/service-account.name": slug } } } } as const;
  assert.deepEqual([userIn(stray), nameIn(stray)], [undefined, slug]);
});

test("only a standing object with our marks counts as left behind after a removal, because others may use the name then", () => {
  const { model } = finished(GOAL);
  const [object] = model.all("ClusterRole");
  assert.equal(isLeftBehind({ kind: "ClusterRole", object: object!, gone: false }, "u-alice", "understudy"), true);
  assert.equal(isLeftBehind({ kind: "ClusterRole", object: object!, gone: true }, "u-alice", "understudy"), false);
  assert.equal(isLeftBehind({ kind: "ClusterRole", object: object!, gone: false }, "u-alice", "other"), false);
  const unmarked = { metadata: { name: "cattle-impersonation-u-alice", labels: { [LABEL]: "true" } } };
  assert.equal(isLeftBehind({ kind: "ClusterRole", object: unmarked, gone: false }, "u-alice", "understudy"), false);
});

test("an account whose tokens are requested drifts when it names a Secret, because a Secret made by that name would be taken for its own", () => {
  const goal = { ...GOAL, tokenMode: "request" } as const;
  const { model, applied } = finished(goal);
  const [account] = model.all("ServiceAccount");
  const see = (object: KubernetesObject) => driftIn({ kind: "ServiceAccount", object, gone: false }, "u-alice", applied, goal.install);
  assert.equal(see(account!), undefined);
  const annotations = { ...account!.metadata!.annotations, [REF]: "cattle-impersonation-system/cattle-impersonation-u-alice-token-x" };
  assert.ok(see({ ...account!, metadata: { ...account!.metadata, annotations } }));
});

// Whatever a cluster looks like, a plan ends, and then the cluster is exactly what is wanted. Judged by a small model of an API server.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubernetesObject, V1ObjectMeta, V1OwnerReference, V1PolicyRule } from "@kubernetes/client-node";
import fc from "fast-check";
import type { Wanted } from "../../../shared/decide/objects.ts";
import type { Kind, Pass, Step } from "../../../shared/decide/plan.ts";
import { KINDS, nextStep } from "../../../shared/decide/plan.ts";
import { rulesFor, sameRules } from "../../../shared/decide/rules.ts";
import { nameOf } from "../../../shared/names.ts";
import { aPass, anIdentity, anyWanted, sorted } from "../../support/builders.ts";
import { Conflict, ObjectModel, Revived, carryOut, note, says } from "../../support/object-model.ts";
import { mayImpersonate, mayUse } from "../../support/rbac.ts";

// What a foreign hand, a half-done pass, or a garbage collector may leave ------------------------------------------------------------------------------------

type Damage = (model: ObjectModel, name: string) => void;
const anOwner: V1OwnerReference = { apiVersion: "v1", kind: "ConfigMap", name: "x", uid: "uid-of-another" };
const REF = "rancher.io/service-account.secret-ref";
const NAMESPACE = "cattle-impersonation-system";

/** Edits one object of a kind; of the Secrets the first. */
const at = <K extends Kind>(kind: K, change: Parameters<typeof ObjectModel.prototype.edit<K>>[2]): Damage => (model, name) => {
  const target = kind === "Secret" ? model.all("Secret")[0]?.metadata!.name : name;
  if (target !== undefined) model.edit(kind, target, change);
};
const meta = (kind: Kind, change: (metadata: V1ObjectMeta) => void): Damage => at(kind, (object) => change(object.metadata!));
const annotation = (kind: Kind, key: string, value: string | undefined): Damage => meta(kind, (metadata) => {
  metadata.annotations = { ...metadata.annotations, ...(value === undefined ? {} : { [key]: value }) };
  if (value === undefined) delete metadata.annotations[key];
});
const everyKind: readonly Kind[] = ["ClusterRole", "ServiceAccount", "Secret", "ClusterRoleBinding"];
const children: readonly Kind[] = ["ServiceAccount", "Secret", "ClusterRoleBinding"];

const damages: Readonly<Record<string, Damage>> = {
  ...Object.fromEntries(everyKind.flatMap((kind): [string, Damage][] => [
    [`${kind} is gone`, (model, name) => void model.all(kind).forEach(({ metadata }) => (kind === "Secret" || metadata!.name === name) && model.drop(kind, metadata!.name!))],
    [`${kind} lost its labels`, meta(kind, (metadata) => void delete metadata.labels)],
    [`${kind} is another user's`, annotation(kind, "understudy.io/user", "u-eve")],
    [`${kind} lost its install`, annotation(kind, "understudy.io/install", undefined)],
    [`${kind} has a foreign note`, annotation(kind, "team", "blue")],
  ])),
  ...Object.fromEntries(children.flatMap((kind): [string, Damage][] => [
    [`${kind} has a wrong owner`, meta(kind, (metadata) => void (metadata.ownerReferences = [anOwner]))],
    [`${kind} has no owner`, meta(kind, (metadata) => void delete metadata.ownerReferences)],
    [`${kind} has a second owner`, meta(kind, (metadata) => void (metadata.ownerReferences = [...(metadata.ownerReferences ?? []), anOwner]))],
    [`${kind} has another first owner`, meta(kind, (metadata) => void (metadata.ownerReferences = [anOwner, ...(metadata.ownerReferences ?? [])]))],
  ])),
  "role has an owner": meta("ClusterRole", (metadata) => void (metadata.ownerReferences = [anOwner])),
  "role has an extra rule": at("ClusterRole", (role) => void (role.rules ??= []).push({ verbs: ["*"], apiGroups: ["*"], resources: ["*"] })),
  "role has an extra path": at("ClusterRole", (role) => void (role.rules ??= []).push({ verbs: ["get"], nonResourceURLs: ["*"] })),
  "role has an extra group": at("ClusterRole", (role) => void (role.rules ??= []).push({ verbs: ["impersonate"], apiGroups: [""], resources: ["groups"], resourceNames: ["system:masters\u0001"] })),
  "role allows every user": at("ClusterRole", (role) => void delete role.rules?.[0]?.resourceNames),
  "role lost a rule": at("ClusterRole", (role) => void role.rules?.pop()),
  "role lost its rules": at("ClusterRole", (role) => void delete role.rules),
  "role's rules are permuted": at("ClusterRole", (role) => void role.rules?.reverse()),
  "role aggregates": at("ClusterRole", (role) => void (role.aggregationRule = { clusterRoleSelectors: [{}] })),
  "role is aggregated": meta("ClusterRole", (metadata) => void (metadata.labels = { ...metadata.labels, "rbac.authorization.k8s.io/aggregate-to-admin": "true" })),
  "role was sealed": annotation("ClusterRole", "understudy.io/sealed-by", "run-0"),
  "role remembers another login": annotation("ClusterRole", "understudy.io/login-ends", "2030-01-01T00:00:00.000Z"),
  "role remembers nonsense": annotation("ClusterRole", "understudy.io/login-ends", "soon"),
  "account is mounted": at("ServiceAccount", (account) => void (account.automountServiceAccountToken = true)),
  "account names no Secret": annotation("ServiceAccount", REF, undefined),
  "account names a missing Secret": (model, name) => annotation("ServiceAccount", REF, `${NAMESPACE}/${name}-token-lost`)(model, name),
  "account names a stray Secret": (model, name) => annotation("ServiceAccount", REF, `${NAMESPACE}/${name}-token-stray`)(model, name),
  "account names another's Secret": annotation("ServiceAccount", REF, `${NAMESPACE}/cattle-impersonation-u-eve-token-n1`),
  "account names nonsense": annotation("ServiceAccount", REF, "///"),
  "Secret is of another type": at("Secret", (secret) => void (secret.type = "Opaque")),
  "Secret is of another account": annotation("Secret", "kubernetes.io/service-account.uid", "uid-of-another"),
  "there is a stray Secret": (model) => stray(model, "stray"),
  "there are more stray Secrets": (model) => ["a", "b", "c"].forEach((nonce) => stray(model, nonce)),
  "binding has no subject": at("ClusterRoleBinding", (binding) => void delete binding.subjects),
  "binding has another subject": at("ClusterRoleBinding", (binding) => void (binding.subjects = [{ kind: "ServiceAccount", name: "default", namespace: "default" }])),
  "binding has a second subject": at("ClusterRoleBinding", (binding) => void (binding.subjects = [...(binding.subjects ?? []), { kind: "User", name: "u-eve", apiGroup: "rbac.authorization.k8s.io" }])),
  "binding is of another role": at("ClusterRoleBinding", (binding) => void (binding.roleRef.name = "cluster-admin")),
  "binding is of a Role": at("ClusterRoleBinding", (binding) => void (binding.roleRef.kind = "Role")),
};

function stray(model: ObjectModel, nonce: string): void {
  const [secret] = model.all("Secret");
  if (secret?.metadata?.name === undefined) return;
  try {
    model.create("Secret", { ...secret, metadata: { ...secret.metadata, name: secret.metadata.name.replace(/-token-\w+$/, `-token-${nonce}`) } });
  } catch (error) {
    if (!(error instanceof Conflict || error instanceof Revived)) throw error;
  }
}

const someDamages = fc.array(fc.constantFrom(...Object.keys(damages)), { maxLength: 6 });
/** Where a run begins: nothing, a whole impersonator, or a whole one of yesterday's identity, and then the damages. */
const aStart = fc.record({ built: fc.constantFrom("nothing", "whole", "yesterday's"), broken: someDamages, collected: fc.boolean() });
type Start = typeof aStart extends fc.Arbitrary<infer T> ? T : never;

function modelFrom({ built, broken, collected }: Start, goal: Wanted): ObjectModel {
  const model = new ObjectModel();
  const name = nameOf(goal.identity.user);
  const yesterday = { ...goal, identity: anIdentity({ user: goal.identity.user, groups: ["github_org://yesterday"] }) };
  if (built !== "nothing") carryOut(model, name, built === "whole" ? goal : yesterday, aPass({ nonce: "n0" }));
  for (const what of broken) damages[what]!(model, name);
  if (collected) model.collect();
  return model;
}

/** The whole truth about a finished impersonator, without the product's own comparisons. */
function assertExactly(model: ObjectModel, goal: Wanted): void {
  const { user, groups, principalid, username } = goal.identity;
  const name = nameOf(user);
  const { role, account, secrets, binding } = model.seen(name);
  assert.deepEqual([model.all("ClusterRole").length, model.all("ServiceAccount").length, model.all("Secret").length, model.all("ClusterRoleBinding").length], [1, 1, 1, 1]);
  assert.ok(mayImpersonate(role!.rules, { user, groups, extras: { principalid, username } }));
  assert.ok(!mayImpersonate(role!.rules, { user: "u-eve" }) && !mayImpersonate(role!.rules, { user, groups: ["system:masters\u0001"] }) && !mayUse(role!.rules, { verb: "get", apiGroup: "", resource: "secrets", name: "x" }));
  assert.deepEqual(sorted(role!.rules!.map((rule) => JSON.stringify(rule))), sorted(rulesFor(goal.identity, goal.profile).map((rule) => JSON.stringify(rule))));
  assert.equal(role!.aggregationRule, undefined);
  assert.ok(!Object.keys(role!.metadata!.labels!).some((label) => label.startsWith("rbac.")));
  const end = Date.parse(role!.metadata!.annotations!["understudy.io/login-ends"] ?? ""); // what is no time is no memory
  assert.equal(Number.isNaN(end), goal.loginEnds === undefined);
  if (goal.loginEnds) assert.ok(end <= goal.loginEnds.end && end >= goal.loginEnds.end - (goal.loginEnds.end - goal.loginEnds.at) / 10);
  for (const object of [role, account, secrets[0], binding] as KubernetesObject[]) {
    assert.equal(object.metadata!.labels!["authz.cluster.cattle.io/impersonator"], "true");
    assert.deepEqual([object.metadata!.annotations!["understudy.io/user"], object.metadata!.annotations!["understudy.io/install"]], [user, goal.install]);
  }
  const owners = (object: KubernetesObject | undefined): unknown[] => (object!.metadata!.ownerReferences ?? []).map(({ kind, uid }) => [kind, uid]);
  assert.deepEqual([owners(role), owners(account), owners(binding)], [[], [["ClusterRole", role!.metadata!.uid]], [["ClusterRole", role!.metadata!.uid]]]);
  assert.deepEqual(owners(secrets[0]), [["ServiceAccount", account!.metadata!.uid]]);
  assert.equal(account!.metadata!.annotations![REF], `${NAMESPACE}/${secrets[0]!.metadata!.name}`);
  assert.equal(account!.automountServiceAccountToken, false);
  assert.equal(secrets[0]!.type, "kubernetes.io/service-account-token");
  assert.deepEqual(["name", "uid"].map((key) => secrets[0]!.metadata!.annotations![`kubernetes.io/service-account.${key}`]), [name, account!.metadata!.uid]);
  assert.deepEqual(binding!.subjects, [{ kind: "ServiceAccount", name, namespace: NAMESPACE }]);
  assert.deepEqual(binding!.roleRef, { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name });
}

const roleIsRight = (rules: V1PolicyRule[] | undefined, goal: Wanted): boolean => sameRules(rules, rulesFor(goal.identity, goal.profile));
const runs = { numRuns: 100 };

test("from any state a pass ends with exactly the wanted impersonator, and the next one finds nothing to do", () => {
  fc.assert(fc.property(anyWanted, aStart, fc.boolean(), (goal, start, takeover) => {
    const model = modelFrom(start, goal);
    const name = nameOf(goal.identity.user);
    carryOut(model, name, goal, aPass({ takeover }));
    assertExactly(model, goal);
    assert.deepEqual(carryOut(model, name, goal, aPass({ nonce: "n2" })), []);
    model.collect();
    assertExactly(model, goal);
  }), { numRuns: 200 });
});

test("each single damage is mended, whatever else stands", () => {
  fc.assert(fc.property(anyWanted, (goal) => {
    for (const what of Object.keys(damages)) {
      const model = modelFrom({ built: "whole", broken: [what], collected: false }, goal);
      carryOut(model, nameOf(goal.identity.user), goal);
      assertExactly(model, goal);
    }
  }), { numRuns: 4 });
});

test("from any state a removal leaves nothing of ours, and takes the role first", () => {
  fc.assert(fc.property(anyWanted, aStart, (goal, start) => {
    const model = modelFrom(start, goal);
    const had = model.seen(nameOf(goal.identity.user)).role;
    const steps = carryOut(model, nameOf(goal.identity.user), undefined);
    if (had) assert.deepEqual(steps[0], { ...steps[0], do: "delete", kind: "ClusterRole", uid: had.metadata!.uid, resourceVersion: had.metadata!.resourceVersion });
    assert.equal(steps.filter((step) => "kind" in step && step.do !== "delete").length, 0);
    assert.equal(model.size, 0);
  }), runs);
});

test("the binding is written only after a check, onto a right role, account and Secret, because its presence says that all is there", () => {
  fc.assert(fc.property(anyWanted, aStart, fc.boolean(), (goal, start, takeover) => {
    let checked = false;
    carryOut(modelFrom(start, goal), nameOf(goal.identity.user), goal, aPass({ takeover }), (step, seen) => {
      if (step.do === "check") checked = true;
      if ("kind" in step && step.kind === "ClusterRole") checked = false;
      if (!("kind" in step) || step.kind !== "ClusterRoleBinding" || step.do === "delete") return;
      assert.ok(checked, "the ledger was asked since the role was written");
      assert.ok(roleIsRight(seen.role?.rules, goal), "the role is right");
      assert.ok(seen.account && seen.secrets.some(({ metadata }) => seen.account!.metadata!.annotations![REF] === `${NAMESPACE}/${metadata!.name}`), "the account has its Secret");
    });
  }), runs);
});

test("a role comes only when no child of an earlier one is left, because it would be in force at once", () => {
  fc.assert(fc.property(anyWanted, aStart, (goal, start) => {
    carryOut(modelFrom(start, goal), nameOf(goal.identity.user), goal, aPass(), (step, seen) => {
      if (says(step) === "create ClusterRole") assert.deepEqual([seen.account, seen.binding, seen.secrets], [undefined, undefined, []]);
    });
  }), runs);
});

test("a run that takes over writes the role exactly once, from any state", () => {
  fc.assert(fc.property(anyWanted, aStart, (goal, start) => {
    const steps = carryOut(modelFrom(start, goal), nameOf(goal.identity.user), goal, aPass({ takeover: true, me: "run-2" }));
    assert.equal(steps.filter((step) => "kind" in step && step.kind === "ClusterRole" && step.do !== "delete").length, 1);
  }), runs);
});

// Others at work at the same time ----------------------------------------------------------------------------------------------------------------------------

/** A run that works on what it saw, until a conflict makes it look again; as a worker does. */
class Racer {
  readonly #model: ObjectModel;
  readonly #goal: Wanted;
  #pass: Pass;
  #passes = 0;
  readonly #me: string;
  constructor(model: ObjectModel, goal: Wanted, me: string) {
    this.#model = model;
    this.#goal = goal;
    this.#me = me;
    this.#pass = this.#freshPass();
  }
  #freshPass(): Pass {
    return aPass({ me: this.#me, nonce: `${this.#me}${this.#passes++}` });
  }
  /** Decides on what it sees now; the returned function acts, by when others may have acted. */
  decide(): () => void {
    const seen = this.#model.seen(nameOf(this.#goal.identity.user));
    const step: Step = nextStep(this.#goal, seen, this.#pass);
    return () => {
      try {
        if ("kind" in step) this.#model.apply(step);
        note(this.#pass, step, seen);
      } catch (error) {
        if (!(error instanceof Conflict)) throw error;
        this.#pass = this.#freshPass();
      }
    };
  }
}

test("runs that race, in any order, leave one impersonator with one Secret after the last of them", () => {
  fc.assert(fc.property(anyWanted, fc.array(fc.tuple(fc.nat({ max: 2 }), fc.boolean()), { maxLength: 40 }), (goal, schedule) => {
    const model = new ObjectModel();
    const racers = ["a", "b", "c"].map((me) => new Racer(model, goal, me));
    const acts: ((() => void) | undefined)[] = [undefined, undefined, undefined];
    for (const [who, acting] of schedule) {
      if (acting) acts[who]?.();
      acts[who] = racers[who]!.decide();
    }
    carryOut(model, nameOf(goal.identity.user), goal, aPass({ nonce: "last" }));
    assertExactly(model, goal);
  }), runs);
});

test("a foreign hand between look and write meets a precondition, and the next passes still end right", () => {
  fc.assert(fc.property(anyWanted, aStart, fc.array(fc.option(fc.constantFrom(...Object.keys(damages)), { nil: undefined }), { maxLength: 25 }), (goal, start, hands) => {
    const model = modelFrom(start, goal);
    const racer = new Racer(model, goal, "a");
    for (const hand of hands) {
      const act = racer.decide();
      if (hand) damages[hand]!(model, nameOf(goal.identity.user));
      try {
        act();
      } catch (error) {
        // A Secret that this very pass made and somebody else deleted keeps its name by design; everything else may not.
        if (!(error instanceof Revived)) throw error;
        return;
      }
    }
    carryOut(model, nameOf(goal.identity.user), goal, aPass({ nonce: "last" }));
    assertExactly(model, goal);
  }), runs);
});

test("every kind of object has a damage here, so that this file keeps up with the product", () => {
  for (const kind of KINDS) assert.ok(Object.keys(damages).some((what) => what.startsWith(kind)), kind);
});

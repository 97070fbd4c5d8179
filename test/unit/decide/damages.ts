// What a foreign hand, a half-done pass or the garbage collector may leave of an impersonator, and what a finished one is: for the tests of plans.
import assert from "node:assert/strict";
import type { KubernetesObject, V1ObjectMeta, V1OwnerReference } from "@kubernetes/client-node";
import fc from "fast-check";
import type { Wanted } from "../../../shared/decide/objects.ts";
import type { Kind } from "../../../shared/decide/plan.ts";
import { rulesFor } from "../../../shared/decide/rules.ts";
import { nameOf } from "../../../shared/names.ts";
import { aPass, anIdentity, sorted } from "../../support/builders.ts";
import { Conflict, ObjectModel, Revived, carryOut } from "../../support/object-model.ts";
import { mayImpersonate, mayUse } from "../../support/rbac.ts";

export type Damage = (model: ObjectModel, name: string) => void;
const anOwner: V1OwnerReference = { apiVersion: "v1", kind: "ConfigMap", name: "x", uid: "uid-of-another" };
export const REF = "rancher.io/service-account.secret-ref";
export const NAMESPACE = "cattle-impersonation-system";

/** Edits one object of a kind; of the Secrets the first. */
const at =
  <K extends Kind>(kind: K, change: Parameters<typeof ObjectModel.prototype.edit<K>>[2]): Damage =>
  (model, name) => {
    const target = kind === "Secret" ? model.all("Secret")[0]?.metadata!.name : name;
    if (target !== undefined) model.edit(kind, target, change);
  };
const meta = (kind: Kind, change: (metadata: V1ObjectMeta) => void): Damage => at(kind, (object) => change(object.metadata!));
const annotation = (kind: Kind, key: string, value: string | undefined): Damage =>
  meta(kind, (metadata) => {
    metadata.annotations = { ...metadata.annotations, ...(value === undefined ? {} : { [key]: value }) };
    if (value === undefined) delete metadata.annotations[key];
  });
const everyKind: readonly Kind[] = ["ClusterRole", "ServiceAccount", "Secret", "ClusterRoleBinding"];
const children: readonly Kind[] = ["ServiceAccount", "Secret", "ClusterRoleBinding"];

export const damages: Readonly<Record<string, Damage>> = {
  ...Object.fromEntries(
    everyKind.flatMap((kind): [string, Damage][] => [
      [
        `${kind} is gone`,
        (model, name) => model.all(kind).forEach(({ metadata }) => (kind === "Secret" || metadata!.name === name) && model.drop(kind, metadata!.name!)),
      ],
      [`${kind} lost its labels`, meta(kind, (metadata) => void delete metadata.labels)],
      [`${kind} is another user's`, annotation(kind, "understudy.io/user", "u-eve")],
      [`${kind} lost its install`, annotation(kind, "understudy.io/install", undefined)],
      [`${kind} has a foreign note`, annotation(kind, "team", "blue")],
    ]),
  ),
  ...Object.fromEntries(
    children.flatMap((kind): [string, Damage][] => [
      [`${kind} has a wrong owner`, meta(kind, (metadata) => void (metadata.ownerReferences = [anOwner]))],
      [`${kind} has no owner`, meta(kind, (metadata) => void delete metadata.ownerReferences)],
      [`${kind} has a second owner`, meta(kind, (metadata) => void (metadata.ownerReferences = [...(metadata.ownerReferences ?? []), anOwner]))],
      [`${kind} has another first owner`, meta(kind, (metadata) => void (metadata.ownerReferences = [anOwner, ...(metadata.ownerReferences ?? [])]))],
    ]),
  ),
  "role has an owner": meta("ClusterRole", (metadata) => void (metadata.ownerReferences = [anOwner])),
  "role has an extra rule": at("ClusterRole", (role) => void (role.rules ??= []).push({ verbs: ["*"], apiGroups: ["*"], resources: ["*"] })),
  "role has an extra path": at("ClusterRole", (role) => void (role.rules ??= []).push({ verbs: ["get"], nonResourceURLs: ["*"] })),
  "role has an extra group": at(
    "ClusterRole",
    (role) => void (role.rules ??= []).push({ verbs: ["impersonate"], apiGroups: [""], resources: ["groups"], resourceNames: ["system:masters\u0001"] }),
  ),
  "role allows every user": at("ClusterRole", (role) => void delete role.rules?.[0]?.resourceNames),
  "role lost a rule": at("ClusterRole", (role) => void role.rules?.pop()),
  "role lost its rules": at("ClusterRole", (role) => void delete role.rules),
  "role's rules are permuted": at("ClusterRole", (role) => void role.rules?.reverse()),
  "role aggregates": at("ClusterRole", (role) => void (role.aggregationRule = { clusterRoleSelectors: [{}] })),
  "role is aggregated": meta(
    "ClusterRole",
    (metadata) => void (metadata.labels = { ...metadata.labels, "rbac.authorization.k8s.io/aggregate-to-admin": "true" }),
  ),
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
  "binding has another subject": at(
    "ClusterRoleBinding",
    (binding) => void (binding.subjects = [{ kind: "ServiceAccount", name: "default", namespace: "default" }]),
  ),
  "binding has a second subject": at(
    "ClusterRoleBinding",
    (binding) => void (binding.subjects = [...(binding.subjects ?? []), { kind: "User", name: "u-eve", apiGroup: "rbac.authorization.k8s.io" }]),
  ),
  "binding is of another role": at("ClusterRoleBinding", (binding) => void (binding.roleRef.name = "cluster-admin")),
  "binding is of a Role": at("ClusterRoleBinding", (binding) => void (binding.roleRef.kind = "Role")),
};

function stray(model: ObjectModel, nonce: string): void {
  const [account] = model.all("ServiceAccount");
  if (account === undefined) return;
  const { name, uid } = account.metadata!;
  const metadata: V1ObjectMeta = {
    name: `${name}-token-${nonce}`,
    namespace: NAMESPACE,
    labels: { "cattle.io/service-account.name": name! },
    annotations: { "kubernetes.io/service-account.name": name!, "kubernetes.io/service-account.uid": uid! },
    ownerReferences: [{ apiVersion: "v1", kind: "ServiceAccount", name: name!, uid: uid! }],
  };
  try {
    model.create("Secret", { apiVersion: "v1", kind: "Secret", type: "kubernetes.io/service-account-token", metadata } as KubernetesObject);
  } catch (error) {
    if (!(error instanceof Conflict || error instanceof Revived)) throw error;
  }
}

const someDamages = fc.array(fc.constantFrom(...Object.keys(damages)), { maxLength: 6 });
/** Where a run begins: nothing, a whole impersonator, or a whole one of yesterday's identity or token mode, and then the damages. */
export const aStart = fc.record({
  built: fc.constantFrom("nothing", "whole", "yesterday's", "the other mode's"),
  broken: someDamages,
  collected: fc.boolean(),
});
export type Start = typeof aStart extends fc.Arbitrary<infer T> ? T : never;

export function modelFrom({ built, broken, collected }: Start, goal: Wanted): ObjectModel {
  const model = new ObjectModel();
  const name = nameOf(goal.identity.user);
  const yesterday = { ...goal, identity: anIdentity({ user: goal.identity.user, groups: ["github_org://yesterday"] }) };
  const otherMode = { ...goal, tokenMode: goal.tokenMode === "secret" ? "request" : "secret" } as const;
  const was = { whole: goal, "yesterday's": yesterday, "the other mode's": otherMode };
  if (built !== "nothing") carryOut(model, name, was[built], aPass({ nonce: "n0" }));
  for (const what of broken) damages[what]!(model, name);
  if (collected) model.collect();
  return model;
}

/** The whole truth about a finished impersonator, without the product's own comparisons. */
export function assertExactly(model: ObjectModel, goal: Wanted): void {
  const { user, groups, principalid, username } = goal.identity;
  const name = nameOf(user);
  const { role, account, secrets, binding } = model.seen(name);
  assert.deepEqual(
    [model.all("ClusterRole").length, model.all("ServiceAccount").length, model.all("Secret").length, model.all("ClusterRoleBinding").length],
    [1, 1, goal.tokenMode === "secret" ? 1 : 0, 1],
  );
  assert.ok(mayImpersonate(role!.rules, { user, groups, extras: { principalid, username } }));
  assert.ok(
    !mayImpersonate(role!.rules, { user: "u-eve" }) &&
      !mayImpersonate(role!.rules, { user, groups: ["system:masters\u0001"] }) &&
      !mayUse(role!.rules, { verb: "get", apiGroup: "", resource: "secrets", name: "x" }),
  );
  assert.deepEqual(sorted(role!.rules!.map((rule) => JSON.stringify(rule))), sorted(rulesFor(goal.identity, goal.profile).map((rule) => JSON.stringify(rule))));
  assert.equal(role!.aggregationRule, undefined);
  assert.ok(!Object.keys(role!.metadata!.labels!).some((label) => label.startsWith("rbac.")));
  const end = Date.parse(role!.metadata!.annotations!["understudy.io/login-ends"] ?? ""); // what is no time is no memory
  assert.equal(Number.isNaN(end), goal.loginEnds === undefined);
  if (goal.loginEnds) assert.ok(end <= goal.loginEnds.end && end >= goal.loginEnds.end - (goal.loginEnds.end - goal.loginEnds.at) / 10);
  for (const object of [role, account, ...secrets, binding] as KubernetesObject[]) {
    assert.equal(object.metadata!.labels!["authz.cluster.cattle.io/impersonator"], "true");
    assert.deepEqual([object.metadata!.annotations!["understudy.io/user"], object.metadata!.annotations!["understudy.io/install"]], [user, goal.install]);
  }
  const owners = (object: KubernetesObject | undefined): unknown[] => (object!.metadata!.ownerReferences ?? []).map(({ kind, uid }) => [kind, uid]);
  assert.deepEqual([owners(role), owners(account), owners(binding)], [[], [["ClusterRole", role!.metadata!.uid]], [["ClusterRole", role!.metadata!.uid]]]);
  assert.equal(account!.metadata!.annotations![REF], secrets[0] && `${NAMESPACE}/${secrets[0].metadata!.name}`);
  assert.equal(account!.automountServiceAccountToken, false);
  for (const secret of secrets) {
    assert.deepEqual(owners(secret), [["ServiceAccount", account!.metadata!.uid]]);
    assert.equal(secret.type, "kubernetes.io/service-account-token");
    assert.deepEqual(
      ["name", "uid"].map((key) => secret.metadata!.annotations![`kubernetes.io/service-account.${key}`]),
      [name, account!.metadata!.uid],
    );
  }
  assert.deepEqual(binding!.subjects, [{ kind: "ServiceAccount", name, namespace: NAMESPACE }]);
  assert.deepEqual(binding!.roleRef, { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name });
}

// What a worker's stolen token would be used for, call by call, and who has to refuse it. The objects are the worker's own, each bent in one place.
import type { Wanted } from "../../shared/decide/objects.ts";
import { accountFor, bindingFor, roleFor, secretFor } from "../../shared/decide/objects.ts";
import type { Profile } from "../../shared/decide/rules.ts";
import { NAMESPACE } from "./impersonator.ts";

const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const POLICIES = "/apis/admissionregistration.k8s.io/v1";
const HOME = `/api/v1/namespaces/${NAMESPACE}`;
const PREFIX = "cattle-impersonation-";
/** The impersonator that is there. */
const U = `${PREFIX}u-ada`;

// oxlint-disable-next-line no-explicit-any -- an object as a table bends it: the server says whether it may be
export type Bent = any;
const wantedOf = (user: string, groups: readonly string[] = ["github_org://1"], profile: Profile = "strict"): Wanted => ({
  identity: { user, groups: ["system:authenticated", "system:cattle:authenticated", ...groups], principalid: [`local://${user}`], username: [user] },
  loginEnds: undefined,
  profile,
  install: "understudy",
  tokenMode: "secret",
});
const ids = { name: "x", uid: "00000000-0000-4000-8000-000000000000" };
/** The worker's four objects of a user, each bent by the case. */
export const made = (user: string, bend: (object: Bent) => unknown = () => undefined, groups?: readonly string[], profile?: Profile) => {
  const wanted = wantedOf(user, groups, profile);
  const bent = (object: Bent): Bent => {
    delete object.metadata.ownerReferences;
    bend(object);
    return object;
  };
  return {
    role: (): Bent => bent(structuredClone(roleFor(wanted))),
    account: (): Bent => bent(accountFor(wanted, ids, `${PREFIX}${user}-token-1`)),
    secret: (): Bent => bent(secretFor(wanted, ids, `${PREFIX}${user}-token-1`)),
    binding: (): Bent => bent(bindingFor(wanted, ids)),
  };
};
export type Call = readonly [method: string, path: string, body?: unknown];
const create = (kind: "clusterroles" | "clusterrolebindings", object: unknown): Call => ["POST", `${RBAC}/${kind}`, object];
const role = (bend: (object: Bent) => unknown, user = "u-new"): Call => create("clusterroles", made(user, bend).role());
const rule = (bend: (rule: Bent) => unknown): Call => role(({ rules }) => bend(rules[1]));
const home = (kind: "serviceaccounts" | "secrets", object: unknown): Call => ["POST", `${HOME}/${kind}`, object];
const token = (spec: object, account = U): Call => ["POST", `${HOME}/serviceaccounts/${account}/token`, { spec }];
/** The role that is there, as it would be changed. */
const existing =
  (bend: (object: Bent) => unknown) =>
  (seen: Bent): Call => {
    bend(seen);
    return ["PUT", `${RBAC}/clusterroles/${U}`, seen];
  };
const bound = (bend: (object: Bent) => unknown): Call => create("clusterrolebindings", made("u-new", bend).binding());
const secret = (bend: (object: Bent) => unknown): Call => home("secrets", made("u-ada", bend).secret());
const annotated = (account: string) => (object: Bent) => (object.metadata.annotations["kubernetes.io/service-account.name"] = account);

/** What a worker's stolen token would be used for → the words of the fence, or `rbac` where it has no right at all. */
export const FORBIDDEN: Readonly<Record<string, readonly [Call | ((role: Bent) => Call), says: RegExp | "rbac"]>> = {
  "a role of a foreign name": [role((o) => (o.metadata.name = "mine")), /its name begins with/],
  "a role whose name the server makes up": [role((o) => (o.metadata = { ...o.metadata, name: undefined, generateName: "mine-" })), /its name begins with/],
  "every verb": [rule((r) => (r.verbs = ["*"])), /a rule is verb impersonate/],
  "a second verb": [rule((r) => r.verbs.push("list")), /a rule is verb impersonate/],
  "every resource": [rule((r) => (r.resources = ["*"])), /a rule is verb impersonate/],
  "two resources in one rule": [rule((r) => r.resources.push("users")), /one resource each/],
  "every API group": [rule((r) => (r.apiGroups = ["*"])), /a rule is verb impersonate/],
  "secrets instead of groups": [rule((r) => (r.resources = ["secrets"])), /a rule is verb impersonate/],
  "impersonating service accounts": [rule((r) => (r.resources = ["serviceaccounts"])), /a rule is verb impersonate/],
  "an extra that is not known": [role((o) => (o.rules.at(-1).resources = ["userextras/scopes"])), /a known extra/],
  "Rancher's open extras in profile strict": [create("clusterroles", made("u-new", undefined, [], "rancher").role()), /a known extra/],
  "paths that are no resources": [role((o) => o.rules.push({ verbs: ["get"], nonResourceURLs: ["*"] })), /a rule is verb impersonate/],
  "a rule with an empty list of names": [rule((r) => (r.resourceNames = [])), /without resourceNames/],
  "a rule without names": [rule((r) => delete r.resourceNames), /without resourceNames/],
  "an empty name": [rule((r) => r.resourceNames.push("")), /reserved names/],
  "system:masters": [rule((r) => r.resourceNames.push("system:masters")), /reserved names/],
  "the administrators of kubeadm": [rule((r) => r.resourceNames.push("kubeadm:cluster-admins")), /reserved names/],
  "a system user": [role((o) => (o.rules[0].resourceNames = ["system:admin"])), /reserved names/],
  "a group that is no principal": [rule((r) => r.resourceNames.push("admins")), /a group is a principal/],
  "a second user": [role((o) => o.rules[0].resourceNames.push("u-eve")), /exactly one user/],
  "a second rule of users": [role((o) => o.rules.push(o.rules[0])), /exactly one user/],
  "no user": [role((o) => o.rules.shift()), /exactly one user/],
  "a user that is not the name's": [role((o) => (o.rules[0].resourceNames = ["u-eve"])), /exactly one user/],
  "a user that only the annotation names": [
    role((o) => (o.rules[0].resourceNames = [(o.metadata.annotations["understudy.io/user"] = "u-eve")])),
    /exactly one user/,
  ],
  "an aggregationRule": [role((o) => (o.aggregationRule = { clusterRoleSelectors: [{ matchLabels: { a: "b" } }] })), /no aggregationRule/],
  "a label that adds its rules to another role": [role((o) => (o.metadata.labels["rbac.authorization.k8s.io/aggregate-to-view"] = "true")), /a label is not/],
  "widening a role that is there": [existing((o) => delete o.rules[1].resourceNames), /without resourceNames/],
  "labelling a role that is there": [existing((o) => (o.metadata.labels["rbac.authorization.k8s.io/aggregate-to-edit"] = "true")), /a label is not/],
  "a binding to cluster-admin": [bound((o) => (o.roleRef.name = "cluster-admin")), /binds the role of its name/],
  "a binding of a foreign subject": [bound((o) => (o.subjects = [{ kind: "User", name: "eve" }])), /binds the role of its name/],
  "a binding of a second subject": [
    bound((o) => o.subjects.push({ kind: "ServiceAccount", name: "default", namespace: "default" })),
    /binds the role of its name/,
  ],
  "a binding of an account elsewhere": [bound((o) => (o.subjects[0].namespace = "understudy-system")), /binds the role of its name/],
  "a binding of another name": [bound((o) => (o.metadata.name = "mine")), /its name begins with/],
  "a binding of another impersonator's name": [bound((o) => (o.metadata.name = U)), /binds the role of its name/],
  "a Secret with the token of another account": [secret(annotated(`${PREFIX}u-eve`)), /the account that it is named after/],
  "a Secret with the token of an account that is no impersonator's": [secret(annotated("default")), /the account that it is named after/],
  "an Opaque Secret": [secret((o) => (o.type = "Opaque")), /only token Secrets/],
  "a Secret of a foreign name": [secret((o) => (o.metadata.name = "mine")), /its name begins with/],
  "deleting a Secret of somebody else": [["DELETE", `${HOME}/secrets/of-somebody-else`], /its name begins with/],
  "an account of a foreign name": [home("serviceaccounts", made("u-new", (o) => (o.metadata.name = "mine")).account()), /its name begins with/],
  "a token for another audience": [token({ audiences: ["vault"] }), /for this API server/],
  "a token for another audience besides": [token({ audiences: ["https://kubernetes.default.svc", "vault"] }), /for this API server/],
  "a token for a day": [token({ expirationSeconds: 86_400 }), /for an hour/],
  "a token of an account that is no impersonator's": [token({}, "default"), /its name begins with/],
  "deleting cluster-admin": [["DELETE", `${RBAC}/clusterroles/cluster-admin`], /its name begins with/],
  "deleting its own role": [["DELETE", `${RBAC}/clusterroles/understudy-worker`], /its name begins with/],
  "deleting its own binding": [["DELETE", `${RBAC}/clusterrolebindings/understudy-worker`], /its name begins with/],
  "deleting a role with the prefix that is no impersonator's": [["DELETE", `${RBAC}/clusterroles/${PREFIX}of-somebody-else`], /the object there is not/],
  "deleting all roles": [["DELETE", `${RBAC}/clusterroles`], "rbac"],
  "deleting the fence": [["DELETE", `${POLICIES}/validatingadmissionpolicybindings/understudy-worker-fence`], "rbac"],
  "reading the fence": [["GET", `${POLICIES}/validatingadmissionpolicies/understudy-worker-fence`], "rbac"],
  "an account in another namespace": [["POST", "/api/v1/namespaces/default/serviceaccounts", made("u-new").account()], "rbac"],
  "a namespace": [["POST", "/api/v1/namespaces", { metadata: { name: "mine" } }], "rbac"],
  "deleting the namespace": [["DELETE", `/api/v1/namespaces/${NAMESPACE}`], "rbac"],
  "reading Secrets of another namespace": [["GET", "/api/v1/namespaces/kube-system/secrets"], "rbac"],
  "reading its own token's Secret": [["GET", "/api/v1/namespaces/understudy-system/secrets/understudy-worker"], "rbac"],
  "reading all Secrets": [["GET", "/api/v1/secrets"], "rbac"],
  "a token of its own account": [["POST", "/api/v1/namespaces/understudy-system/serviceaccounts/understudy-worker/token", { spec: {} }], "rbac"],
  "a pod": [["POST", `${HOME}/pods`, pod()], "rbac"],
  "a role in a namespace": [["POST", `${RBAC}/namespaces/${NAMESPACE}/roles`, { metadata: { name: `${PREFIX}x` } }], "rbac"],
  "a patch": [["PATCH", `${RBAC}/clusterroles/${U}`, { metadata: { annotations: { a: "b" } } }], "rbac"],
};

export function pod(): object {
  const securityContext = { allowPrivilegeEscalation: false, runAsNonRoot: true, capabilities: { drop: ["ALL"] }, seccompProfile: { type: "RuntimeDefault" } };
  return { metadata: { name: "runner" }, spec: { serviceAccountName: U, containers: [{ name: "main", image: "busybox", securityContext }] } };
}

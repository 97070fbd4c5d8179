// The four objects of an impersonator to the letter, written down here a second time: what the product makes is compared with it, field by field.
import assert from "node:assert/strict";
import type { ApiServer } from "../apiserver/start.ts";
import { NAMESPACE, objectsOf } from "./impersonator.ts";

const LABEL = "authz.cluster.cattle.io/impersonator";
const RBAC = "rbac.authorization.k8s.io";

export interface Letter {
  readonly user: string;
  /** Of role, account and binding. */
  readonly name: string;
  readonly rules: readonly unknown[];
  /** When the role says that the login grant ends; undefined = it must say nothing. */
  readonly loginEnds?: string;
}

export const named = (resource: string, resourceNames: readonly string[]): unknown => ({
  verbs: ["impersonate"],
  apiGroups: [resource.startsWith("userextras/") ? "authentication.k8s.io" : ""],
  resources: [resource],
  resourceNames,
});
export const open = (resource: string): unknown => ({ verbs: ["impersonate"], apiGroups: ["authentication.k8s.io"], resources: [resource] });

type Fields = Readonly<Record<string, unknown>>;
/** Without what the server adds to every object, and to a token that was used. */
function withoutServerFields({ metadata, ...object }: Fields & { readonly metadata: Fields }): Fields & { metadata: Fields } {
  const { uid, resourceVersion, creationTimestamp, managedFields, ...rest } = metadata;
  assert.ok(uid && resourceVersion && creationTimestamp && managedFields);
  const { "kubernetes.io/legacy-token-last-used": _, ...labels } = rest["labels"] as Fields;
  return { ...object, metadata: { ...rest, labels } };
}

export async function assertToTheLetter(server: ApiServer, { user, name, rules, loginEnds }: Letter): Promise<void> {
  const { role, account, binding, secrets } = await objectsOf(server, user);
  const annotations = { "understudy.io/user": user, "understudy.io/install": "understudy" };
  const labels = { [LABEL]: "true" };
  const ownedByRole = [{ apiVersion: `${RBAC}/v1`, kind: "ClusterRole", name, uid: role?.metadata.uid }];
  const roleAnnotations = { ...annotations, ...(loginEnds === undefined ? {} : { "understudy.io/login-ends": loginEnds }) };
  assert.deepEqual(withoutServerFields(role), {
    apiVersion: `${RBAC}/v1`,
    kind: "ClusterRole",
    metadata: { name, labels, annotations: roleAnnotations },
    rules,
  });
  assert.equal(secrets.length, 1, "one Secret");
  const { data, ...secret } = withoutServerFields(secrets[0]);
  const secretName = secrets[0].metadata.name as string;
  assert.match(secretName, new RegExp(`^${name}-token-[0-9a-f]{10}$`));
  assert.deepEqual(Object.keys(data as Fields).sort(), ["ca.crt", "namespace", "token"]);
  assert.deepEqual(withoutServerFields(account), {
    apiVersion: "v1",
    kind: "ServiceAccount",
    automountServiceAccountToken: false,
    metadata: {
      name,
      namespace: NAMESPACE,
      labels,
      annotations: { ...annotations, "rancher.io/service-account.secret-ref": `${NAMESPACE}/${secretName}` },
      ownerReferences: ownedByRole,
    },
  });
  // Items of a list carry no apiVersion and kind.
  assert.deepEqual(secret, {
    type: "kubernetes.io/service-account-token",
    metadata: {
      name: secretName,
      namespace: NAMESPACE,
      labels: { ...labels, "cattle.io/service-account.name": name },
      annotations: { ...annotations, "kubernetes.io/service-account.name": name, "kubernetes.io/service-account.uid": account.metadata.uid },
      ownerReferences: [{ apiVersion: "v1", kind: "ServiceAccount", name, uid: account.metadata.uid }],
    },
  });
  assert.deepEqual(withoutServerFields(binding), {
    apiVersion: `${RBAC}/v1`,
    kind: "ClusterRoleBinding",
    metadata: { name, labels, annotations, ownerReferences: ownedByRole },
    subjects: [{ kind: "ServiceAccount", name, namespace: NAMESPACE }],
    roleRef: { apiGroup: RBAC, kind: "ClusterRole", name },
  });
}

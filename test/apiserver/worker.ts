// The least-privilege identity of the product's worker on a cluster, as an administrator would set it up.
import { waitUntil } from "../support/wait-until.ts";
import type { Call } from "./call.ts";

export interface WorkerOptions {
  /**
   * Instead of finding its namespace made by an administrator, the worker makes it, and so needs its rights on service
   * accounts and Secrets everywhere: a Role cannot be in a namespace that is not there yet.
   */
  readonly createsNamespace?: boolean;
}

const account = { kind: "ServiceAccount", name: "understudy-worker", namespace: "understudy-system" };
const home = "cattle-impersonation-system";
const rbac = "/apis/rbac.authorization.k8s.io/v1";
const rbacGroup = "rbac.authorization.k8s.io";

const clusterRules = [
  {
    apiGroups: [rbacGroup],
    resources: ["clusterroles"],
    verbs: ["get", "list", "watch", "create", "update", "delete", "escalate", "bind"],
  },
  {
    apiGroups: [rbacGroup],
    resources: ["clusterrolebindings"],
    verbs: ["get", "list", "watch", "create", "update", "delete"],
  },
  { apiGroups: [rbacGroup], resources: ["rolebindings"], verbs: ["list"] },
  { apiGroups: [""], resources: ["namespaces"], resourceNames: [home], verbs: ["get", "list", "watch"] },
];

const namespacedRules = [
  { apiGroups: [""], resources: ["serviceaccounts"], verbs: ["get", "list", "watch", "create", "update", "delete"] },
  { apiGroups: [""], resources: ["secrets"], verbs: ["get", "list", "watch", "create", "update", "delete"] },
  { apiGroups: [""], resources: ["serviceaccounts/token"], verbs: ["create"] },
];

// A create cannot be limited to one name: the name is not known yet when RBAC is asked.
const makeNamespace = { apiGroups: [""], resources: ["namespaces"], verbs: ["create"] };

/** Makes the worker's account and RBAC where they are missing, and returns a token with which they are in force. */
export async function workerToken(call: Call, options: WorkerOptions = {}): Promise<string> {
  await ensure(call, "/api/v1/namespaces", { metadata: { name: account.namespace } });
  await ensure(call, `/api/v1/namespaces/${account.namespace}/serviceaccounts`, { metadata: { name: account.name } });
  await grant(call, rbac, "ClusterRole", "understudy-worker", clusterRules);
  if (options.createsNamespace === true) {
    await grant(call, rbac, "ClusterRole", "understudy-worker-home", [...namespacedRules, makeNamespace]);
  } else {
    const labels = { "authz.cluster.cattle.io/impersonator": "true" };
    await ensure(call, "/api/v1/namespaces", { metadata: { name: home, labels } });
    await grant(call, `${rbac}/namespaces/${home}`, "Role", "understudy-worker", namespacedRules);
  }
  const path = `/api/v1/namespaces/${account.namespace}/serviceaccounts/${account.name}/token`;
  const answer = await call("POST", path, { spec: { expirationSeconds: 86_400 } });
  if (answer.status !== 201) throw new Error(`create a token of the worker: ${answer.status}`);
  const token: string = answer.body.status.token;
  await inForce(call, token);
  return token;
}

async function grant(call: Call, path: string, kind: "ClusterRole" | "Role", name: string, rules: unknown): Promise<void> {
  const roleRef = { apiGroup: rbacGroup, kind, name };
  await ensure(call, `${path}/${kind.toLowerCase()}s`, { metadata: { name }, rules });
  await ensure(call, `${path}/${kind.toLowerCase()}bindings`, { metadata: { name }, roleRef, subjects: [account] });
}

interface Named {
  readonly metadata: { readonly name: string; readonly labels?: Record<string, string> };
  readonly [field: string]: unknown;
}

async function ensure(call: Call, path: string, object: Named): Promise<void> {
  const { status, body } = await call("POST", path, object);
  if (status === 201 || status === 409) return;
  throw new Error(`create ${path} ${object.metadata.name}: ${status} ${body.message}`);
}

// Both the authenticator and RBAC read caches, so a first call right after the 201 may still be refused.
async function inForce(call: Call, token: string): Promise<void> {
  const asWorker = { authorization: `Bearer ${token}` };
  const questions = [
    { group: rbacGroup, resource: "clusterroles", verb: "escalate" },
    { group: "", resource: "secrets", verb: "create", namespace: home },
  ];
  for (const resourceAttributes of questions) {
    await waitUntil(`the worker may ${resourceAttributes.verb} ${resourceAttributes.resource}`, async () => {
      const review = { spec: { resourceAttributes } };
      const { body } = await call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, asWorker);
      return body.status?.allowed === true;
    });
  }
}

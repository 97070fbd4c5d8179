// The worker's account on a cluster and the least RBAC that this version's workers and producers need, out of the list that `check` asks for. Pure.
import type { KubernetesObject, V1ClusterRole, V1PolicyRule, V1RoleBinding, V1Secret } from "@kubernetes/client-node";
import type { TokenMode } from "../../shared/decide/objects.ts";
import { SECRET_TYPE } from "../../shared/decide/objects.ts";
import { IMPERSONATOR_LABEL, NAMESPACE, SECRET_ACCOUNT_ANNOTATION } from "../../shared/names.ts";
import type { Right } from "../commands/rights.ts";
import { RBAC, SEE_NAMESPACE, neededRights } from "../commands/rights.ts";

/** One object of the manifest, and why it is there. */
export interface Part {
  readonly why: string;
  readonly object: KubernetesObject;
}
/** The worker's ServiceAccount. */
export const WORKER = { name: "understudy-worker", namespace: "understudy-system" } as const;
/** As Kubernetes calls it in a request. */
export const WORKER_USER = `system:serviceaccount:${WORKER.namespace}:${WORKER.name}`;

/** The two namespaces: the impersonators' own, and the worker's. */
export const namespaces = (): Part[] => [
  {
    why: "The impersonators' home. Nothing runs there, and what would has to be harmless.",
    object: {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: NAMESPACE, labels: { [IMPERSONATOR_LABEL]: "true", "pod-security.kubernetes.io/enforce": "restricted" } },
    },
  },
  {
    why: "The worker's account is not among those that it may change.",
    object: { apiVersion: "v1", kind: "Namespace", metadata: { name: WORKER.namespace } },
  },
];

/** After the fence: an account that cannot do more than it may from its first second. */
export function account(tokenMode: TokenMode): Part[] {
  const { name } = WORKER;
  const rights = [...neededRights(tokenMode), SEE_NAMESPACE];
  const [everywhere, athome] = [rights.filter(({ namespace }) => namespace === undefined), rights.filter(({ namespace }) => namespace !== undefined)];
  const clusterRole: V1ClusterRole = { apiVersion: `${RBAC}/v1`, kind: "ClusterRole", metadata: { name }, rules: rulesOf(everywhere) };
  const role: V1ClusterRole = { apiVersion: `${RBAC}/v1`, kind: "Role", metadata: { name, namespace: NAMESPACE }, rules: rulesOf(athome) };
  return [
    { why: "Who workers and producers are on this cluster.", object: { apiVersion: "v1", kind: "ServiceAccount", metadata: { ...WORKER } } },
    { why: "`escalate` and `bind` would make it anybody; the fence is what holds it back.", object: clusterRole },
    { why: "", object: bindingOf("ClusterRole") },
    { why: "Accounts and Secrets in the impersonators' namespace and in no other.", object: role },
    { why: "", object: bindingOf("Role") },
    {
      why: "Its token. To revoke it delete the ServiceAccount and apply this again: of the same account this Secret holds the same token, however often it is made.",
      object: tokenSecret(),
    },
  ];
}

function bindingOf(kind: "ClusterRole" | "Role"): V1RoleBinding {
  const { name } = WORKER;
  const metadata = kind === "Role" ? { name, namespace: NAMESPACE } : { name };
  return {
    apiVersion: `${RBAC}/v1`,
    kind: `${kind}Binding`,
    metadata,
    roleRef: { apiGroup: RBAC, kind, name },
    subjects: [{ kind: "ServiceAccount", ...WORKER }],
  };
}

function tokenSecret(): V1Secret {
  return { apiVersion: "v1", kind: "Secret", type: SECRET_TYPE, metadata: { ...WORKER, annotations: { [SECRET_ACCOUNT_ANNOTATION]: WORKER.name } } };
}

/** One rule for all verbs on the same thing. */
function rulesOf(rights: readonly Right[]): V1PolicyRule[] {
  const targets = Map.groupBy(rights, ({ group, resource, name }) => JSON.stringify([group, resource, name]));
  return [...targets.values()].map(([first, ...rest]) => ({
    apiGroups: [first!.group],
    resources: [first!.resource],
    ...(first!.name === undefined ? {} : { resourceNames: [first!.name] }),
    verbs: [first!, ...rest].map(({ verb }) => verb),
  }));
}

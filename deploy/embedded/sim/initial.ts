// What a new cluster holds: the roles that Kubernetes itself makes, as far as anybody here asks for them. Data only.
import type { V1PolicyRule } from "@kubernetes/client-node";
import type { Resource } from "./resources.ts";
import { BINDINGS, NAMESPACES, ROLES } from "./resources.ts";
import type { Thing } from "./store.ts";

const RBAC = "rbac.authorization.k8s.io";
const made = (resource: Resource, name: string, fields: object): [Resource, Thing] => [
  resource,
  { apiVersion: resource === NAMESPACES ? "v1" : `${RBAC}/v1`, kind: resource.kind, metadata: { name }, ...fields },
];
const roleTo = (group: string, name: string, rules: readonly V1PolicyRule[]): [Resource, Thing][] => [
  made(ROLES, name, { rules }),
  made(BINDINGS, name, { roleRef: { apiGroup: RBAC, kind: "ClusterRole", name }, subjects: [{ apiGroup: RBAC, kind: "Group", name: group }] }),
];
const reads = { verbs: ["get", "list", "watch"], apiGroups: [""], resources: ["namespaces", "serviceaccounts"] };

/** https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings */
export const initialObjects = (): [Resource, Thing][] => [
  ...["default", "kube-system"].map((name) => made(NAMESPACES, name, { spec: { finalizers: ["kubernetes"] }, status: { phase: "Active" } })),
  ...roleTo("system:masters", "cluster-admin", [
    { verbs: ["*"], apiGroups: ["*"], resources: ["*"] },
    { verbs: ["*"], nonResourceURLs: ["*"] },
  ]),
  ...roleTo("system:authenticated", "system:basic-user", [
    { verbs: ["create"], apiGroups: ["authorization.k8s.io"], resources: ["selfsubjectaccessreviews"] },
    { verbs: ["create"], apiGroups: ["authentication.k8s.io"], resources: ["selfsubjectreviews"] },
  ]),
  ...roleTo("system:authenticated", "system:discovery", [
    { verbs: ["get"], nonResourceURLs: ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version"] },
  ]),
  made(ROLES, "view", { rules: [reads] }),
];

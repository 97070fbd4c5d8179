// Where an API server keeps an impersonator's objects, and how ours are told from all others there. Pure.
import { IMPERSONATOR_LABEL, NAMESPACE } from "../names.ts";

const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const HOME = `/api/v1/namespaces/${NAMESPACE}`;

/** Kind → path of its collection; an object's own is `<collection>/<name>`. */
export const COLLECTIONS = {
  ClusterRole: `${RBAC}/clusterroles`,
  ClusterRoleBinding: `${RBAC}/clusterrolebindings`,
  ServiceAccount: `${HOME}/serviceaccounts`,
  Secret: `${HOME}/secrets`,
} as const;
/** Of all namespaces. */
export const ROLE_BINDINGS = `${RBAC}/rolebindings`;

/** Query for what has the impersonators' label. */
export const LABELLED = { labelSelector: `${IMPERSONATOR_LABEL}=true` } as const;

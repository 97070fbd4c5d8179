// What a simulated cluster serves: the kinds that Understudy touches, by group, version and plural name. Data only.

export interface Resource {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly shortNames?: readonly string[];
  /** A PUT of what is not there makes it, as Kubernetes does for RBAC's kinds. */
  readonly upserts?: boolean;
  /** Fields that a change may not touch. */
  readonly fixed?: readonly string[];
}

const core = (plural: string, kind: string, namespaced: boolean, more: Partial<Resource> = {}): Resource => ({
  group: "",
  version: "v1",
  plural,
  kind,
  namespaced,
  ...more,
});
const rbac = (plural: string, kind: string, namespaced: boolean, more: Partial<Resource> = {}): Resource => ({
  group: "rbac.authorization.k8s.io",
  version: "v1",
  plural,
  kind,
  namespaced,
  upserts: true,
  ...more,
});
const rancher = (plural: string, kind: string, namespaced: boolean): Resource => ({ group: "management.cattle.io", version: "v3", plural, kind, namespaced });

export const NAMESPACES = core("namespaces", "Namespace", false, { shortNames: ["ns"] });
export const ACCOUNTS = core("serviceaccounts", "ServiceAccount", true, { shortNames: ["sa"] });
export const SECRETS = core("secrets", "Secret", true, { fixed: ["type"] });
export const ROLES = rbac("clusterroles", "ClusterRole", false);
export const BINDINGS = rbac("clusterrolebindings", "ClusterRoleBinding", false, { fixed: ["roleRef"] });
export const NAMESPACED_ROLES = rbac("roles", "Role", true);
export const NAMESPACED_BINDINGS = rbac("rolebindings", "RoleBinding", true, { fixed: ["roleRef"] });

export const KUBERNETES: readonly Resource[] = [NAMESPACES, ACCOUNTS, SECRETS, ROLES, BINDINGS, NAMESPACED_ROLES, NAMESPACED_BINDINGS];
/** Custom resources of a Rancher management server. */
export const RANCHER: readonly Resource[] = [
  rancher("users", "User", false),
  rancher("userattributes", "UserAttribute", false),
  rancher("globalrolebindings", "GlobalRoleBinding", false),
  rancher("clusterroletemplatebindings", "ClusterRoleTemplateBinding", true),
  rancher("projectroletemplatebindings", "ProjectRoleTemplateBinding", true),
];

/** `v1`, `rbac.authorization.k8s.io/v1`. */
export const apiVersionOf = ({ group, version }: Resource): string => (group === "" ? version : `${group}/${version}`);
/** `/api/v1`, `/apis/rbac.authorization.k8s.io/v1`. */
export const prefixOf = (resource: Resource): string => (resource.group === "" ? "/api/" : "/apis/") + apiVersionOf(resource);
/** As a message names it: `secrets`, `clusterroles.rbac.authorization.k8s.io`. */
export const called = ({ group, plural }: Resource): string => (group === "" ? plural : `${plural}.${group}`);

// The people and bindings that `make demo` begins with, as they would stand on a Rancher management cluster. Data only; the order is that of their creation.

export interface SampleObject {
  readonly kind: (typeof SAMPLE_KINDS)[number];
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly [field: string]: unknown;
}

/** What a sample may hold. */
export const SAMPLE_KINDS = ["Namespace", "User", "UserAttribute", "GlobalRoleBinding", "ClusterRoleTemplateBinding", "ProjectRoleTemplateBinding"] as const;

/** The group whose binding on c-amber makes an impersonator for a member at login, and not before. */
const TEAM = "github_team://5150";
const AMBER_SHOP = "c-amber-p-shop";
const BIRCH_WEB = "c-birch-p-web";
const CEDAR_OPS = "c-cedar-p-ops";

const namespace = (name: string): SampleObject => ({ kind: "Namespace", metadata: { name } });
const person = (name: string, displayName: string, more: object = {}): SampleObject => ({
  kind: "User",
  metadata: { name },
  displayName,
  username: name.slice(2),
  principalIds: [`local://${name}`],
  enabled: true,
  ...more,
});
const onCluster = (cluster: string, name: string, roleTemplateName: string, holder: object): SampleObject => ({
  kind: "ClusterRoleTemplateBinding",
  metadata: { name, namespace: cluster },
  clusterName: cluster,
  roleTemplateName,
  ...holder,
});
const onProject = (namespaceName: string, projectName: string, name: string, holder: object): SampleObject => ({
  kind: "ProjectRoleTemplateBinding",
  metadata: { name, namespace: namespaceName },
  projectName,
  roleTemplateName: "project-member",
  ...holder,
});

export const SAMPLE: readonly SampleObject[] = [
  ...["c-amber", "c-birch", "c-cedar", AMBER_SHOP, BIRCH_WEB, CEDAR_OPS].map(namespace),
  person("u-ada", "Ada Lovelace"),
  person("u-bob", "Bob Kahn"),
  person("u-cleo", "Cleo Wade"),
  person("u-dan", "Dan Bricklin"),
  person("u-eve", "Eve Online", { enabled: false }),
  person("u-fay", "Fay Wray"),
  person("u-gus", "Gus Grissom"),
  person("u-hana", "花 Hana"),
  person("u-ines", "Inês Pedrosa"),
  person("u-jo", "Jo Nesbø"),
  person("u-kim", "Kim Novak"),
  person("u-lev", "Lev Landau"),
  // What Rancher remembers of Ada's last login with GitHub. The capitals are Rancher's.
  {
    kind: "UserAttribute",
    metadata: { name: "u-ada" },
    UserName: "u-ada",
    LastRefresh: "2026-01-05T08:00:00Z",
    GroupPrincipals: { github: { Items: [{ metadata: { name: "github_org://1815" } }, { metadata: { name: "github_team://1843" } }] } },
    ExtraByProvider: { github: { principalid: ["github_user://1815"], username: ["ada"] } },
  },
  onCluster("c-amber", "crtb-ada", "cluster-owner", { userName: "u-ada" }),
  onCluster("c-birch", "crtb-ada", "cluster-member", { userName: "u-ada" }),
  onCluster("c-amber", "crtb-bob", "cluster-member", { userName: "u-bob" }),
  onCluster("c-birch", "crtb-cleo", "cluster-owner", { userName: "u-cleo" }),
  // Disabled: her binding waits, and so does she.
  onCluster("c-birch", "crtb-eve", "cluster-member", { userName: "u-eve" }),
  onCluster("c-amber", "crtb-team", "cluster-member", { groupPrincipalName: TEAM }),
  onProject(AMBER_SHOP, "c-amber:p-shop", "prtb-dan", { userName: "u-dan" }),
  onProject(AMBER_SHOP, "c-amber:p-shop", "prtb-hana", { userName: "u-hana" }),
  onProject(BIRCH_WEB, "c-birch:p-web", "prtb-bob", { userName: "u-bob" }),
  onProject(BIRCH_WEB, "c-birch:p-web", "prtb-hana", { userName: "u-hana" }),
  onCluster("c-cedar", "crtb-ines", "cluster-owner", { userName: "u-ines" }),
  onCluster("c-cedar", "crtb-jo", "cluster-member", { userName: "u-jo" }),
  onCluster("c-birch", "crtb-kim", "cluster-member", { userName: "u-kim" }),
  onProject(CEDAR_OPS, "c-cedar:p-ops", "prtb-kim", { userName: "u-kim" }),
  onProject(CEDAR_OPS, "c-cedar:p-ops", "prtb-lev", { userName: "u-lev" }),
  { kind: "GlobalRoleBinding", metadata: { name: "grb-gus" }, globalRoleName: "admin", userName: "u-gus" },
];

/** Where an object is created. */
export function collectionOf({ kind, metadata }: SampleObject): string {
  if (kind === "Namespace") return "/api/v1/namespaces";
  const scope = metadata.namespace === undefined ? "" : `/namespaces/${metadata.namespace}`;
  return `/apis/management.cattle.io/v3${scope}/${kind.toLowerCase()}s`;
}
/** Where an object is. */
export const objectPath = (object: SampleObject): string => `${collectionOf(object)}/${object.metadata.name}`;
export const apiVersionOf = ({ kind }: SampleObject): string => (kind === "Namespace" ? "v1" : "management.cattle.io/v3");

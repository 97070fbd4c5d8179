// Rancher's objects on the management cluster, made, changed and removed as Rancher's own controllers and users do.
import type { ApiServer } from "../apiserver/start.ts";

const V3 = "/apis/management.cattle.io/v3";
const apiVersion = "management.cattle.io/v3";

async function ok<T extends { status: number; body: unknown }>(answer: Promise<T>): Promise<T> {
  const got = await answer;
  if (got.status >= 300) throw new Error(`management cluster answered ${got.status}: ${JSON.stringify(got.body)}`);
  return got;
}
/** POST, or a merge patch where it exists. */
async function put(management: ApiServer, collection: string, object: { metadata: { name: string } }): Promise<void> {
  const created = await management.call("POST", collection, object);
  if (created.status === 201) return;
  await ok(management.call("PATCH", `${collection}/${object.metadata.name}`, object, { "content-type": "application/merge-patch+json" }));
}

export const putUser = (
  management: ApiServer,
  name: string,
  fields: { displayName?: string; principalIds?: string[]; enabled?: boolean } = {},
): Promise<void> =>
  put(management, `${V3}/users`, { apiVersion, kind: "User", metadata: { name }, displayName: name, principalIds: [`local://${name}`], ...fields } as {
    metadata: { name: string };
  });
export const deleteUser = (management: ApiServer, name: string) => ok(management.call("DELETE", `${V3}/users/${name}`));

export interface BindingSubject {
  readonly userName?: string;
  readonly userPrincipalName?: string;
  readonly groupPrincipalName?: string;
}
export const putCrtb = (management: ApiServer, cluster: string, name: string, subject: BindingSubject): Promise<void> =>
  put(management, `${V3}/namespaces/${cluster}/clusterroletemplatebindings`, {
    apiVersion,
    kind: "ClusterRoleTemplateBinding",
    metadata: { name },
    clusterName: cluster,
    roleTemplateName: "cluster-member",
    ...subject,
  } as { metadata: { name: string } });
export const deleteCrtb = (management: ApiServer, cluster: string, name: string) =>
  ok(management.call("DELETE", `${V3}/namespaces/${cluster}/clusterroletemplatebindings/${name}`));

/** In the project's backing namespace `<cluster>-<project>`, which is made when missing. */
export async function putPrtb(management: ApiServer, cluster: string, project: string, name: string, subject: BindingSubject): Promise<void> {
  const namespace = `${cluster}-${project}`;
  await management.call("POST", "/api/v1/namespaces", { metadata: { name: namespace } });
  await put(management, `${V3}/namespaces/${namespace}/projectroletemplatebindings`, {
    apiVersion,
    kind: "ProjectRoleTemplateBinding",
    metadata: { name },
    projectName: `${cluster}:${project}`,
    roleTemplateName: "project-member",
    ...subject,
  } as { metadata: { name: string } });
}
export const deletePrtb = (management: ApiServer, cluster: string, project: string, name: string) =>
  ok(management.call("DELETE", `${V3}/namespaces/${cluster}-${project}/projectroletemplatebindings/${name}`));

export const putGrb = (management: ApiServer, name: string, globalRoleName: string, subject: BindingSubject): Promise<void> =>
  put(management, `${V3}/globalrolebindings`, { apiVersion, kind: "GlobalRoleBinding", metadata: { name }, globalRoleName, ...subject } as {
    metadata: { name: string };
  });
export const deleteGrb = (management: ApiServer, name: string) => ok(management.call("DELETE", `${V3}/globalrolebindings/${name}`));

/** `groups` by provider, `extras` by provider; the capitals are Rancher's. */
export const putAttribute = (
  management: ApiServer,
  user: string,
  fields: { groups?: Record<string, string[]>; extras?: Record<string, Record<string, string[]>>; lastRefresh?: string },
): Promise<void> =>
  put(management, `${V3}/userattributes`, {
    apiVersion,
    kind: "UserAttribute",
    metadata: { name: user },
    UserName: user,
    LastRefresh: fields.lastRefresh ?? new Date().toISOString(),
    NeedsRefresh: false,
    GroupPrincipals: Object.fromEntries(
      Object.entries(fields.groups ?? {}).map(([provider, names]) => [
        provider,
        { Items: names.map((name) => ({ metadata: { name }, principalType: "group", provider })) },
      ]),
    ),
    ExtraByProvider: fields.extras ?? {},
  } as { metadata: { name: string } });

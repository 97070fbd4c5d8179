// People and bindings by chance, as a Rancher management cluster might hold them, and who must be ready because of them.
import fc from "fast-check";
import type { SampleObject } from "../../deploy/embedded/sample.ts";

const CLUSTERS = ["c-amber", "c-birch", "c-cedar", "c-m-4q9xk2v7"];
const id = fc.stringMatching(/^[a-z0-9]{2,8}$/);

interface Given {
  readonly user: string;
  readonly enabled: boolean;
  readonly name: string;
  readonly bindings: readonly { readonly cluster: string; readonly project: boolean }[];
  readonly remembered: readonly string[];
}
const given: fc.Arbitrary<Given> = fc.record({
  user: id.map((name) => `u-${name}`),
  enabled: fc.boolean(),
  name: fc.constantFrom("Ada", "Ødegård", "花子", "O'Neil, Pat"),
  bindings: fc.uniqueArray(fc.record({ cluster: fc.constantFrom(...CLUSTERS), project: fc.boolean() }), { maxLength: 3, selector: ({ cluster }) => cluster }),
  remembered: fc.uniqueArray(
    id.map((name) => `github_team://${name}`),
    { maxLength: 3 },
  ),
});

/** At least one enabled person with a binding. */
export const aSample: fc.Arbitrary<SampleObject[]> = fc
  .tuple(fc.uniqueArray(given, { minLength: 3, maxLength: 12, selector: ({ user }) => user }), fc.boolean(), fc.boolean())
  .map(([people, team, admin]) => {
    const first = { user: "u-first", enabled: true, name: "First", bindings: [{ cluster: "c-amber", project: false }], remembered: [] };
    return [...objectsOf([first, ...people]), ...(team ? [teamBinding] : []), ...(admin ? [adminBinding] : [])];
  });
const teamBinding: SampleObject = {
  kind: "ClusterRoleTemplateBinding",
  metadata: { name: "crtb-team", namespace: "c-birch" },
  clusterName: "c-birch",
  roleTemplateName: "cluster-member",
  groupPrincipalName: "okta_group://a team, 花",
};
const adminBinding: SampleObject = { kind: "GlobalRoleBinding", metadata: { name: "grb" }, globalRoleName: "admin", userName: "u-first" };

const objectsOf = (people: readonly Given[]): SampleObject[] =>
  people.flatMap(({ user, enabled, name, bindings, remembered }) => [
    { kind: "User", metadata: { name: user }, displayName: name, principalIds: [`local://${user}`], enabled },
    ...(remembered.length === 0 ? [] : [attribute(user, remembered)]),
    ...bindings.map(({ cluster, project }) => (project ? projectBinding(user, cluster) : clusterBinding(user, cluster))),
  ]);
const attribute = (user: string, groups: readonly string[]): SampleObject => ({
  kind: "UserAttribute",
  metadata: { name: user },
  UserName: user,
  LastRefresh: "2026-01-05T08:00:00Z",
  GroupPrincipals: { github: { Items: groups.map((name) => ({ metadata: { name } })) } },
  ExtraByProvider: { github: { principalid: [`github_user://${user}`], username: [user] } },
});
const clusterBinding = (userName: string, clusterName: string): SampleObject => ({
  kind: "ClusterRoleTemplateBinding",
  metadata: { name: `crtb-${userName}`, namespace: clusterName },
  clusterName,
  roleTemplateName: "cluster-member",
  userName,
});
const projectBinding = (userName: string, cluster: string): SampleObject => ({
  kind: "ProjectRoleTemplateBinding",
  metadata: { name: `prtb-${userName}`, namespace: `${cluster}-p-web` },
  projectName: `${cluster}:p-web`,
  roleTemplateName: "project-member",
  userName,
});

/** `cluster/user` of every enabled person with a binding of their own. */
export function expectedOf(sample: readonly SampleObject[]): string[] {
  const enabled = new Set(sample.filter(({ kind, enabled: yes }) => kind === "User" && yes !== false).map(({ metadata }) => metadata.name));
  return sample.flatMap(({ userName, clusterName, projectName }) => {
    const cluster = (clusterName as string | undefined) ?? (projectName as string | undefined)?.split(":")[0];
    return typeof userName === "string" && cluster !== undefined && enabled.has(userName) ? [`${cluster}/${userName}`] : [];
  });
}

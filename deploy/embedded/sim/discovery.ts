// What kubectl asks before it asks for anything: which kinds there are, and whether the server checks fields itself.
import type { Resource } from "./resources.ts";
import { apiVersionOf, prefixOf } from "./resources.ts";

/** The minor version whose behaviour is simulated. */
const VERSION = { major: "1", minor: "36", gitVersion: "v1.36.0-understudy.simulated", platform: "simulated" };
const VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"];

/** The answer for a path, or undefined where it is none of these. */
export function discover(path: string, resources: readonly Resource[]): object | undefined {
  const groups = [...Map.groupBy(resources, prefixOf)];
  if (path === "/version") return VERSION;
  if (path === "/api") return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] };
  if (path === "/apis")
    return { kind: "APIGroupList", apiVersion: "v1", groups: [...groups.flatMap(([, [one]]) => groupOf(one!)), ...REVIEWS.flatMap(groupOf)] };
  if (path === "/openapi/v3")
    return { paths: Object.fromEntries(groups.map(([prefix]) => [prefix.slice(1), { serverRelativeURL: `/openapi/v3${prefix}?hash=1` }])) };
  for (const [prefix, of] of groups) {
    if (path === prefix) return { kind: "APIResourceList", apiVersion: "v1", groupVersion: apiVersionOf(of[0]!), resources: of.flatMap(entryOf) };
    if (path === `/openapi/v3${prefix}`) return openapi(prefix, of);
  }
  const review = REVIEWS.find((one) => prefixOf(one) === path);
  return review && { kind: "APIResourceList", apiVersion: "v1", groupVersion: apiVersionOf(review), resources: [{ ...named(review), verbs: ["create"] }] };
}

const review = (group: string, plural: string, kind: string): Resource => ({ group, version: "v1", plural, kind, namespaced: false });
/** Kinds that are asked and never kept. */
export const REVIEWS: readonly Resource[] = [
  review("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
  review("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
];

function groupOf(resource: Resource): object[] {
  if (resource.group === "") return [];
  const version = { groupVersion: apiVersionOf(resource), version: resource.version };
  return [{ name: resource.group, versions: [version], preferredVersion: version }];
}
const named = ({ plural, kind, namespaced, shortNames }: Resource): object => ({
  name: plural,
  singularName: kind.toLowerCase(),
  namespaced,
  kind,
  ...(shortNames ? { shortNames } : {}),
});
function entryOf(resource: Resource): object[] {
  const own = { ...named(resource), verbs: VERBS };
  if (resource.plural !== "serviceaccounts") return [own];
  return [
    own,
    {
      name: "serviceaccounts/token",
      singularName: "",
      namespaced: true,
      group: "authentication.k8s.io",
      version: "v1",
      kind: "TokenRequest",
      verbs: ["create"],
    },
  ];
}

/** Enough for kubectl to see that a write may carry `fieldValidation`, and to leave the checking of fields to the server. */
function openapi(prefix: string, resources: readonly Resource[]): object {
  const patch = ({ group, version, kind }: Resource): object => ({
    parameters: [{ name: "fieldValidation", in: "query", schema: { type: "string" } }],
    responses: {},
    "x-kubernetes-group-version-kind": { group, version, kind },
  });
  const paths = resources.map((one) => [`${prefix}/${one.namespaced ? "namespaces/{namespace}/" : ""}${one.plural}/{name}`, { patch: patch(one) }]);
  return { openapi: "3.0.0", info: { title: "Simulated", version: VERSION.gitVersion }, paths: Object.fromEntries(paths), components: { schemas: {} } };
}

// What a list of RBAC rules allows, by Kubernetes' own semantics, written from its documentation and not from the product: the judge of every rule test.
// https://kubernetes.io/docs/reference/access-authn-authz/rbac/ and …/authentication/#user-impersonation
import type { V1PolicyRule } from "@kubernetes/client-node";

/** One question to the authorizer about a resource; `subresource` as in `pods/log`. */
export interface ResourceRequest {
  readonly verb: string;
  readonly apiGroup: string;
  readonly resource: string;
  readonly subresource?: string;
  readonly name: string;
}

const listed = (list: readonly string[] | null | undefined, value: string): boolean => (list ?? []).includes(value);
const starred = (list: readonly string[] | null | undefined, value: string): boolean => listed(list, "*") || listed(list, value);

/** Whether any rule allows it: rules only ever add. */
export function mayUse(rules: readonly V1PolicyRule[] | null | undefined, request: ResourceRequest): boolean {
  return (rules ?? []).some(
    (rule) => starred(rule.verbs, request.verb) && starred(rule.apiGroups, request.apiGroup) && coversResource(rule, request) && coversName(rule, request.name),
  );
}

/** `*` is every resource with its subresources, `resource` is not `resource/sub`, and a `*` before `/sub` is that subresource of every resource. */
function coversResource({ resources }: V1PolicyRule, { resource, subresource }: ResourceRequest): boolean {
  if (listed(resources, "*")) return true;
  if (subresource === undefined) return listed(resources, resource);
  return listed(resources, `${resource}/${subresource}`) || listed(resources, `*/${subresource}`);
}

/** No resourceNames, or an empty list of them, is every name. A name is compared as it is: `*` is no pattern here. */
function coversName({ resourceNames }: V1PolicyRule, name: string): boolean {
  return (resourceNames ?? []).length === 0 || listed(resourceNames, name);
}

/** Whether any rule allows a request to a path that is no resource; a `*` at the end of a rule's path stands for any rest. */
export function mayReach(rules: readonly V1PolicyRule[] | null | undefined, verb: string, path: string): boolean {
  const covers = (pattern: string): boolean => pattern === path || (pattern.endsWith("*") && path.startsWith(pattern.slice(0, -1)));
  return (rules ?? []).some((rule) => starred(rule.verbs, verb) && (rule.nonResourceURLs ?? []).some(covers));
}

/** The Impersonate-* headers of one request. */
export interface Impersonation {
  readonly user: string;
  readonly groups?: readonly string[];
  readonly extras?: Readonly<Record<string, readonly string[]>>;
  readonly uid?: string;
}

/** The API server asks once for each header; the request passes only when every answer is yes. */
export function mayImpersonate(rules: readonly V1PolicyRule[] | null | undefined, { user, groups = [], extras = {}, uid }: Impersonation): boolean {
  const may = (apiGroup: string, resource: string, name: string, subresource?: string): boolean =>
    mayUse(rules, { verb: "impersonate", apiGroup, resource, name, ...(subresource === undefined ? {} : { subresource }) });
  const extraPairs = Object.entries(extras).flatMap(([key, values]) => values.map((value) => [key, value] as const));
  return (
    may("", "users", user) &&
    groups.every((group) => may("", "groups", group)) &&
    extraPairs.every(([key, value]) => may("authentication.k8s.io", "userextras", value, key)) &&
    (uid === undefined || may("authentication.k8s.io", "uids", uid))
  );
}

// Who may do what: Kubernetes' RBAC over a simulated cluster's own roles and bindings, impersonation included.
// https://kubernetes.io/docs/reference/access-authn-authz/rbac/ and …/authentication/#user-impersonation
import type { RbacV1Subject, V1PolicyRule, V1RoleRef } from "@kubernetes/client-node";
import { Refusal } from "./refusal.ts";
import { BINDINGS, NAMESPACED_BINDINGS, NAMESPACED_ROLES, ROLES } from "./resources.ts";
import type { Store, Thing } from "./store.ts";
import { AUTHENTICATED, type User } from "./tokens.ts";

/** One question. `resource` with its subresource, as in `serviceaccounts/token`; or `path`, where it is no resource. */
export interface Attributes {
  readonly verb: string;
  readonly group?: string;
  readonly resource?: string;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly path?: string;
}
const SYSTEM_MASTERS = "system:masters";

/** @throws Refusal 403 where no rule allows it: rules only ever add. */
export function authorize(store: Store, user: User, asked: Attributes): void {
  if (!allows(store, user, asked)) throw forbidden(user, asked);
}

export function allows(store: Store, user: User, asked: Attributes): boolean {
  if (user.groups.includes(SYSTEM_MASTERS)) return true;
  const everywhere = store.list(BINDINGS).filter((binding) => isBound(binding, user));
  const here = asked.namespace === undefined ? [] : store.list(NAMESPACED_BINDINGS, asked.namespace).filter((binding) => isBound(binding, user));
  return [...everywhere, ...here].some((binding) => rulesOf(store, binding).some((rule) => covers(rule, asked)));
}

function isBound({ subjects, metadata }: Thing, { username, groups }: User): boolean {
  return ((subjects ?? []) as RbacV1Subject[]).some(({ kind, name, namespace = metadata.namespace }) => {
    if (kind === "Group") return groups.includes(name);
    return username === (kind === "ServiceAccount" ? `system:serviceaccount:${namespace}:${name}` : name);
  });
}

function rulesOf(store: Store, { roleRef, metadata }: Thing): readonly V1PolicyRule[] {
  const { kind, name } = roleRef as V1RoleRef;
  const role = kind === "Role" ? store.get(NAMESPACED_ROLES, metadata.namespace, name) : store.get(ROLES, undefined, name);
  return (role?.["rules"] ?? []) as V1PolicyRule[];
}

const has = (list: readonly string[] | null | undefined, value: string | undefined): boolean => (list ?? []).some((one) => one === "*" || one === value);

function covers(rule: V1PolicyRule, { verb, group, resource, name, path }: Attributes): boolean {
  if (!has(rule.verbs, verb)) return false;
  if (path !== undefined) return (rule.nonResourceURLs ?? []).some((one) => one === path || (one.endsWith("*") && path.startsWith(one.slice(0, -1))));
  const [, subresource] = resource!.split("/");
  const resources = rule.resources ?? [];
  const named = resources.includes("*") || resources.includes(resource!) || (subresource !== undefined && resources.includes(`*/${subresource}`));
  // No names are every name. A name is compared as it is: `*` is no pattern here.
  const names = rule.resourceNames ?? [];
  return named && has(rule.apiGroups, group) && (names.length === 0 || (name !== undefined && names.includes(name)));
}

/** The headers of one request, as they came in: names in any case, values as UTF-8 bytes. */
export interface Impersonation {
  readonly user: string | undefined;
  readonly uid: string | undefined;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

/** Whom the request is taken for. @throws Refusal 403 unless each header is allowed; 400 where groups or extras come without a user. */
export function impersonated(store: Store, user: User, { user: username, uid, groups, extra }: Impersonation): User {
  const others = groups.length + Object.keys(extra).length + (uid === undefined ? 0 : 1);
  if (username === undefined && others === 0) return user;
  if (username === undefined) throw new Refusal(400, "BadRequest", "requested a uid, groups or extras without impersonating a user");
  const ask = (group: string, resource: string, name: string): void => authorize(store, user, { verb: "impersonate", group, resource, name });
  ask("", "users", username);
  for (const name of groups) ask("", "groups", name);
  for (const [key, values] of Object.entries(extra)) for (const value of values) ask("authentication.k8s.io", `userextras/${key}`, value);
  if (uid !== undefined) ask("authentication.k8s.io", "uids", uid);
  return { username, ...(uid === undefined ? {} : { uid }), groups: [...new Set([...groups, AUTHENTICATED])], extra };
}

function forbidden({ username }: User, { verb, group, resource, namespace, name, path }: Attributes): Refusal {
  if (path !== undefined) return new Refusal(403, "Forbidden", `forbidden: User "${username}" cannot ${verb} path "${path}"`, {});
  const what = `${resource!.split("/")[0]}${group === "" ? "" : `.${group}`}`;
  const where = namespace === undefined ? "at the cluster scope" : `in the namespace "${namespace}"`;
  const message = `${what} ${name === undefined ? "" : `"${name}" `}is forbidden: User "${username}" cannot ${verb} resource "${resource}" in API group "${group}" ${where}`;
  return new Refusal(403, "Forbidden", message, { ...(name === undefined ? {} : { name }), ...(group === "" ? {} : { group: group! }), kind: resource! });
}

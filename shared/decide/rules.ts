// Identity → policy rules that allow exactly it. Pure. A rule without resourceNames allows every name, so one is unwritable by type and checked again on the bytes.
import type { V1ClusterRole, V1PolicyRule } from "@kubernetes/client-node";
import type { Identity } from "../subject.ts";
import { EXTRA_KEYS } from "../subject.ts";

/** `strict`: the set of Rancher's support article. `rancher`: plus the two extras which Rancher's own proxy sends with values of its own. */
export type Profile = "strict" | "rancher";

type Names = readonly [string, ...string[]];
interface NamedRule {
  readonly verbs: readonly ["impersonate"];
  readonly apiGroups: readonly ["" | "authentication.k8s.io"];
  readonly resources: readonly [string];
  readonly resourceNames: Names;
}
export const OPEN_RESOURCES = ["userextras/requesttokenid", "userextras/requesthost"] as const;
/** Any value is allowed: Rancher's two, and no other resource. */
interface OpenRule {
  readonly verbs: readonly ["impersonate"];
  readonly apiGroups: readonly ["authentication.k8s.io"];
  readonly resources: readonly [(typeof OPEN_RESOURCES)[number]];
}
export type Rule = NamedRule | OpenRule;

/** One thing that may be impersonated: `users` u-abc, `userextras/username` bob, … */
export interface Name {
  readonly resource: string;
  readonly name: string;
}

/**
 * The rules that let a service account act as exactly this identity, and as nobody else, in Rancher's order (its `rulesForUser`).
 * @see https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/
 */
export function rulesFor(identity: Identity, profile: Profile): Rule[] {
  const rules: Rule[] = named("", "users", [identity.user]);
  if (profile === "rancher") {
    for (const resource of OPEN_RESOURCES) rules.push({ verbs: ["impersonate"], apiGroups: ["authentication.k8s.io"], resources: [resource] });
  }
  rules.push(...named("", "groups", identity.groups));
  rules.push(...named("authentication.k8s.io", "userextras/principalid", identity.principalid));
  rules.push(...named("authentication.k8s.io", "userextras/username", identity.username));
  return rules;
}

/** One rule, or none where there is no name: an empty list must never become a rule. */
function named(apiGroup: "" | "authentication.k8s.io", resource: string, names: readonly string[]): NamedRule[] {
  const [first, ...rest] = names;
  if (first === undefined) return [];
  return [{ verbs: ["impersonate"], apiGroups: [apiGroup], resources: [resource], resourceNames: [first, ...rest] }];
}

/**
 * The last look at a ClusterRole before it is sent, on the bytes themselves.
 * @throws RangeError when anything in it is wider than impersonating the names of this identity.
 */
export function assertNarrow(json: string, identity: Identity, profile: Profile): void {
  const role = JSON.parse(json) as { rules?: V1PolicyRule[] | null; aggregationRule?: unknown };
  if (role.aggregationRule !== undefined && role.aggregationRule !== null) throw new RangeError("a role with an aggregationRule is wider than its rules");
  const allowed = new Set(rulesFor(identity, profile).flatMap(keysOf));
  for (const rule of role.rules ?? []) {
    for (const key of keysOf(rule)) {
      if (!allowed.has(key)) throw new RangeError(`a role for ${JSON.stringify(identity.user)} would allow more than its identity: ${key.slice(0, 120)}`);
    }
  }
}

/** Every single thing that a rule allows, as text; two rule lists that allow the same have the same set, in whatever order they are written. */
function keysOf(rule: V1PolicyRule | Rule): string[] {
  const { verbs, apiGroups = [], resources = [] } = rule;
  const names = "resourceNames" in rule && rule.resourceNames && rule.resourceNames.length > 0 ? rule.resourceNames : [undefined];
  const urls = "nonResourceURLs" in rule ? (rule.nonResourceURLs ?? []) : [];
  const keys = urls.map((url) => JSON.stringify(["url", url]));
  for (const verb of verbs)
    for (const group of apiGroups)
      for (const resource of resources) {
        for (const name of names) keys.push(JSON.stringify([verb, group, resource, name ?? null]));
      }
  return keys;
}

/** Whether two lists of rules allow the same; a permuted list is no reason to write. */
export function sameRules(seen: readonly V1PolicyRule[] | undefined, wanted: readonly Rule[]): boolean {
  const a = new Set((seen ?? []).flatMap(keysOf));
  const b = new Set(wanted.flatMap(keysOf));
  return a.size === b.size && [...a].every((key) => b.has(key));
}

/** The names that a role lets somebody impersonate: users, groups and extras, whatever else its rules may allow. */
export function namesIn(rules: readonly V1PolicyRule[] | undefined): Name[] {
  return (rules ?? []).flatMap(({ verbs, apiGroups = [], resources = [], resourceNames = [] }) => {
    if (!verbs.includes("impersonate")) return [];
    const known = resources.filter(
      (resource) => apiGroups.includes(resource.startsWith("userextras/") ? "authentication.k8s.io" : "") && IMPERSONABLE.has(resource),
    );
    return known.flatMap((resource) => resourceNames.map((name) => ({ resource, name })));
  });
}
const IMPERSONABLE: ReadonlySet<string> = new Set(["users", "groups", ...EXTRA_KEYS.map((key) => `userextras/${key}`)]);

/** What a role allows besides an identity's rules, as text: names, and whatever else its rules are made of. */
export function beyond(seen: readonly V1PolicyRule[] | undefined, wanted: readonly Rule[]): string[] {
  const allowed = new Set(wanted.flatMap(keysOf));
  return [...new Set((seen ?? []).flatMap(keysOf))].filter((key) => !allowed.has(key));
}

/** In words, why a role is not one that Rancher would make for the user: what it allows besides, or lacks. */
export function beyondRanchers({ rules = [], aggregationRule }: V1ClusterRole, user: string): string[] {
  const keys = rules.flatMap(keysOf);
  const self = JSON.stringify(["impersonate", "", "users", user]);
  const closed = new Set(["impersonate||groups", ...EXTRA_KEYS.map((key) => `impersonate|authentication.k8s.io|userextras/${key}`)]);
  const isRanchers = (key: string): boolean => {
    const [verb, group, resource, name] = JSON.parse(key) as (string | null)[];
    const open = verb === "impersonate" && group === "authentication.k8s.io" && OPEN_RESOURCES.some((one) => one === resource);
    return key === self || open || (typeof name === "string" && closed.has([verb, group, resource].join("|")));
  };
  return [
    ...(aggregationRule ? ["has an aggregationRule"] : []),
    ...keys.filter((key) => !isRanchers(key)).map((key) => `allows ${(JSON.parse(key) as (string | null)[]).map((part) => part ?? "any name").join(" ")}`),
    ...(keys.includes(self) ? [] : [`does not allow the user ${user}`]),
  ];
}

/** The names that came and went between two roles, as `groups github_org://1`. */
export function namesBetween(before: readonly V1PolicyRule[] | undefined, after: readonly V1PolicyRule[] | undefined): { added: string[]; removed: string[] } {
  const texts = (rules: readonly V1PolicyRule[] | undefined): Set<string> => new Set(namesIn(rules).map(({ resource, name }) => `${resource} ${name}`));
  const [old, now] = [texts(before), texts(after)];
  return { added: [...now].filter((name) => !old.has(name)), removed: [...old].filter((name) => !now.has(name)) };
}

/** The headers to be a user with these names: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation */
export function headersFor(user: string, names: readonly Name[]): [string, string][] {
  const headers: [string, string][] = [["Impersonate-User", user]];
  for (const { resource, name } of names) {
    if (resource === "groups") headers.push(["Impersonate-Group", name]);
    if (resource.startsWith("userextras/")) headers.push([`Impersonate-Extra-${resource.slice("userextras/".length)}`, name]);
  }
  return headers;
}

/** Exactly what a role of this identity allows by name, no less: whoever sends these is never refused for a name. */
export const allowedHeaders = (identity: Identity, profile: Profile): [string, string][] =>
  headersFor(identity.user, namesIn(rulesFor(identity, profile) as unknown as V1PolicyRule[]));

/** What proves that an API server has seen a change of role: one request as the user with these names, and whether it is to be allowed. */
export interface Witness {
  readonly names: readonly Name[];
  readonly allowed: boolean;
}

/** A name that this version added (201 expected), or where it only removed, a removed one (403 expected). Nothing differs: the user alone. */
export function witnessOf(before: readonly V1PolicyRule[] | undefined, after: readonly Rule[]): Witness {
  const key = ({ resource, name }: Name): string => `${resource} ${name}`;
  const old = namesIn(before);
  const now = namesIn(after as unknown as V1PolicyRule[]);
  const oldKeys = new Set(old.map(key));
  const nowKeys = new Set(now.map(key));
  const usable = ({ resource, name }: Name): boolean => resource !== "users" && name !== "system:authenticated";
  const added = now.find((name) => usable(name) && !oldKeys.has(key(name)));
  if (added) return { names: [added], allowed: true };
  const removed = old.find((name) => usable(name) && !nowKeys.has(key(name)));
  return removed ? { names: [removed], allowed: false } : { names: [], allowed: true };
}

/** Every name of an identity: for a run that does not know what the one before it changed. */
export function wholeWitness(after: readonly Rule[]): Witness {
  return { names: namesIn(after as unknown as V1PolicyRule[]).filter(({ resource }) => resource !== "users"), allowed: true };
}

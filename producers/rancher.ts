// Rancher's objects → grants, candidates and facts. Pure; the only file that knows what CRTB, PRTB, GlobalRoleBinding, User and UserAttribute look like (management.cattle.io/v3).
import { createHash } from "node:crypto";
import { z } from "zod";
import type { UserObject, ValueKey } from "../shared/subject.ts";
import { ClusterId, EXTRA_KEYS, ID_LENGTH_MAX, canonical } from "../shared/subject.ts";
import { timeIn } from "../shared/time.ts";

/** The five kinds, by their resource names. */
export const SOURCES = ["clusterroletemplatebindings", "projectroletemplatebindings", "globalrolebindings", "users", "userattributes"] as const;
export type SourceKind = (typeof SOURCES)[number];
export type BindingKind = Extract<SourceKind, `${string}bindings`>;
export const sourcePath = (kind: SourceKind): string => `/apis/management.cattle.io/v3/${kind}`;
export const isBindingKind = (kind: SourceKind): kind is BindingKind => kind.endsWith("bindings");

const SHORT: Record<BindingKind, string> = {
  clusterroletemplatebindings: "ClusterRoleTemplateBinding",
  projectroletemplatebindings: "ProjectRoleTemplateBinding",
  globalrolebindings: "GlobalRoleBinding",
};
const text = z.string().optional().nullable();
const Meta = z.looseObject({
  name: z.string(),
  namespace: text,
  resourceVersion: z.string(),
  deletionTimestamp: z.unknown().optional(),
  managedFields: z.array(z.looseObject({ time: text })).optional(),
});
const BindingObject = z.looseObject({
  metadata: Meta,
  clusterName: text,
  projectName: text,
  globalRoleName: text,
  userName: text,
  userPrincipalName: text,
  groupName: text,
  groupPrincipalName: text,
});

/** A binding in force. `cluster` undefined = every cluster. */
export interface Binding {
  readonly id: string;
  readonly kind: string;
  readonly name: string;
  readonly rv: string;
  readonly cluster: string | undefined;
  readonly holder: { readonly user: string } | { readonly group: string };
}
/** `waiting`: not in force yet (no userName so far, another global role); `refused`: it never will be. */
export type BindingReading = { readonly id: string; readonly rv: string } & (
  | { readonly binding: Binding }
  | { readonly gone: true }
  | { readonly waiting: string }
  | { readonly refused: string }
);

/** @returns undefined for what is no Kubernetes object at all. */
export function readBinding(kind: BindingKind, object: unknown, globalRoles: readonly string[]): BindingReading | undefined {
  const parsed = BindingObject.safeParse(object);
  if (!parsed.success) return malformed(kind, object, parsed.error);
  const { metadata, userName, userPrincipalName, groupName, groupPrincipalName } = parsed.data;
  const name = metadata.namespace ? `${metadata.namespace}/${metadata.name}` : metadata.name;
  const at = { id: `${kind}:${name}`, rv: metadata.resourceVersion };
  if (metadata.deletionTimestamp) return { ...at, gone: true };
  const scope = scopeOf(kind, parsed.data);
  if ("cluster" in scope && scope.cluster !== undefined && !ClusterId.safeParse(scope.cluster).success)
    return { ...at, refused: "its cluster is no cluster id" };
  if ("refused" in scope) return { ...at, refused: scope.refused };
  if (kind === "globalrolebindings" && !globalRoles.includes(parsed.data.globalRoleName ?? ""))
    return { ...at, waiting: "its global role is not one of UNDERSTUDY_GLOBAL_ROLES" };
  const user = userName || undefined;
  const group = groupPrincipalName || groupName || undefined;
  if ((user ?? group ?? "").length > ID_LENGTH_MAX) return { ...at, refused: `its user or group is longer than ${ID_LENGTH_MAX} characters` };
  if (user && group) return { ...at, refused: "it names both a user and a group" };
  const binding = { ...at, kind: SHORT[kind], name, cluster: scope.cluster };
  if (user) return { ...at, binding: { ...binding, holder: { user } } };
  if (group) return { ...at, binding: { ...binding, holder: { group } } };
  return { ...at, waiting: userPrincipalName ? "it has no userName yet" : "it names nobody" };
}

/** A CRTB lives in its cluster's namespace, a PRTB in its project's; one that lives elsewhere was written by somebody who may not (CVE-2022-31247). */
function scopeOf(
  kind: BindingKind,
  { metadata, clusterName, projectName }: z.infer<typeof BindingObject>,
): { cluster: string | undefined } | { refused: string } {
  if (kind === "globalrolebindings") return { cluster: undefined };
  if (kind === "clusterroletemplatebindings") {
    if (!clusterName) return { refused: "clusterName is empty" };
    return metadata.namespace === clusterName ? { cluster: clusterName } : { refused: "clusterName is not its namespace" };
  }
  const colon = projectName?.indexOf(":") ?? -1;
  if (!projectName || colon < 1 || colon === projectName.length - 1) return { refused: "projectName is not <cluster>:<project>" };
  const cluster = projectName.slice(0, colon);
  const project = projectName.slice(colon + 1);
  return metadata.namespace === project || metadata.namespace === `${cluster}-${project}` ? { cluster } : { refused: "projectName does not fit its namespace" };
}

/** An object that is no binding after all still has a name, so that its earlier reading can end. */
function malformed(kind: BindingKind, object: unknown, error: z.ZodError): BindingReading | undefined {
  const meta = z.looseObject({ metadata: Meta }).safeParse(object);
  if (!meta.success) return undefined;
  const { name, namespace, resourceVersion } = meta.data.metadata;
  return { id: `${kind}:${namespace ? `${namespace}/${name}` : name}`, rv: resourceVersion, refused: placesOf(error) };
}
const placesOf = ({ issues }: z.ZodError): string => issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ");

const strings = z.array(z.string()).nullable().optional();
const User = z.looseObject({ metadata: Meta, enabled: z.boolean().nullable().optional(), displayName: text, principalIds: strings });

/** What a User object says; `live: null` = deleted, or being deleted. */
export function readUser(object: unknown): { user: string; rv: string; live: UserObject | null } | undefined {
  const parsed = User.safeParse(object);
  if (!parsed.success) return undefined;
  const { metadata, enabled, displayName, principalIds } = parsed.data;
  const live = metadata.deletionTimestamp
    ? null
    : { enabled: enabled !== false, principalid: canonical(principalIds ?? []), username: displayName ? [displayName] : [] };
  return { user: metadata.name, rv: metadata.resourceVersion, live };
}

const Principals = z.looseObject({
  Items: z
    .array(z.looseObject({ metadata: z.looseObject({ name: z.string() }) }))
    .nullable()
    .optional(),
});
const Attribute = z.looseObject({
  metadata: Meta,
  LastRefresh: text,
  lastLogin: text,
  GroupPrincipals: z.record(z.string(), Principals).nullable().optional(),
  ExtraByProvider: z.record(z.string(), z.record(z.string(), strings)).nullable().optional(),
});
/** `hash` of the values: a refresh without news must not override a login. `at` in ms. */
export interface ProviderFacts {
  readonly provider: string;
  readonly at: number;
  readonly hash: string;
  readonly values: readonly (readonly [ValueKey, readonly string[]])[];
}

/** What keeps a User or UserAttribute from being read, each with its place. */
export function misreadAt(kind: "users" | "userattributes", object: unknown): string {
  const { error } = (kind === "users" ? User : Attribute).safeParse(object);
  return error ? placesOf(error).slice(0, 1000) : "";
}

/** What a UserAttribute says, provider by provider. The capitals are Rancher's: those fields have no json tag in its Go type. */
export function readAttribute(object: unknown): { user: string; rv: string; providers: ProviderFacts[] } | undefined {
  const parsed = Attribute.safeParse(object);
  if (!parsed.success) return undefined;
  const { metadata, LastRefresh, lastLogin, GroupPrincipals, ExtraByProvider } = parsed.data;
  const times = [LastRefresh, lastLogin, ...(metadata.managedFields ?? []).map((field) => field.time)].map(timeIn).filter((ms) => !Number.isNaN(ms));
  const at = Math.max(0, ...times);
  const providers = canonical([...Object.keys(GroupPrincipals ?? {}), ...Object.keys(ExtraByProvider ?? {})]).map((provider) => {
    const groups = GroupPrincipals && Object.hasOwn(GroupPrincipals, provider) ? GroupPrincipals[provider] : undefined;
    const extras = ExtraByProvider && Object.hasOwn(ExtraByProvider, provider) ? ExtraByProvider[provider] : undefined;
    const values: [ValueKey, string[]][] = [];
    if (groups) values.push(["groups", canonical((groups.Items ?? []).map((item) => item.metadata.name))]);
    for (const key of EXTRA_KEYS) if (extras && Object.hasOwn(extras, key)) values.push([key, canonical(extras[key] ?? [])]);
    return { provider, at, hash: createHash("sha256").update(JSON.stringify(values)).digest("hex").slice(0, 32), values };
  });
  return { user: metadata.name, rv: metadata.resourceVersion, providers: metadata.deletionTimestamp ? [] : providers };
}

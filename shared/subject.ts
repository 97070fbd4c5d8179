// The words of the product as types: subject, grant, fact, identity. Pure; everything else is built on these.
import { z } from "zod";

/** One person on one cluster: the unit of job, lock, object names and serialization. */
export interface Subject {
  readonly cluster: string;
  readonly user: string;
}

/** A subject's key in Redis and in job names. A cluster id has no `/`, so the first one separates. */
export function subjectKey({ cluster, user }: Subject): string {
  return `${cluster}/${user}`;
}

/** @throws RangeError when the text is not a subject's key. */
export function subjectOf(key: string): Subject {
  const slash = key.indexOf("/");
  if (slash < 1 || slash === key.length - 1) throw new RangeError(`not a subject: ${JSON.stringify(key)} (expected <cluster>/<user>)`);
  return { cluster: key.slice(0, slash), user: key.slice(slash + 1) };
}

/** The extras a role may hold (Rancher's; KEP-5284's new verbs refuse keys without a domain, so these stay on `impersonate`). */
export const EXTRA_KEYS = ["principalid", "username"] as const;
export type ExtraKey = (typeof EXTRA_KEYS)[number];

/** What one provider says of a user. A missing key says nothing, an empty list says "none". Lists are sorted and without repeats. */
export interface ProviderValues {
  readonly groups?: readonly string[];
  readonly principalid?: readonly string[];
  readonly username?: readonly string[];
}
export const VALUE_KEYS = ["groups", ...EXTRA_KEYS] as const;
export type ValueKey = (typeof VALUE_KEYS)[number];

/** What the source's User object says; `null` where there is none. `principalid` and `username` stand in while no provider has spoken (as in Rancher's getUser). */
export interface UserObject {
  readonly enabled: boolean;
  readonly principalid: readonly string[];
  readonly username: readonly string[];
}

/** All that is known of a user, as every one of the user's subjects holds a copy of it. */
export interface Facts {
  readonly user: UserObject | null;
  readonly providers: Readonly<Record<string, ProviderValues>>;
}

/** A binding of the user: one reason for the subject to exist. */
export interface Grant {
  readonly id: string;
  readonly kind: string;
  readonly name: string;
}

/** Why a user may have an impersonator at login: a group binding, or a global one. */
export type Candidate = { readonly id: string; readonly kind: string; readonly name: string } & ({ readonly group: string } | { readonly global: true });

/** Reads from a login: from `at` to `end` (ms); after a removal it counts until `drop` at most. */
export interface LoginGrant {
  readonly at: number;
  readonly end: number;
  readonly drop?: number;
}

/** Names that a seen role allowed while Redis had forgotten why; they count until `end` (ms) or the first real fact. */
export interface Restored extends ProviderValues {
  readonly end: number;
}

/** Who may be impersonated. Groups and extras are sorted, without repeats, and hold the two built-in groups. */
export interface Identity {
  readonly user: string;
  readonly groups: readonly string[];
  readonly principalid: readonly string[];
  readonly username: readonly string[];
}

/** A list in the one order that everything compares by (UTF-16 code units), without repeats. */
export function canonical(values: Iterable<string>): string[] {
  return [...new Set(values)].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

/** Groups that every authenticated user has (Kubernetes) or every Rancher user has; the only `system:` names allowed. */
export const BUILT_IN_GROUPS = ["system:authenticated", "system:cattle:authenticated"] as const;
export const DEFAULT_DENY_PREFIXES = ["system:", "kubeadm:", "eks:", "aks:", "gke:", "openshift:"] as const;
export const ID_LENGTH_MAX = 1024;

// C0, C1 and DEL; bidi controls and marks; zero-width characters; line separators; lone surrogates; non-characters; tags.
// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\uffff\u{e0000}-\u{e007f}]|\p{Surrogate}/u;

/** Why this user id or extra value can never be put in a role, or undefined when it can. Compared byte for byte, never trimmed or case-folded. */
export function refusalOf(value: unknown, denyPrefixes: readonly string[] = []): string | undefined {
  if (typeof value !== "string") return "is not a text";
  if (value === "") return "is empty";
  if (value.length > ID_LENGTH_MAX) return `is longer than ${ID_LENGTH_MAX} characters`;
  if (HIDDEN.test(value)) return "has control, invisible or text-direction characters";
  if (/^\s|\s$/u.test(value)) return "begins or ends with a blank";
  const prefix = denyPrefixes.find((denied) => value.startsWith(denied));
  return prefix === undefined ? undefined : `has the reserved prefix ${prefix}`;
}

/** Like refusalOf, for groups: the built-in ones pass, and where `principals` is set the others must look like Rancher's (`provider://…`). */
export function groupRefusalOf(value: unknown, denyPrefixes: readonly string[], principals: boolean): string | undefined {
  if ((BUILT_IN_GROUPS as readonly unknown[]).includes(value)) return undefined;
  const refusal = refusalOf(value, denyPrefixes);
  if (refusal !== undefined || !principals) return refusal;
  return (value as string).includes("://") ? undefined : "is not a principal (provider://…)";
}

/** A refused value as it may be shown to people: quoted, escaped, cut. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "undefined";
  return text.replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`).slice(0, 80);
}

const clusterId = /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/;
/** Cluster ids: what a file name, a label value and a Rancher cluster have in common. */
export const ClusterId = z.string().regex(clusterId, "a cluster id has up to 63 lower case letters, digits, - or .");

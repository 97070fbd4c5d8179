// Where each name of one impersonator comes from, or why its user has none, what was settled and when it is looked at next: for `explain` and the page. Pure.
import type { V1PolicyRule } from "@kubernetes/client-node";
import type { Policy } from "../decide/identity.ts";
import { decide } from "../decide/identity.ts";
import type { Explained, Origin } from "../decide/provenance.ts";
import { provenanceOf } from "../decide/provenance.ts";
import { wasStopped } from "../decide/rival.ts";
import type { Profile } from "../decide/rules.ts";
import { namesBetween, rulesFor } from "../decide/rules.ts";
import type { Candidate, Grant, Identity, Subject } from "../subject.ts";
import type { SubjectRecord, UserRecord } from "./record.ts";
import { knowledgeOf } from "./record.ts";
import type { StatusRow } from "./status.ts";
import { CLUSTER_MISSING, statusOf } from "./status.ts";

/** `applied`: it was settled on the cluster, too. */
type NameRow = Explained & { readonly applied: boolean };
/** Times are RFC 3339. `state` unknown: the ledger has no record of this subject. */
export interface Explanation extends Subject {
  readonly state: StatusRow["state"] | "unknown";
  readonly reason: string;
  readonly generation: number;
  readonly observedGeneration: number;
  /** An impersonator is to be there, by what is known now. */
  readonly wanted: boolean;
  /** Why none is, or why it is not there yet. */
  readonly why: readonly string[];
  readonly grants: readonly Grant[];
  readonly candidates: readonly Candidate[];
  readonly login: { readonly at: string | null; readonly ends: string } | null;
  readonly names: readonly NameRow[];
  /** Names that the sources or logins say and no role may hold, each with its reason. */
  readonly refused: readonly string[];
  /** What the next run would add to and take from what was settled last. */
  readonly differs: { readonly added: readonly string[]; readonly removed: readonly string[] };
  readonly removedAt: string | null;
  readonly next: { readonly at: string | null; readonly why: string };
}

/** What an explanation needs besides the subject's record. `run`: run_id of the Redis that answers; `now`: its clock (ms). */
export interface Around {
  readonly person: UserRecord;
  readonly run: string;
  readonly now: number;
  readonly settings: Policy & { readonly profile: Profile };
}

/** Of a subject, or of one that the ledger has no record of. */
export const explanationOf = (subject: Subject, record: SubjectRecord | undefined, around: Around): Explanation =>
  record ? explained(subject, record, around) : unknown(subject, around.person);

function explained(subject: Subject, record: SubjectRecord, { person, run, now, settings }: Around): Explanation {
  const known = knowledgeOf(subject.user, record, now);
  const decision = decide(known, settings);
  const { state, reason, generation, observedGeneration } = statusOf(subject, record, run);
  const rules = (identity: Identity | undefined, profile: string): V1PolicyRule[] =>
    identity ? (rulesFor(identity, profile as Profile) as unknown as V1PolicyRule[]) : [];
  const identity = decision.kind === "present" ? decision.identity : undefined;
  const { applied, login } = record;
  const differs = namesBetween(rules(applied?.identity, applied?.profile ?? ""), rules(identity, settings.profile));
  const lacks = new Set(differs.added);
  const names = identity ? provenanceOf(known, identity, settings.profile, (key, provider) => person.times.get(`${key}:${provider}`)) : [];
  const why = [decision.kind === "present" ? "" : decision.reason, state === "ready" || state === "removed" ? "" : reason].filter((text) => text !== "");
  return {
    ...subject,
    state,
    reason,
    generation,
    observedGeneration,
    wanted: identity !== undefined,
    why: [...new Set(why)],
    grants: record.grants,
    candidates: record.candidates,
    login: login ? { at: time(login.at), ends: new Date(login.end).toISOString() } : null,
    names: names.map((name) => ({ ...name, applied: !lacks.has(`${name.resource} ${name.name}`) })),
    refused: decision.kind === "present" ? decision.dropped : [],
    differs,
    removedAt: time(record.removedAt),
    next: nextOf(record, now),
  };
}

/** Nothing is stored of whoever is entitled by a group alone, until the first login. */
function unknown(subject: Subject, { facts, clusters }: UserRecord): Explanation {
  const { user } = facts;
  const why = [
    "no binding of its own is known here, and no login; what a group or a global role entitles to counts from a login on",
    user === null ? "user unknown" : user.enabled ? "" : "user disabled",
    clusters.length > 0 ? `known on ${clusters.join(", ")}` : "",
  ].filter((text) => text !== "");
  const nothing = { grants: [], candidates: [], login: null, names: [], refused: [], differs: { added: [], removed: [] }, removedAt: null };
  const next = { at: null, why: "at a binding or a login" };
  return { ...subject, state: "unknown", reason: "", generation: 0, observedGeneration: 0, wanted: false, why, ...nothing, next };
}

const time = (ms: number): string | null => (ms > 0 ? new Date(ms).toISOString() : null);

/** When the subject is looked at again, if nothing is told before. */
export function nextOf({ reason, result, rivals, fails, retryAt, owner, obs, gen, next }: SubjectRecord, now: number): Explanation["next"] {
  if (reason === CLUSTER_MISSING && obs < gen) return { at: null, why: "when its cluster is configured" };
  if (wasStopped(rivals) && result === "failed") return { at: time(retryAt), why: "looked at, and written again only after: understudy enqueue" };
  if (retryAt > now) return { at: time(retryAt), why: result === "failed" ? "a person has to act first; it is looked at again then" : `tried ${fails} times` };
  if (owner !== "") return { at: null, why: "a run is at work" };
  if (obs < gen) return { at: null, why: "as soon as a worker takes it" };
  return next > 0 ? { at: time(next), why: "a login grant, or what the role remembers, ends then" } : { at: null, why: "at the next change or resync" };
}

/** `binding crtb:…`, `github at 2026-…` */
export function originText(origin: Origin): string {
  if (origin.by === "binding") return origin.group === undefined ? `binding ${origin.id}` : `binding ${origin.id} of group ${origin.group}`;
  if (origin.by === "login") return `login${origin.at === null ? "" : ` of ${origin.at}`} until ${origin.until}`;
  if (origin.by === "provider") return `provider ${origin.provider}${origin.at === null ? "" : ` at ${origin.at}`}`;
  if (origin.by === "role") return `the role's memory until ${origin.until}`;
  return origin.by === "user" ? "the User object" : "built in";
}

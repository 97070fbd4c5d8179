// `explain`: where each name of one impersonator comes from, or why its user has none, from the ledger alone. Asks no cluster, writes nothing.
import type { V1PolicyRule } from "@kubernetes/client-node";
import { decide } from "../../shared/decide/identity.ts";
import type { Explained, Origin } from "../../shared/decide/provenance.ts";
import { provenanceOf } from "../../shared/decide/provenance.ts";
import { wasStopped } from "../../shared/decide/rival.ts";
import type { Profile } from "../../shared/decide/rules.ts";
import { namesBetween, rulesFor } from "../../shared/decide/rules.ts";
import { historyOf } from "../../shared/ledger/history.ts";
import type { SubjectRecord, UserRecord } from "../../shared/ledger/record.ts";
import { knowledgeOf } from "../../shared/ledger/record.ts";
import type { StatusRow } from "../../shared/ledger/status.ts";
import { CLUSTER_MISSING, statusOf } from "../../shared/ledger/status.ts";
import type { Config } from "../../shared/run/config.ts";
import { openStore } from "../../shared/run/redis.ts";
import type { Candidate, Grant, Identity, Subject } from "../../shared/subject.ts";
import { subjectFrom } from "./ids.ts";
import type { Answer } from "./output.ts";
import { table } from "./output.ts";
import { timelineOf, timelineText } from "./timeline.ts";

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

/** Reads two records, and the history where it is asked for. @throws UsageError for ids that can name no subject. */
export async function explain(config: Config, options: { cluster?: string; user?: string; history?: boolean }): Promise<Answer> {
  const { cluster, user } = subjectFrom(options);
  await using store = await openStore(config.redisUrl!, config.redisPrefix, 5_000, () => undefined);
  const { ledger } = store;
  const subject = { cluster, user };
  const [record, person, { run }, now] = await Promise.all([ledger.record(subject), ledger.userRecord(user), ledger.mark(), ledger.now()]);
  const json = record ? explained(subject, record, { person, run, now, config }) : unknown(subject, person);
  if (!options.history) return { json, text: textOf(json), exitCode: 0 };
  const history = await historyOf(ledger, subject);
  return { json: { ...json, history: timelineOf(history) }, text: `${textOf(json)}\n\n${timelineText(history)}`, exitCode: 0 };
}

interface Around {
  readonly person: UserRecord;
  readonly run: string;
  readonly now: number;
  readonly config: Config;
}
function explained(subject: Subject, record: SubjectRecord, { person, run, now, config }: Around): Explanation {
  const known = knowledgeOf(subject.user, record, now);
  const decision = decide(known, config);
  const { state, reason, generation, observedGeneration } = statusOf(subject, record, run);
  const rules = (identity: Identity | undefined, profile: string): V1PolicyRule[] =>
    identity ? (rulesFor(identity, profile as Profile) as unknown as V1PolicyRule[]) : [];
  const identity = decision.kind === "present" ? decision.identity : undefined;
  const { applied, login } = record;
  const differs = namesBetween(rules(applied?.identity, applied?.profile ?? ""), rules(identity, config.profile));
  const lacks = new Set(differs.added);
  const names = identity ? provenanceOf(known, identity, config.profile, (key, provider) => person.times.get(`${key}:${provider}`)) : [];
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
function nextOf({ reason, result, rivals, fails, retryAt, owner, obs, gen, next }: SubjectRecord, now: number): Explanation["next"] {
  if (reason === CLUSTER_MISSING && obs < gen) return { at: null, why: "when its cluster is configured" };
  if (wasStopped(rivals) && result === "failed") return { at: time(retryAt), why: "looked at, and written again only after: understudy enqueue" };
  if (retryAt > now) return { at: time(retryAt), why: result === "failed" ? "a person has to act first; it is looked at again then" : `tried ${fails} times` };
  if (owner !== "") return { at: null, why: "a run is at work" };
  if (obs < gen) return { at: null, why: "as soon as a worker takes it" };
  return next > 0 ? { at: time(next), why: "a login grant, or what the role remembers, ends then" } : { at: null, why: "at the next change or resync" };
}

/** `binding crtb:…`, `github at 2026-…` */
function originText(origin: Origin): string {
  if (origin.by === "binding") return origin.group === undefined ? `binding ${origin.id}` : `binding ${origin.id} of group ${origin.group}`;
  if (origin.by === "login") return `login${origin.at === null ? "" : ` of ${origin.at}`} until ${origin.until}`;
  if (origin.by === "provider") return `provider ${origin.provider}${origin.at === null ? "" : ` at ${origin.at}`}`;
  if (origin.by === "role") return `the role's memory until ${origin.until}`;
  return origin.by === "user" ? "the User object" : "built in";
}

function textOf({ cluster, user, state, wanted, why, login, names, refused, differs, removedAt, next }: Explanation): string {
  const lines = [
    `${cluster}/${user}: ${state}${wanted ? "" : ", and no impersonator is to be there"}`,
    ...why.map((text) => `why: ${text}`),
    ...(login ? [`login grant: ${login.at === null ? "" : `from ${login.at} `}until ${login.ends}`] : []),
    ...refused.map((text) => `left out: ${text}`),
    ...differs.removed.map((name) => `still applied: ${name}`),
    ...(removedAt === null ? [] : [`removed: ${removedAt}`]),
    `next look: ${next.at === null ? next.why : `${next.at}, ${next.why}`}`,
  ];
  const rows = names.map(({ resource, name, from, applied }) => [resource, name, applied ? "yes" : "not yet", from.map(originText).join("; ")]);
  return rows.length === 0 ? lines.join("\n") : `${lines.join("\n")}\n\n${table(["WHAT", "NAME", "APPLIED", "FROM"], rows)}`;
}

// One job's work on one subject: what it is told, and what it has done so far. Whoever ends it, in whatever way, finds here what to tell others.
import { randomBytes } from "node:crypto";
import type { V1PolicyRule } from "@kubernetes/client-node";
import type { Seen } from "../shared/decide/plan.ts";
import { namesBetween } from "../shared/decide/rules.ts";
import type { ClusterClient } from "../shared/kube/client.ts";
import type { HistoryEntry } from "../shared/ledger/history.ts";
import type { Done, SubjectRecord } from "../shared/ledger/record.ts";
import type { Subject } from "../shared/subject.ts";

/** One job's work on one subject: what it is told, and what it did so far. */
export interface Run {
  readonly subject: Subject;
  readonly me: string;
  signal: AbortSignal;
  readonly client: ClusterClient;
  /** Set when a write was sent whose answer never came: it may still land. */
  unknownWrite: boolean;
  /** The stamp of the record that was taken, then of the one that the last pass read; empty = not taken. */
  stamp: string;
  /** When the newest fact of that record had come (ms of redis TIME). */
  fact: number;
  /** How the subject stood when it was taken, and when that was: by redis TIME, and by this process' own clock. */
  taken: { readonly at: number; readonly since: number; readonly result: string; readonly reason: string } | undefined;
  /** How it ended; undefined while it runs, and where nothing was taken. */
  end: Pick<HistoryEntry, "outcome" | "reason"> | undefined;
  /** Something was written, in whichever pass; it differs from `before`. */
  wrote: boolean;
  /** The role was written by this run: what a dead owner may still send is void. */
  sealed: boolean;
  /** Secrets of the account that no label leads to, as far as the record has named them. */
  readonly strays: Set<string>;
  /** What was seen before anything was written. */
  before: Seen | undefined;
  readonly steps: string[];
  /** Names that the role gained and lost by this run. */
  readonly names: { added: string[]; removed: string[] };
  /** What the decision rests on, for the audit line. */
  because: readonly string[];
  /** The version of an object that another manager wrote over ours. */
  rival: string | undefined;
  /** It was stopped because of one, who has now written what we want. */
  rivalOver: boolean;
}

/** A run that has done nothing yet. `me` is random, 128 bits: no two runs of any process share it. */
export function newRun(subject: Subject, client: ClusterClient, signal: AbortSignal): Run {
  return {
    subject,
    me: randomBytes(16).toString("hex"),
    signal,
    client,
    strays: new Set(),
    unknownWrite: false,
    stamp: "",
    fact: 0,
    taken: undefined,
    end: undefined,
    wrote: false,
    sealed: false,
    before: undefined,
    steps: [],
    names: { added: [], removed: [] },
    because: [],
    rival: undefined,
    rivalOver: false,
  };
}

/** The record as it was just read. */
export function noteRecord(run: Run, { stamp, changedAt }: SubjectRecord): void {
  run.stamp = stamp;
  run.fact = changedAt;
}

/** What a run did, as the ledger has to know it, whatever its end. */
export const doneBy = ({ steps, names, rival, rivalOver }: Run): Done => ({
  revokes: steps.some((step) => step.startsWith("delete ClusterRole:")) ? "removed" : names.removed.length > 0 ? "narrowed" : undefined,
  rival,
  rivalOver,
});

/** What an auditor has to know of a run; undefined = it gave and took nothing. */
export function auditOf({
  subject,
  steps,
  names,
  because,
}: Run): { readonly what: "accessGranted" | "accessChanged" | "accessRevoked"; readonly fields: object } | undefined {
  const did = (step: string): boolean => steps.some((one) => one.startsWith(`${step} ClusterRole:`));
  const what = did("delete") ? "accessRevoked" : did("create") ? "accessGranted" : names.added.length + names.removed.length > 0 ? "accessChanged" : undefined;
  return what && { what, fields: { ...subject, because, added: names.added, removed: names.removed } };
}

/** These leave the record's result as it was. */
const PASSING: ReadonlySet<string> = new Set(["released", "newer", "lost"]);

/** What a run leaves in its subject's history, from the facts of the audit line; undefined = it wrote nothing, and the subject stands as it stood. */
export function historyEntryOf({ taken, end, fact, steps, names, because }: Run, cause: string, now: number): HistoryEntry | undefined {
  if (!taken || !end) return undefined;
  const same = PASSING.has(end.outcome) || (end.outcome === taken.result && end.reason === taken.reason);
  if (same && steps.length === 0) return undefined;
  return { fact, began: taken.at, ended: taken.at + Math.round(now - taken.since), cause, because: [...because], steps, ...end, ...names };
}

/** Keeps the names that the role gained and lost by a write. */
export function noteNames({ names }: Run, before: V1PolicyRule[] | undefined, after: V1PolicyRule[] | undefined): void {
  const { added, removed } = namesBetween(before, after);
  names.added.push(...added);
  names.removed.push(...removed);
}

/** The bindings, the login and the providers behind a decision. */
export function reasonsIn({ grants, candidates, login, facts, restored }: SubjectRecord): string[] {
  const entitling = login ? [`login of ${new Date(login.at).toISOString()}`, ...candidates.map(({ id }) => id)] : [];
  const providers = Object.keys(facts?.providers ?? {}).map((provider) => `facts of ${provider}`);
  return [...grants.map(({ id }) => id), ...entitling, ...providers, ...(restored ? ["what the role remembers"] : [])];
}

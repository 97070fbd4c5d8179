// Every subject's row and what they sum up to: states and backlog of each cluster, reasons with their numbers, how long ready took. Pure.
import { sharedReason } from "../../shared/ledger/ask.ts";
import type { Glance } from "../../shared/ledger/glance.ts";
import type { SubjectRecord } from "../../shared/ledger/record.ts";
import type { State, StatusRow } from "../../shared/ledger/status.ts";
import { statusOf } from "../../shared/ledger/status.ts";
import type { Subject } from "../../shared/subject.ts";
import { subjectKey } from "../../shared/subject.ts";

export const STATES = ["failed", "pending", "waiting", "ready", "removed"] as const satisfies readonly State[];
export type States = Readonly<Record<State, number>>;

/** As small as can be: there is one for each subject. `reason`: the same text for everybody who shares it. */
export interface Row extends Subject {
  readonly state: State;
  readonly reason: string;
}
/** `backlog`: subjects whose newest fact is not settled yet; `oldest`: since when the first of those that are worked on waits (ms, 0 = none does). */
export interface ClusterCount {
  readonly states: States;
  readonly backlog: number;
  readonly oldest: number;
}
/** Subjects of one state for one reason. `first`, `last`: since when it is so for the first of them, and when it was last seen to be so (ms). */
export interface ReasonCount {
  readonly state: State;
  readonly reason: string;
  readonly subjects: number;
  readonly clusters: ReadonlySet<string>;
  readonly first: number;
  readonly last: number;
}
/** How long it took from the last change to ready, for who changed and became ready within `WINDOW_MS` (ms). */
export interface ReadyTimes {
  readonly subjects: number;
  readonly p50: number;
  readonly p99: number;
}
/** `asOf`: when it was begun (ms). */
export interface Count {
  readonly asOf: number;
  readonly rows: readonly Row[];
  readonly states: States;
  readonly clusters: ReadonlyMap<string, ClusterCount>;
  readonly reasons: readonly ReasonCount[];
  readonly readyTimes: ReadyTimes | undefined;
}
export const WINDOW_MS = 3_600_000;

type Changing<T> = { -readonly [Key in keyof T]: T[Key] };
const none = (): Changing<States> => ({ failed: 0, pending: 0, waiting: 0, ready: 0, removed: 0 });

/** Since when a subject is as its row says (ms, 0 = not known): what is new counts from its last change. */
export function sinceOf({ result, since, settledAt, changedAt }: SubjectRecord, { state }: { readonly state: StatusRow["state"] | "unknown" }): number {
  if (state === "pending" && result !== "retrying") return changedAt;
  return since > 0 ? since : Math.max(settledAt, changedAt);
}

/** One count, told one subject after the other. `run`: run_id of the Redis that answers. */
export class Counting {
  readonly users = new Set<string>();
  readonly #asOf: number;
  readonly #run: string;
  /** Undefined: known from the count before, and not met yet. */
  readonly #rows: Map<string, Row | undefined>;
  readonly #clusters = new Map<string, Changing<ClusterCount> & { states: Changing<States> }>();
  readonly #reasons = new Map<string, Changing<ReasonCount> & { clusters: Set<string> }>();
  readonly #readyMs: number[] = [];

  /** `before`: the rows of the count before, in whose order these are: what is almost in order is sorted in a quarter of the time. */
  constructor(asOf: number, run: string, before: readonly Row[] = []) {
    this.#rows = new Map(before.map((row) => [subjectKey(row), undefined]));
    this.#asOf = asOf;
    this.#run = run;
  }

  /** A cluster counts with nobody on it, too. */
  open(cluster: string): void {
    this.#clusters.set(cluster, { states: none(), backlog: 0, oldest: 0 });
  }

  add({ subject, record }: Glance): void {
    const key = subjectKey(subject);
    if (this.#rows.get(key)) return;
    const { state, reason } = statusOf(subject, record, this.#run);
    // While it is tried again the row's reason holds a time of its own.
    const shared = record.result === "retrying" && state === "pending" ? record.reason : reason;
    this.#rows.set(key, { ...subject, state, reason: this.#reasonFor(sharedReason(shared, subject), { ...subject, state }, record) });
    this.users.add(subject.user);
    this.#addTo(this.#clusters.get(subject.cluster)!, state, record);
    const { settledAt, changedAt } = record;
    if (state === "ready" && changedAt > this.#asOf - WINDOW_MS && settledAt >= changedAt) this.#readyMs.push(settledAt - changedAt);
  }

  #addTo(cluster: Changing<ClusterCount> & { states: Changing<States> }, state: State, { obs, gen, changedAt }: SubjectRecord): void {
    cluster.states[state] += 1;
    if (obs >= gen) return;
    cluster.backlog += 1;
    if (state === "pending") cluster.oldest = cluster.oldest === 0 ? changedAt : Math.min(cluster.oldest, changedAt);
  }

  #reasonFor(reason: string, { cluster, state }: Pick<StatusRow, "cluster" | "state">, record: SubjectRecord): string {
    // Whoever was removed has succeeded.
    if (reason === "" || state === "removed") return reason;
    const since = sinceOf(record, { state });
    const last = state === "failed" || record.result === "retrying" ? Math.max(record.lastFail, since) : since;
    const known = this.#reasons.get(`${state} ${reason}`) ?? { state, reason, subjects: 0, clusters: new Set(), first: since, last };
    known.subjects += 1;
    known.clusters.add(cluster);
    known.first = Math.min(known.first, since);
    known.last = Math.max(known.last, last);
    this.#reasons.set(`${state} ${reason}`, known);
    return known.reason;
  }

  end(): Count {
    const states = none();
    for (const cluster of this.#clusters.values()) for (const state of STATES) states[state] += cluster.states[state];
    const byPlace = (a: Row, b: Row): number => (a.user === b.user ? (a.cluster < b.cluster ? -1 : 1) : a.user < b.user ? -1 : 1);
    const byWeight = (a: ReasonCount, b: ReasonCount): number => STATES.indexOf(a.state) - STATES.indexOf(b.state) || b.subjects - a.subjects;
    return {
      asOf: this.#asOf,
      rows: [...this.#rows.values()].filter((row) => row !== undefined).sort(byPlace),
      states,
      clusters: new Map([...this.#clusters].sort(([a], [b]) => (a < b ? -1 : 1))),
      reasons: [...this.#reasons.values()].sort(byWeight),
      readyTimes: readyTimesOf(this.#readyMs),
    };
  }
}

function readyTimesOf(all: number[]): ReadyTimes | undefined {
  if (all.length === 0) return undefined;
  const sorted = Float64Array.from(all).sort();
  const at = (share: number): number => sorted[Math.ceil(sorted.length * share) - 1]!;
  return { subjects: sorted.length, p50: at(0.5), p99: at(0.99) };
}

// A person's word: look at this subject again, at all that fail for one reason, at all of a cluster that waited. Brings no fact.
import type { Subject } from "../subject.ts";
import { shown } from "../subject.ts";
import type { Ledger } from "./ledger.ts";
import type { SubjectRecord } from "./record.ts";
import { CLUSTER_MISSING, statusOf } from "./status.ts";
import type { Submitted } from "./told.ts";

/** So many at once; who asks again gets the next ones. */
export const GROUP_MAX = 1000;

/** Subjects that fail, or are tried again, for one reason; without `cluster` on all of them. */
export interface Group {
  readonly reason: string;
  readonly cluster?: string | undefined;
}

/** Cause `verify`; who was stopped because of another manager is written again. */
export async function lookAgain(ledger: Ledger, { cluster, user }: Subject): Promise<Submitted> {
  const copy = await ledger.learn(user, { join: cluster });
  return ledger.submit({ cluster, user }, { copy, again: true }, "verify", "binding");
}

/** Looks again at each of a group, but for those whose try is still to come. */
export async function lookAgainAt(ledger: Ledger, group: Group, onAsked: (subject: Subject) => void): Promise<void> {
  const { run } = await ledger.mark();
  let asked = 0;
  for (const cluster of await ledger.clusters()) {
    if (group.cluster !== undefined && group.cluster !== cluster) continue;
    for await (const { subject, record } of ledger.subjects(cluster)) {
      if (groupReasonOf(subject, record, run) !== group.reason || isAsked(record)) continue;
      if (asked === GROUP_MAX) return;
      asked += 1;
      await lookAgain(ledger, subject);
      onAsked(subject);
    }
  }
}

/** To ask for these again would leave others out. */
const isAsked = ({ changedAt, lastFail, settledAt }: SubjectRecord): boolean => changedAt > Math.max(lastFail, settledAt);

/** Why a subject does not succeed, without what is its own, so that many can share it; undefined = it does. */
function groupReasonOf(subject: Subject, record: SubjectRecord, run: string): string | undefined {
  const { state, reason } = statusOf(subject, record, run);
  if (state === "failed") return sharedReason(reason, subject);
  // While it is tried again the row's reason holds a time of its own.
  return state === "pending" && record.result === "retrying" ? sharedReason(record.reason, subject) : undefined;
}

/** A reason without what is one subject's own, so that many can share it. */
export function sharedReason(reason: string, { cluster, user }: Subject): string {
  return reason
    .replaceAll(`cluster ${cluster}`, "cluster …")
    .replaceAll(shown(user), "…")
    .replaceAll(/(cattle-impersonation-)(?!system\b)[^\s/"]+/g, "$1…");
}

/** What waited for its cluster: jobs of one that was not known were completed without work, jobs of a paused one come late. */
export async function wakeUnsettled(ledger: Ledger, cluster: string): Promise<void> {
  for await (const { subject, record } of ledger.subjects(cluster))
    if (record.obs < record.gen || record.reason === CLUSTER_MISSING) await ledger.wake(subject, "sweep", "binding");
}

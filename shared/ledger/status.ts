// A subject's row as `status`, the hook and the page show it. Pure.
import type { Subject } from "../subject.ts";
import type { SubjectRecord } from "./record.ts";

export type State = "ready" | "pending" | "waiting" | "failed" | "removed";
export interface StatusRow extends Subject {
  readonly state: State;
  readonly reason: string;
  readonly generation: number;
  readonly observedGeneration: number;
  /** RFC 3339 */
  readonly updatedAt: string;
  readonly loginEnds: string | null;
}

/** A subject's row as `status`, the hook and the page show it. `run`: run_id of the Redis that answers; what another one confirmed is asked again. */
export function statusOf(subject: Subject, record: SubjectRecord, run: string): StatusRow {
  const settled = record.obs >= record.gen && record.conf === run;
  return {
    ...subject,
    ...stateOf(record, settled),
    generation: record.gen,
    observedGeneration: record.obs,
    updatedAt: new Date(Math.max(record.settledAt, record.changedAt)).toISOString(),
    loginEnds: record.login ? new Date(record.login.end).toISOString() : null,
  };
}

/** What was settled counts only on the Redis that confirmed it. */
function stateOf(record: SubjectRecord, settled: boolean): { state: State; reason: string } {
  const { result } = record;
  const reason = [record.reason, record.alien && `tampering: bound by ${record.alien} too`].filter(Boolean).join("; ");
  if (result === "failed") return { state: "failed", reason };
  if (result === "waiting" && (settled || SHELVED.has(record.reason))) return { state: "waiting", reason };
  if (settled && (result === "ready" || result === "removed")) return { state: result, reason };
  if (record.grants.length === 0 && record.gen === 0) return { state: "removed", reason };
  if (result === "retrying") return { state: "pending", reason: `tried ${record.fails} times, next at ${new Date(record.retryAt).toISOString()}: ${reason}` };
  return { state: "pending", reason: result === "pending" ? reason : "" };
}
export const CLUSTER_MISSING = "cluster not configured";
export const FENCE_OFF = "the fence is not on";
/** Not worked on for a reason that is not the subject's; whatever more becomes known of it meanwhile waits as well. */
const SHELVED: ReadonlySet<string> = new Set([CLUSTER_MISSING, FENCE_OFF]);

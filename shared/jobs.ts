// The three queues, what a job carries, and what happens after an error. A job is a wake-up: it names a subject and a cause for people to read. Pure.
import { z } from "zod";
import type { Subject } from "./subject.ts";
import { ClusterId, subjectKey } from "./subject.ts";

/** `deletion` = something that removes a grant, `login` = the hook, `binding` = everything else. All three end in the same reconcile. */
export const QUEUES = ["binding", "login", "deletion"] as const;
export type QueueName = (typeof QUEUES)[number];

/** Why a subject is looked at; for people and for the choice of priority, never for what is done. */
export const CAUSES = ["binding", "facts", "login", "deletion", "verify", "drift", "resync", "orphan", "filled", "sweep"] as const;
export type Cause = (typeof CAUSES)[number];

/** Causes after which somebody else may have changed objects: the pass looks at the cluster even if nothing new is known. */
export const LOOKING_CAUSES: ReadonlySet<Cause> = new Set(["verify", "drift", "resync", "orphan"]);

/** Sweep and resync stand behind everything else, under a deduplication id of their own: a fact deduplicated onto a waiting job of low priority would stay behind the backlog. */
export const BACKGROUND_CAUSES: ReadonlySet<Cause> = new Set(["resync", "orphan", "sweep"]);
const BACKGROUND_PRIORITY = 100;

const JOB_VERSION = 1;
/** The edge: what is in Redis may have been written by another version, or by hand. */
export const JobData = z.strictObject({
  v: z.literal(JOB_VERSION, `this worker understands job version ${JOB_VERSION}: update it, or remove the job`),
  cluster: ClusterId,
  user: z.string().min(1).max(1024),
  cause: z.enum(CAUSES),
});
export type JobData = z.infer<typeof JobData>;

/** How one wake-up is put into a queue; BullMQ's own option names. */
export function jobFor(subject: Subject, cause: Cause, delayMs: number) {
  const background = BACKGROUND_CAUSES.has(cause);
  const id = (background ? "~" : "") + subjectKey(subject);
  const data: JobData = { v: JOB_VERSION, cluster: subject.cluster, user: subject.user, cause };
  const opts = {
    delay: Math.max(0, Math.ceil(delayMs)),
    // While waiting: dropped. While active: kept as one next job. While delayed: moved to the newer, earlier time.
    deduplication: { id, keepLastIfActive: true, reschedule: true },
    // The number is never reached: how often a subject is tried is decided by its record.
    attempts: 100_000,
    backoff: { type: "ledger" },
    ...(background ? { priority: BACKGROUND_PRIORITY } : {}),
  };
  return { name: subjectKey(subject), data, opts };
}

/** A person must act: trying again cannot help until they have. */
export class TerminalError extends Error {
  override readonly name = "TerminalError";
}

/** Not our turn yet (busy, gate, Retry-After, no import, a terminating namespace): comes back after `waitMs` and uses no attempt. */
export class WaitError extends Error {
  override readonly name = "WaitError";
  readonly waitMs: number;
  constructor(message: string, waitMs: number, options?: ErrorOptions) {
    super(message, options);
    this.waitMs = waitMs;
  }
}

export type NextMove = { readonly kind: "terminal" } | { readonly kind: "wait"; readonly waitMs: number } | { readonly kind: "retry" };

/** The one table of what happens after an error. */
export function nextMoveOf(error: unknown): NextMove {
  if (error instanceof TerminalError) return { kind: "terminal" };
  if (error instanceof WaitError) return { kind: "wait", waitMs: error.waitMs };
  return { kind: "retry" };
}

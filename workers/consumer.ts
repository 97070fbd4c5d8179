// One BullMQ worker of one queue: parse → gate → take → reconcile → settle, and the next move of each job. The only file that knows how BullMQ moves a job.
import type { Job } from "bullmq";
import { DelayedError, UnrecoverableError, Worker } from "bullmq";
import type { Redis } from "ioredis";
import type { Cause, QueueName } from "../shared/jobs.ts";
import { JobData, WaitError, nextMoveOf } from "../shared/jobs.ts";
import type { Clusters } from "../shared/kube/clusters.ts";
import { ApiError } from "../shared/kube/errors.ts";
import { noteHistory } from "../shared/ledger/history.ts";
import { LOCK_MS } from "../shared/ledger/ledger.ts";
import { CLUSTER_MISSING } from "../shared/ledger/status.ts";
import type { Log } from "../shared/run/log.ts";
import { errorFields } from "../shared/run/log.ts";
import type { Metrics, PassResult } from "../shared/run/metrics.ts";
import type { Subject } from "../shared/subject.ts";
import type { Fences } from "./fence.ts";
import { UnfencedError } from "./fence.ts";
import type { Gate } from "./gate.ts";
import { isAway } from "./gate.ts";
import type { Locks } from "./locks.ts";
import type { Outcome, Settings } from "./reconcile.ts";
import { reconcile } from "./reconcile.ts";
import type { Run } from "./run.ts";
import { auditOf, doneBy, historyEntryOf, newRun, noteRecord } from "./run.ts";

/** How long a job that finds its subject taken waits at most before it asks again. */
const BUSY_MS_MAX = 250;
const IMPORT_WAIT_MS = 1_000;
/** Another worker may know the cluster. */
const UNREAD_WAIT_MS = 1_000;
/** Where the record could not be asked: Redis itself is away. */
const RETRY_MS = 5_000;
/** A subject whose cluster has no fence is looked at again after this. */
const UNFENCED_MS = 30_000;
const AWAY_MS_MAX = 8_000;
/** Jobs of a paused cluster come back after so long, give or take half, so that a backlog is in nobody's way; whoever resumes it wakes them at once. */
const PAUSED_MS = 30_000;

/** What every job of a process shares. */
export interface Workbench extends Settings {
  readonly clusters: Clusters;
  readonly locks: Locks;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Undefined where no fence is required. */
  readonly fences: Fences | undefined;
  gateOf(cluster: string): Gate;
  /** The import mark is missing: stop taking jobs until it is back. */
  onIncomplete(): void;
}

/** Carries the delay that the record chose to BullMQ's backoff strategy. */
class RetryError extends Error {
  override readonly name = "RetryError";
  readonly delayMs: number;
  constructor(message: string, delayMs: number) {
    super(message);
    this.delayMs = delayMs;
  }
}

/** Starts a consumer. Closing it is the caller's. */
export function consume(name: QueueName, connection: Redis, prefix: string, concurrency: number, bench: Workbench): Worker {
  const worker = new Worker(name, async (job, token, signal) => work(job, token!, signal!, name, bench), {
    connection,
    prefix,
    concurrency,
    autorun: false,
    // The same in every process: whoever checked last rules for all. A lost lock of BullMQ's is as long as ours.
    lockDuration: LOCK_MS,
    stalledInterval: LOCK_MS,
    maxStalledCount: 1000,
    settings: { backoffStrategy: (_attempts, _type, error) => (error instanceof RetryError ? error.delayMs : RETRY_MS) },
  });
  worker.on("error", (error) => bench.log.redisTrouble({ queue: name, err: error }));
  worker.on("failed", (job, error) => {
    if (!job || !(error instanceof RetryError)) return;
    comeEarlier(job, error.delayMs, bench).catch((cause: unknown) => bench.log.redisTrouble({ queue: name, err: cause }));
  });
  return worker;
}

/** One job, from its data to what BullMQ is to do with it. */
async function work(job: Job, token: string, cancelled: AbortSignal, queue: QueueName, bench: Workbench): Promise<string> {
  const count = (result: PassResult): string => {
    bench.metrics.passes.inc({ queue, result });
    return result;
  };
  const parsed = JobData.safeParse(job.data);
  if (!parsed.success) {
    count("refused");
    const problem = parsed.error.issues.map((issue) => `${issue.path.join(".") || "data"}: ${issue.message}`).join("; ");
    bench.log.jobRefused({ queue, job: job.id, problem });
    throw new UnrecoverableError(`job data is wrong: ${problem}`);
  }
  const subject: Subject = { cluster: parsed.data.cluster, user: parsed.data.user };
  const client = bench.clusters.get(subject.cluster);
  if (!client && !bench.clusters.complete) {
    bench.log.handedBack({ ...subject, reason: "which clusters there are is not known yet", waitMs: UNREAD_WAIT_MS });
    count("released");
    await job.moveToDelayed(Date.now() + UNREAD_WAIT_MS, token);
    throw new DelayedError();
  }
  if (!client) {
    await bench.ledger.shelve(subject, CLUSTER_MISSING);
    return count("waiting");
  }
  const run = newRun(subject, client, cancelled);
  try {
    await assertNotPaused(subject.cluster, bench);
    return count(await bench.gateOf(subject.cluster).pass(queue, () => attempt(run, job, bench)));
  } catch (error) {
    const end = await afterError(error, run, job, token, bench);
    count(end.result);
    if (end.thrown) throw end.thrown;
    return end.result;
  } finally {
    await tell(run, parsed.data.cause, bench);
  }
}

/** A person's word goes before everything. A run that has begun ends. @throws WaitError */
async function assertNotPaused(cluster: string, { ledger }: Workbench): Promise<void> {
  const paused = await ledger.pausedAt(cluster);
  if (paused) throw new WaitError(`cluster ${cluster} is paused by ${paused.by}`, PAUSED_MS * (0.5 + Math.random()));
}

/** For auditors, and for whoever asks later. Whatever becomes of the run: what it gave and took is so. */
async function tell(run: Run, cause: Cause, { ledger, log }: Workbench): Promise<void> {
  const did = auditOf(run);
  if (did) log[did.what]({ ...did.fields, cause });
  const entry = historyEntryOf(run, cause, performance.now());
  if (entry) await noteHistory(ledger, run.subject, entry).catch((err: unknown) => log.redisTrouble({ ...run.subject, err }));
}

/** Not this job's turn: another run has the subject (`busy`), it is too early (`early`), or nothing may be written yet (`incomplete`). */
class NotNow extends WaitError {
  readonly why: "busy" | "early" | "incomplete";
  constructor(why: NotNow["why"], waitMs: number) {
    super(why, waitMs);
    this.why = why;
  }
}

/** Inside the gate: the lock first, then the work under it. */
async function attempt(run: Run, job: Job, bench: Workbench): Promise<PassResult> {
  const began = performance.now();
  const { subject } = run;
  const taken = await bench.ledger.take(subject, run.me);
  if (taken.answer === "busy") throw new NotNow("busy", Math.min(taken.waitMs, BUSY_MS_MAX) * (0.5 + Math.random() / 2));
  if (taken.answer === "wait") throw new NotNow("early", taken.waitMs);
  if (taken.answer === "version") bench.log.versionSkipped({ ...subject });
  if (taken.answer !== "go") return "done";
  const { record, now } = taken.read;
  noteRecord(run, record);
  run.taken = { at: now, since: began, result: record.result, reason: record.reason };
  const hold = bench.locks.hold(run);
  run.signal = AbortSignal.any([hold.signal, run.signal]);
  try {
    const outcome = await bench.gateOf(subject.cluster).calls(async () => {
      await bench.fences?.assertOn(run.client);
      return reconcile(run, taken, bench);
    });
    return await report(outcome, run, job, Math.round(performance.now() - began), now, bench);
  } finally {
    hold.release();
  }
}

/** The outcome as a log line and a metric. */
async function report(outcome: Outcome, run: Run, job: Job, ms: number, now: number, bench: Workbench): Promise<PassResult> {
  const fields = { ...run.subject, cause: (job.data as JobData).cause, ms };
  if (outcome.kind === "incomplete") throw new NotNow("incomplete", IMPORT_WAIT_MS);
  run.end = { outcome: outcome.kind === "settled" ? outcome.result : outcome.kind, reason: "reason" in outcome ? outcome.reason : "" };
  if (outcome.kind === "pending") {
    bench.log.parked({ ...fields, reason: outcome.reason, steps: run.steps });
    // Kept as this job's next one; a filled token wakes the subject by itself.
    if (outcome.againMs !== undefined) await bench.ledger.wake(run.subject, "verify", "binding", outcome.againMs);
  }
  if (outcome.kind !== "settled") return outcome.kind;
  if (!run.wrote && outcome.result === "ready") {
    bench.log.unchanged(fields);
    return "unchanged";
  }
  bench.log.reconciled({ ...fields, result: outcome.result, reason: outcome.reason, steps: run.steps });
  if (outcome.result === "ready" && outcome.changedAt > 0) bench.metrics.eventToReady.observe(Math.max(0, now - outcome.changedAt + ms) / 1000);
  return outcome.result;
}

/** Error → the record's move (S6) → the job's move. Returns what BullMQ has to see; nothing = the job is complete. */
async function afterError(error: unknown, run: Run, job: Job, token: string, bench: Workbench): Promise<{ thrown?: Error; result: PassResult }> {
  const { subject } = run;
  const move = nextMoveOf(error);
  const reason = errorFields(error).message;
  const how = { reason, unknown: run.unknownWrite, wrote: run.wrote, ...doneBy(run) };
  const release = (waitMs: number) => (run.stamp === "" ? undefined : bench.ledger.fail(subject, run.me, run.stamp, { mode: "release", waitMs, ...how }));
  if (move.kind === "wait") {
    run.end = { outcome: "released", reason };
    await release(move.waitMs);
    if (error instanceof NotNow && error.why === "incomplete") bench.onIncomplete();
    const { cause } = error as Error;
    if (cause instanceof ApiError && cause.retryAfterMs !== undefined) bench.gateOf(subject.cluster).closeFor(move.waitMs);
    bench.log.handedBack({ ...subject, reason, waitMs: Math.round(move.waitMs) });
    // Not a failure: the job waits and uses no attempt.
    await job.moveToDelayed(Date.now() + move.waitMs, token);
    if (error instanceof NotNow && error.why === "early") await comeEarlier(job, move.waitMs, bench);
    return { thrown: new DelayedError(), result: error instanceof NotNow && error.why === "busy" ? "busy" : "released" };
  }
  if (error instanceof UnfencedError) {
    run.end = { outcome: "waiting", reason };
    await bench.ledger.fail(subject, run.me, run.stamp, { mode: "shelve", waitMs: UNFENCED_MS, ...how });
    bench.log.handedBack({ ...subject, reason, waitMs: UNFENCED_MS });
    return { result: "waiting" };
  }
  if (run.stamp === "") throw new RetryError(reason, RETRY_MS);
  run.end = { outcome: move.kind === "terminal" ? "failed" : "retrying", reason };
  // The gate keeps everybody from a cluster that is away; once it is back nobody waits long for having found out.
  const longest = isAway(error) ? AWAY_MS_MAX : 0;
  const waitMs = await bench.ledger.fail(subject, run.me, run.stamp, { mode: move.kind === "terminal" ? "terminal" : "fail", waitMs: longest, ...how });
  if (waitMs === 0) {
    run.end = { outcome: "lost", reason };
    return { result: "lost" };
  }
  if (move.kind === "terminal") {
    bench.log.terminal({ ...subject, err: error });
    return { thrown: new UnrecoverableError(reason), result: "terminal" };
  }
  bench.log.tryFailed({ ...subject, err: error, waitMs: Math.round(waitMs) });
  return { thrown: new RetryError(reason, waitMs), result: "retry" };
}

/** A fact that came while the job was active is stored as its next job, which starts when this one ends, not when it moves: so it may have to come earlier. */
async function comeEarlier(job: Job, waitMs: number, { ledger }: Workbench): Promise<void> {
  const { cluster, user } = job.data as JobData;
  const retryMs = await ledger.retryIn({ cluster, user });
  if (retryMs + BUSY_MS_MAX < waitMs) await job.changeDelay(retryMs);
}

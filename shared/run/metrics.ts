// Every metric of the product, at zero from the start so that alerts work from the first minute. Never a label with a user.
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";
import type { Queue } from "bullmq";
import { QUEUES } from "../jobs.ts";

export type Metrics = ReturnType<typeof openMetrics>;
const RESULTS = ["ready", "unchanged", "pending", "waiting", "removed", "retry", "terminal", "released", "done", "busy", "lost", "newer", "refused"] as const;
export type PassResult = (typeof RESULTS)[number];

/** What became of a request for a credential. */
export const CREDENTIAL_RESULTS = ["given", "unauthenticated", "refused", "unknown", "unavailable", "wrong"] as const;

/** One registry per process. */
export function openMetrics() {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]): Counter<L> =>
    new Counter({ name, help, labelNames: [...labelNames], registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[]): Gauge<L> =>
    new Gauge({ name, help, labelNames: [...labelNames], registers });
  const passes = counter("understudy_passes_total", "Jobs by queue and how they ended", ["queue", "result"]);
  for (const queue of QUEUES) for (const result of RESULTS) passes.inc({ queue, result }, 0);
  const credentials = counter("understudy_credentials_total", "Requests for a credential by what became of them", ["result"]);
  for (const result of CREDENTIAL_RESULTS) credentials.inc({ result }, 0);
  return {
    registry,
    passes,
    writes: counter("understudy_writes_total", "Writes to a cluster by kind and what was done", ["cluster", "kind", "action"]),
    eventToReady: new Histogram({
      name: "understudy_event_to_ready_seconds",
      help: "From the last change of what is known of a subject to ready",
      buckets: [0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
      registers,
    }),
    gateOpen: gauge("understudy_gate_open", "1 = calls pass, 0.5 = one is tried, 0 = the cluster does not answer", ["cluster"]),
    importComplete: gauge("understudy_import_complete", "1 = the import mark fits the Redis that answers", []),
    importedAt: gauge("understudy_import_last_success_timestamp_seconds", "When the sources were last imported", []),
    resyncedAt: gauge("understudy_resync_last_success_timestamp_seconds", "When a cluster was last compared with the ledger", ["cluster"]),
    orphans: gauge("understudy_orphans", "Impersonators without a grant, found by the last resync", ["cluster"]),
    removalsHeld: gauge("understudy_removals_held", "Removals that wait for a person's word", ["cluster"]),
    drift: counter("understudy_drift_total", "Objects that somebody else changed or deleted", ["cluster", "kind"]),
    tampering: counter("understudy_tampering_total", "Objects by which somebody got more than was to be", ["cluster", "kind"]),
    watchRetries: counter("understudy_watch_retries_total", "Watches that ended with an error", ["kind"]),
    refused: counter("understudy_refused_total", "Bindings and facts of a source that were refused", ["what"]),
    logins: counter("understudy_logins_total", "Login hook requests by status", ["status"]),
    credentials,
    tokenAge: new Histogram({
      name: "understudy_token_age_seconds",
      help: "How old the tokens were that were given out",
      buckets: [60, 600, 1800, 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400, 90 * 86_400, 365 * 86_400],
      registers,
    }),
  };
}

/** Jobs per queue and state, counted when asked. */
export function countJobs(metrics: Metrics, queues: readonly Queue[]): void {
  const gauge = new Gauge({
    name: "bullmq_job_count",
    help: "Jobs by queue and state",
    labelNames: ["queue", "state"],
    registers: [metrics.registry],
    async collect() {
      // Without Redis the rest of the page is wanted all the more: the last counts stand.
      const counts = await Promise.allSettled(queues.map(async (queue) => ({ queue, states: await queue.getJobCounts() })));
      for (const count of counts) {
        if (count.status === "fulfilled")
          for (const [state, jobs] of Object.entries(count.value.states)) this.set({ queue: count.value.queue.name, state }, jobs);
      }
    },
  });
  for (const { name: queue } of queues) gauge.set({ queue, state: "waiting" }, 0);
}

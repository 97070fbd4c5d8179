// One gate per cluster: how many subjects at once, and whether the cluster is answering at all. A cluster that is down costs the others nothing.
import type { BulkheadPolicy, CircuitBreakerPolicy } from "cockatiel";
import { BrokenCircuitError, BulkheadRejectedError, CircuitState, ConsecutiveBreaker, bulkhead, circuitBreaker, handleWhen } from "cockatiel";
import { WaitError } from "../shared/jobs.ts";
import { ApiError } from "../shared/kube/errors.ts";

const FAILURES_MAX = 5;
/** A pass is short; whoever finds the gate full comes back soon. */
const FULL_WAIT_MS = 100;
/** After so long one call is tried again. */
const PAUSE_MS = 5_000;

/** No answer, or an answer that says that the server is not well: what a breaker counts. */
const isTrouble = (error: unknown): boolean => error instanceof ApiError && (error.status === 0 || error.status >= 500 || error.status === 401);

export class Gate {
  readonly cluster: string;
  readonly #bulkhead: BulkheadPolicy;
  readonly #breaker: CircuitBreakerPolicy;
  #closedUntil = 0;
  #reason = "";

  constructor(cluster: string, atOnce: number, onChange: (gate: Gate) => void) {
    this.cluster = cluster;
    this.#bulkhead = bulkhead(atOnce, 0);
    this.#breaker = circuitBreaker(handleWhen(isTrouble), { breaker: new ConsecutiveBreaker(FAILURES_MAX), halfOpenAfter: PAUSE_MS });
    this.#breaker.onBreak((reason) => {
      this.#closedUntil = Math.max(this.#closedUntil, performance.now() + PAUSE_MS);
      this.#reason = "error" in reason && reason.error instanceof ApiError ? `${reason.error.status || "no answer"} ${reason.error.reason}`.trimEnd() : "";
    });
    this.#breaker.onStateChange(() => onChange(this));
  }

  /** `open` = calls pass. */
  get state(): "open" | "half-open" | "closed" {
    if (this.#closedUntil > performance.now()) return "closed";
    return this.#breaker.state === CircuitState.Closed ? "open" : "half-open";
  }
  get reason(): string {
    return this.state === "open" ? "" : this.#reason;
  }

  /** The server asked for a pause (Retry-After): nobody calls before it is over. */
  closeFor(waitMs: number): void {
    this.#closedUntil = Math.max(this.#closedUntil, performance.now() + waitMs);
    this.#reason = "it asked for a pause";
  }

  /** Lets a job in, or not. @throws WaitError before anything is done, when the cluster is busy or known not to answer. */
  async pass<T>(work: () => Promise<T>): Promise<T> {
    const pauseMs = this.#closedUntil - performance.now();
    if (pauseMs > 0) throw this.#closed(pauseMs);
    try {
      return await this.#bulkhead.execute(work);
    } catch (error) {
      if (error instanceof BulkheadRejectedError) throw new WaitError(`cluster ${this.cluster} is worked on by as many as it may`, FULL_WAIT_MS, { cause: error });
      throw error;
    }
  }

  /** Runs what calls the cluster, and remembers how it went. @throws WaitError while another one is finding out whether the cluster is back. */
  async calls<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await this.#breaker.execute(work);
    } catch (error) {
      if (error instanceof BrokenCircuitError) throw this.#closed(PAUSE_MS, error);
      throw error;
    }
  }

  #closed(waitMs: number, cause?: Error): WaitError {
    return new WaitError(`the gate of cluster ${this.cluster} is closed: ${this.#reason}`, waitMs, { cause });
  }
}

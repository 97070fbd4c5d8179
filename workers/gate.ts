// One gate per cluster: how many subjects of each queue at once, and whether the cluster is answering at all. A cluster that is down costs the others nothing.
import type { BulkheadPolicy, CircuitBreakerPolicy } from "cockatiel";
import { BrokenCircuitError, BulkheadRejectedError, CircuitState, ConsecutiveBreaker, bulkhead, circuitBreaker, handleWhen } from "cockatiel";
import type { QueueName } from "../shared/jobs.ts";
import { WaitError } from "../shared/jobs.ts";
import { ApiError } from "../shared/kube/errors.ts";

const FAILURES_MAX = 5;
const FULL_WAIT_MS_MIN = 20;
const FULL_WAIT_MS_MAX = 10_000;
/** After so long one call is tried again. */
const PAUSE_MS = 5_000;

/** No answer, or an answer that says that the server is not well: what a breaker counts. */
const isTrouble = (error: unknown): boolean => error instanceof ApiError && (error.status === 0 || error.status >= 500 || error.status === 401);

/** No subject's fault: the cluster cannot be reached, or what stands before it cannot reach it. */
export const isAway = (error: unknown): boolean => error instanceof ApiError && [0, 502, 503, 504].includes(error.status);

/** How many passes of one queue run at once. Who comes too many is told when its turn is likely to be, or a backlog would be asked for again and again. */
class Lane {
  readonly #bulkhead: BulkheadPolicy;
  readonly #atOnce: number;
  #passMs = 20;
  #nextTurn = 0;

  constructor(atOnce: number) {
    this.#atOnce = atOnce;
    this.#bulkhead = bulkhead(atOnce, 0);
  }

  /** @throws BulkheadRejectedError when the lane is full. */
  async pass<T>(work: () => Promise<T>): Promise<T> {
    return this.#bulkhead.execute(async () => {
      const began = performance.now();
      try {
        return await work();
      } finally {
        this.#passMs = 0.9 * this.#passMs + 0.1 * (performance.now() - began);
      }
    });
  }

  /** A turn of its own for each who is told to wait. */
  turnMs(): number {
    const now = performance.now();
    this.#nextTurn = Math.min(Math.max(this.#nextTurn, now + FULL_WAIT_MS_MIN) + this.#passMs / this.#atOnce, now + FULL_WAIT_MS_MAX);
    return this.#nextTurn - now;
  }
}

/** Of this process: each finds out for itself, and says so in the ledger for `status`. */
export class Gate {
  readonly cluster: string;
  readonly #lanes: Readonly<Record<QueueName, Lane>>;
  readonly #breaker: CircuitBreakerPolicy;
  readonly #onChange: (gate: Gate) => void;
  #closedUntil = 0;
  #reason = "";

  constructor(cluster: string, atOnce: number, onChange: (gate: Gate) => void) {
    this.cluster = cluster;
    this.#onChange = onChange;
    this.#lanes = { binding: new Lane(atOnce), login: new Lane(atOnce), deletion: new Lane(atOnce) };
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
    this.#onChange(this);
  }

  /** Lets a job in, or not. @throws WaitError before anything is done, when the cluster is busy or known not to answer. */
  async pass<T>(queue: QueueName, work: () => Promise<T>): Promise<T> {
    const pauseMs = this.#closedUntil - performance.now();
    if (pauseMs > 0) throw this.#closed(pauseMs);
    const lane = this.#lanes[queue];
    try {
      return await lane.pass(work);
    } catch (error) {
      if (error instanceof BulkheadRejectedError)
        throw new WaitError(`cluster ${this.cluster} is worked on by as many as it may`, lane.turnMs(), { cause: error });
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

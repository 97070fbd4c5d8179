// So many calls a second on one cluster, and none while it asks for a pause. State with a lifetime: one for each cluster and command.
import { WaitError } from "../../shared/jobs.ts";
import { ApiError, meaningOf } from "../../shared/kube/errors.ts";
import { pause } from "../../shared/kube/watch.ts";

/** A server that asks for a pause again and again is left alone. */
const TRIES_MAX = 10;

export class Pace {
  readonly #everyMs: number;
  readonly #stop: AbortSignal;
  #next = 0;

  constructor(perSecond: number, stop: AbortSignal) {
    this.#everyMs = 1_000 / perSecond;
    this.#stop = stop;
  }

  get stopped(): boolean {
    return this.#stop.aborted;
  }

  /** Acts when it is its turn; false when told to stop before that. What has begun is ended. @throws what `act` throws, but 429 and 503 with a Retry-After only at last. */
  async turn(cluster: string, act: () => Promise<void>): Promise<boolean> {
    for (let tries = 1; ; tries++) {
      const now = performance.now();
      const at = Math.max(this.#next, now);
      this.#next = at + this.#everyMs;
      await pause(at - now, this.#stop);
      if (this.stopped) return false;
      try {
        await act();
        return true;
      } catch (error) {
        const meaning = error instanceof ApiError ? meaningOf(error, cluster) : error;
        if (!(meaning instanceof WaitError) || tries === TRIES_MAX) throw error;
        this.#next = Math.max(this.#next, performance.now() + meaning.waitMs);
      }
    }
  }
}

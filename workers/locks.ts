// The locks that this process holds: renewed together, and a run that lost its own is ended.
import { LOCK_MS } from "../shared/ledger/ledger.ts";
import type { Ledger } from "../shared/ledger/ledger.ts";
import type { Log } from "../shared/run/log.ts";
import type { Subject } from "../shared/subject.ts";

interface Held {
  readonly subject: Subject;
  readonly me: string;
  readonly abort: AbortController;
}

/** One timer for all runs: a lock a run would be a call a run. */
export class Locks implements Disposable {
  readonly #ledger: Ledger;
  readonly #log: Log;
  readonly #held = new Set<Held>();
  readonly #timer: NodeJS.Timeout;

  constructor(ledger: Ledger, log: Log) {
    this.#ledger = ledger;
    this.#log = log;
    this.#timer = setInterval(() => void this.#renew(), LOCK_MS / 3);
  }

  /** From take to the end of the run. */
  hold({ subject, me }: { readonly subject: Subject; readonly me: string }): { readonly signal: AbortSignal; release(): void } {
    const held: Held = { subject, me, abort: new AbortController() };
    this.#held.add(held);
    return { signal: held.abort.signal, release: () => void this.#held.delete(held) };
  }

  /** Ends every run: its next write is not sent. */
  abortAll(): void {
    for (const held of this.#held) held.abort.abort();
  }

  /** A third of the lock's time apart, so that one failed call loses nothing. */
  async #renew(): Promise<void> {
    try {
      for (const { subject, abort } of await this.#ledger.renew([...this.#held])) {
        abort.abort();
        this.#log.lockLost({ ...subject });
      }
    } catch (error) {
      // No answer is no renewal; a run writes nothing once it is ten seconds old, and the lock lasts fifteen.
      this.#log.redisTrouble({ err: error });
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

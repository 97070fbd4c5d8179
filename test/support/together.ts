// Steps that concurrent tests of one file take together, where each alone would have to wait for the same quarter of a minute: a lock that expires.
// A test that is filtered out does not take part, so that one can run alone.
import { setImmediate as nextTurn } from "node:timers/promises";

export class Together {
  #parties = 0;
  readonly #steps = new Map<string, { arrived: number; readonly act: () => unknown; readonly done: PromiseWithResolvers<void> }>();

  /** A test body that takes part in the steps. When it ends, well or not, nobody waits for it any more. */
  taking<A extends unknown[]>(act: (...args: A) => Promise<void>): (...args: A) => Promise<void> {
    return async (...args) => {
      this.#parties += 1;
      // Until all have begun: they do so in one turn of the event loop.
      await nextTurn();
      try {
        await act(...args);
      } finally {
        this.#parties -= 1;
        this.#look();
      }
    };
  }

  /** Resolves when all who take part have come here, and what `act` does is done; the first to come brings it. */
  async step(name: string, act: () => unknown = () => undefined): Promise<void> {
    const step = this.#steps.get(name) ?? { arrived: 0, act, done: Promise.withResolvers<void>() };
    this.#steps.set(name, step);
    step.arrived += 1;
    this.#look();
    await step.done.promise;
  }

  #look(): void {
    for (const [name, step] of this.#steps) {
      if (step.arrived < this.#parties || step.arrived === 0) continue;
      this.#steps.delete(name);
      Promise.resolve()
        .then(step.act)
        .then(() => step.done.resolve(), step.done.reject);
    }
  }
}

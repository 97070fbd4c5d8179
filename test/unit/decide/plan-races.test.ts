// Others at work at the same time: runs that race each other, and hands that edit between a look and a write.
import { test } from "node:test";
import fc from "fast-check";
import type { Wanted } from "../../../shared/decide/objects.ts";
import type { Pass, Step } from "../../../shared/decide/plan.ts";
import { nextStep } from "../../../shared/decide/plan.ts";
import { nameOf } from "../../../shared/names.ts";
import { aPass, anyWanted } from "../../support/builders.ts";
import { Conflict, ObjectModel, Revived, carryOut, note } from "../../support/object-model.ts";
import { aStart, assertExactly, damages, modelFrom } from "./damages.ts";

const runs = { numRuns: 100 };

/** A run that works on what it saw, until a conflict makes it look again; as a worker does. */
class Racer {
  readonly #model: ObjectModel;
  readonly #goal: Wanted;
  #pass: Pass;
  #passes = 0;
  readonly #me: string;
  constructor(model: ObjectModel, goal: Wanted, me: string) {
    this.#model = model;
    this.#goal = goal;
    this.#me = me;
    this.#pass = this.#freshPass();
  }
  #freshPass(): Pass {
    return aPass({ me: this.#me, nonce: `${this.#me}${this.#passes++}` });
  }
  /** Decides on what it sees now; the returned function acts, by when others may have acted. */
  decide(): () => void {
    const seen = this.#model.seen(nameOf(this.#goal.identity.user));
    const step: Step = nextStep(this.#goal, seen, this.#pass);
    return () => {
      try {
        if ("kind" in step) this.#model.apply(step);
        note(this.#pass, step, seen);
      } catch (error) {
        if (!(error instanceof Conflict)) throw error;
        this.#pass = this.#freshPass();
      }
    };
  }
}

test("runs that race, in any order, leave one impersonator with one Secret after the last of them", () => {
  fc.assert(
    fc.property(anyWanted, fc.array(fc.tuple(fc.nat({ max: 2 }), fc.boolean()), { maxLength: 40 }), (goal, schedule) => {
      const model = new ObjectModel();
      const racers = ["a", "b", "c"].map((me) => new Racer(model, goal, me));
      const acts: ((() => void) | undefined)[] = [undefined, undefined, undefined];
      for (const [who, acting] of schedule) {
        if (acting) acts[who]?.();
        acts[who] = racers[who]!.decide();
      }
      carryOut(model, nameOf(goal.identity.user), goal, aPass({ nonce: "last" }));
      assertExactly(model, goal);
    }),
    runs,
  );
});

test("runs of both token modes that race, as in a rolling change of the setting, leave what the last of them wants", () => {
  fc.assert(
    fc.property(anyWanted, fc.array(fc.tuple(fc.nat({ max: 2 }), fc.boolean()), { maxLength: 40 }), (goal, schedule) => {
      const model = new ObjectModel();
      const racers = (["secret", "request", "secret"] as const).map((tokenMode, i) => new Racer(model, { ...goal, tokenMode }, "abc"[i]!));
      const acts: ((() => void) | undefined)[] = [undefined, undefined, undefined];
      for (const [who, acting] of schedule) {
        if (acting) acts[who]?.();
        acts[who] = racers[who]!.decide();
      }
      for (const tokenMode of ["request", "secret", goal.tokenMode] as const) {
        carryOut(model, nameOf(goal.identity.user), { ...goal, tokenMode }, aPass({ nonce: `last-${tokenMode}` }));
        assertExactly(model, { ...goal, tokenMode });
      }
    }),
    runs,
  );
});

test("a foreign hand between look and write meets a precondition, and the next passes still end right", () => {
  fc.assert(
    fc.property(
      anyWanted,
      aStart,
      fc.array(fc.option(fc.constantFrom(...Object.keys(damages)), { nil: undefined }), { maxLength: 25 }),
      (goal, start, hands) => {
        const model = modelFrom(start, goal);
        const racer = new Racer(model, goal, "a");
        for (const hand of hands) {
          const act = racer.decide();
          if (hand) damages[hand]!(model, nameOf(goal.identity.user));
          try {
            act();
          } catch (error) {
            // A Secret that this very pass made and somebody else deleted keeps its name by design; everything else may not.
            if (!(error instanceof Revived)) throw error;
            return;
          }
        }
        carryOut(model, nameOf(goal.identity.user), goal, aPass({ nonce: "last" }));
        assertExactly(model, goal);
      },
    ),
    runs,
  );
});

// What an act of a demo plays with, and how its answers are counted.
import type { Ledger } from "../../shared/ledger/ledger.ts";
import type { Ask } from "./answers.ts";
import type { Cast } from "./cast.ts";
import type { Fleet } from "./fleet.ts";

export interface Stage {
  readonly fleet: Fleet;
  readonly cast: Cast;
  readonly ledger: Ledger;
  readonly hook: string;
  readonly secret: string;
  /** On the clock of `performance`. */
  readonly began: number;
  readonly say: (line: string) => void;
}
/** As an administrator of that cluster. */
export const adminOf = ({ fleet }: Stage, cluster: string): Ask => fleet.downstream.find(({ name }) => name === cluster)!.ask;

/** Prints an answer, and counts whether it is the one that was promised. */
export class Tally {
  asked = 0;
  kept = 0;
  readonly #say: (line: string) => void;
  constructor(say: (line: string) => void) {
    this.#say = say;
  }
  expect(promised: boolean, line: string): void {
    this.asked += 1;
    if (promised) this.kept += 1;
    this.#say(`  ${promised ? "✓" : "✗"} ${line}`);
  }
}

/** An act whose part nobody can play is left out. */
export interface Act {
  readonly title: string;
  play(stage: Stage, tally: Tally): Promise<void>;
}

// What a worker would do with one subject after a lost Redis, told before it does: the same decision and the same steps, from what sources and cluster say alone. Pure.
import type { KubernetesObject } from "@kubernetes/client-node";
import type { Facts, Candidate, Grant, ProviderValues } from "../subject.ts";
import type { Decision, Knowledge, Policy } from "./identity.ts";
import { decide } from "./identity.ts";
import { inTheWayReason, memoryOf, ownOnly } from "./memory.ts";
import type { Wanted } from "./objects.ts";
import { wantedFor } from "./objects.ts";
import type { Kind, Seen } from "./plan.ts";
import type { Foretold } from "./steps.ts";
import { stepsTowards } from "./steps.ts";

/** What the sources say of a user on a cluster. `candidates`: of the groups that the sources name, or the role. */
export interface Heard {
  readonly user: string;
  readonly grants: readonly Grant[];
  readonly candidates: readonly Candidate[];
  readonly facts: Facts;
}
/** `recreate`: deleted, and at once made again under its name. */
export interface PlannedStep {
  readonly action: "create" | "change" | "recreate" | "delete";
  readonly kind: Kind;
  readonly name: string;
  readonly user: string;
  readonly reason: string;
}
/** With the object as it is, and as it would be; undefined = it is not there. */
export interface ForeseenStep extends PlannedStep {
  readonly before: KubernetesObject | undefined;
  readonly after: KubernetesObject | undefined;
}
/** `waiting`: nothing is there and nothing is done, for a reason that may pass; `failed`: a person has to act first. */
export interface Foreseen {
  readonly state: "equal" | "steps" | "absent" | "waiting" | "failed";
  readonly steps: readonly ForeseenStep[];
  readonly reason: string;
  /** What stands under the user's name and is not ours. */
  readonly untouched: { readonly kind: Kind; readonly reason: string } | undefined;
}
/** The settings that decide. */
export type Rules = Policy & Pick<Wanted, "profile" | "install" | "tokenMode"> & { readonly adopt: boolean };

/** The worker's pass over one subject, in memory. `now`: ms. The sealing of a role, by which a first run voids what a dead one may still write, is no difference. */
export function foresee(heard: Heard, seen: Seen, rules: Rules, now: number): Foreseen {
  const { user } = heard;
  const known = knownAfterLoss(heard, memoryOf(seen.role, user, rules.install), now);
  const decision = decide(known, rules);
  const wanted = wantedFor(decision, rules);
  const { own, inTheWay } = ownOnly(seen, user, { install: rules.install, adopt: rules.adopt && wanted !== undefined }, undefined);
  const untouched = inTheWay && { kind: inTheWay.kind, reason: inTheWayReason(inTheWay) };
  if (wanted && inTheWay) return { state: inTheWay.holder === "foreign" ? "failed" : "waiting", steps: [], reason: untouched!.reason, untouched };
  const why = decision.kind !== "present" ? decision.reason : known.restored ? "known from the role only" : undefined;
  const steps = planned(stepsTowards(wanted, own), user, why);
  const reason = decision.kind === "present" ? decision.dropped.map((name) => `left out: ${name}`).join("; ") : decision.reason;
  return { state: steps.length > 0 ? "steps" : stateOf(decision), steps, reason, untouched };
}

function stateOf(decision: Decision): Foreseen["state"] {
  if (decision.kind === "present") return "equal";
  return decision.kind === "refused" ? "failed" : decision.waiting ? "waiting" : "absent";
}

/** As read.lua restores it: the role's login counts until its end, and its names while no provider has spoken. */
export function knownAfterLoss(heard: Heard, memory: { readonly ends: number; readonly values: ProviderValues } | undefined, now: number): Knowledge {
  const runs = memory && memory.ends > now ? memory : undefined;
  const silent = Object.keys(heard.facts.providers).length === 0;
  return { ...heard, login: runs && { at: 0, end: runs.ends }, restored: runs && silent ? { ...runs.values, end: runs.ends } : undefined, now };
}

/** In words; a delete and the create that follows it under the same name are one step. */
function planned(writes: readonly Foretold[], user: string, why: string | undefined): ForeseenStep[] {
  const steps: ForeseenStep[] = [];
  for (const write of writes) {
    const name = write.do === "delete" ? write.name : write.object.metadata!.name!;
    const after = write.do === "delete" ? undefined : write.object;
    const last = steps.at(-1);
    if (write.do === "create" && last?.action === "delete" && last.kind === write.kind && last.name === name)
      steps[steps.length - 1] = { ...last, action: "recreate", after };
    else {
      const reason = why === undefined ? write.reason : `${write.reason}; ${why}`;
      steps.push({ action: write.do, kind: write.kind, name, user, reason, before: write.before, after });
    }
  }
  return steps;
}

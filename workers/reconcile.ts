// Start reading here: observe → read → decide → apply → ready. One run works on one subject, under the subject's lock, until the cluster equals the decision.
import { randomBytes } from "node:crypto";
import type { V1PolicyRule } from "@kubernetes/client-node";
import type { Decision, Policy } from "../shared/decide/identity.ts";
import { decide, isRestored } from "../shared/decide/identity.ts";
import type { InTheWay } from "../shared/decide/memory.ts";
import { appliedFrom, holderOf, inTheWayReason, memoryOf, ownOnly, rememberedObjects, remembersAll, wantedThen } from "../shared/decide/memory.ts";
import type { TokenMode, Wanted } from "../shared/decide/objects.ts";
import { wantedFor } from "../shared/decide/objects.ts";
import type { Kind, Pass, Seen, Step } from "../shared/decide/plan.ts";
import { nextStep } from "../shared/decide/plan.ts";
import { isStopped, overwrittenIn, wasStopped } from "../shared/decide/rival.ts";
import type { Write } from "../shared/decide/steps.ts";
import { noteStep } from "../shared/decide/steps.ts";
import type { Profile } from "../shared/decide/rules.ts";
import { namesBetween, rulesFor, wholeWitness, witnessOf } from "../shared/decide/rules.ts";
import { TerminalError, WaitError } from "../shared/jobs.ts";
import { ApiError, meaningOf } from "../shared/kube/errors.ts";
import type { Ledger } from "../shared/ledger/ledger.ts";
import type { Applied, Done, Read, Settlement, SubjectRecord } from "../shared/ledger/record.ts";
import { knowledgeOf } from "../shared/ledger/record.ts";
import { ConflictError, carryOut, getBinding, getRole, observe } from "./cluster.ts";
import type { NotReady } from "./ready.ts";
import { UNSEEN, whyNotReady } from "./ready.ts";
import type { Run } from "./run.ts";
import { doneBy, noteNames, noteRecord, reasonsIn } from "./run.ts";

/** How long a pass may be old when it writes: shorter than the lock, on this process' own monotonic clock. */
const PASS_MS_MAX = 10_000;
const PASSES_MAX = 4;

/** What is the same for every run of a process. */
export interface Settings {
  readonly ledger: Ledger;
  readonly policy: Policy;
  readonly profile: Profile;
  readonly install: string;
  readonly adopt: boolean;
  readonly tokenMode: TokenMode;
  readonly readySettleMs: number;
  onWrite(cluster: string, kind: Kind, action: Step["do"]): void;
}
/** How a run ended without an error. `newer`, `lost`: somebody else goes on. */
export type Outcome =
  | { readonly kind: "settled"; readonly result: Settlement["result"]; readonly reason: string; readonly changedAt: number }
  /** `pending` = parked. */
  | ({ readonly kind: "pending" } & NotReady)
  | { readonly kind: "lost" | "newer" | "incomplete" };

/** Makes the cluster equal to what the ledger says of this subject. @throws TerminalError, WaitError, or an error to be retried. */
export async function reconcile(run: Run, taken: { readonly takeover: boolean; readonly read: Read }, settings: Settings): Promise<Outcome> {
  for (const name of taken.read.record.strays) run.strays.add(name);
  for (let passes = 0; passes < PASSES_MAX; passes++) {
    try {
      const outcome = await pass(run, taken, settings, passes === 0);
      if (outcome !== "again") return outcome;
    } catch (error) {
      if (error instanceof ConflictError) continue;
      if (error instanceof ApiError) {
        if (error.mayHaveLanded) run.unknownWrite = true;
        throw meaningOf(error, run.subject.cluster);
      }
      throw error;
    }
  }
  throw new WaitError(`others keep writing the objects of this user on cluster ${run.subject.cluster}`, 1_000);
}

/** One pass. `first`: what the ledger remembers may stand for an observation; after a conflict it may not. */
async function pass(run: Run, taken: { readonly takeover: boolean; readonly read: Read }, settings: Settings, first: boolean): Promise<Outcome | "again"> {
  const { record } = taken.read;
  const { user } = run.subject;
  const began = performance.now();
  const trusted = first && !taken.takeover && !record.look;
  const remembered = trusted && record.applied && remembersAll(record.applied, settings.tokenMode) ? record.applied : undefined;
  const cold = first && record.obs === 0 && !record.applied && !record.look;
  const seen = remembered ? rememberedObjects(remembered, settings.install) : await look(run, cold, [...run.strays]);
  const read = remembered ? taken.read : await settings.ledger.read(run.subject, run.me, memoryOf(seen.role, user, settings.install));
  if (read === "lost") return { kind: "lost" };
  noteRecord(run, read.record);
  run.before ??= seen;
  if (!read.complete) return { kind: "incomplete" };
  // Told of after the lock was taken: not looked at yet.
  const looked = run.strays.size;
  for (const name of read.record.strays) run.strays.add(name);
  if (run.strays.size > looked) return "again";
  const known = knowledgeOf(user, read.record, read.now);
  const decision = decide(known, settings.policy);
  const wanted = wantedFor(decision, settings);
  const { own, inTheWay } = ownOnly(seen, user, { install: settings.install, adopt: settings.adopt && wanted !== undefined }, read.record.applied);
  run.because = reasonsIn(read.record);
  if (wanted && inTheWay) return leaveAlone(run, settings, read.record, inTheWay);
  if (!remembered) noteRival(run, settings, own, wanted, read);
  const state: Pass = {
    takeover: taken.takeover,
    me: run.me,
    nonce: randomBytes(5).toString("hex"),
    sealed: run.sealed,
    absenceSeen: false,
    ownAccount: false,
    rotated: false,
    checked: false,
  };
  const after = await apply(run, settings, { wanted, seen: own, state, record: read.record, began });
  if (typeof after === "string") return after === "again" ? "again" : { kind: after };
  if (decision.kind !== "present") return settleAbsent(run, settings, read.record, decision);
  const proved = await prove(run, settings, wanted!, after, read);
  if (proved.waits) {
    const done = { ...doneBy(run), revokes: revokesOf(run, read.record, proved.applied) };
    const verdict = await settings.ledger.park(run.subject, run.me, read.record, proved.waits.reason, proved.applied, done);
    return verdict === "ok" ? { kind: "pending", ...proved.waits } : { kind: verdict };
  }
  const reasons = [
    decision.dropped.length > 0 && `left out: ${decision.dropped.join("; ")}`,
    isRestored(known, settings.policy) && "restored from the role",
  ].filter(Boolean);
  return settle(run, settings, read.record, { result: "ready", reason: reasons.join("; ").slice(0, 1000), applied: proved.applied, next: decision.next });
}

/** Cold: one GET of the binding; its absence is all that a create needs to know. */
async function look({ client, subject, signal }: Run, cold: boolean, strays: readonly string[]): Promise<Seen> {
  if (cold && !(await getBinding(client, subject.user, signal))) return { secrets: [] };
  return observe(client, subject.user, strays, signal);
}

/** Remembers that another manager wrote over our objects. @throws TerminalError where it does so again and again: two that do not agree would go on for ever. */
function noteRival(run: Run, { install }: Settings, own: Seen, wanted: Wanted | undefined, { record, now }: Read): void {
  const overwritten = record.applied && overwrittenIn(own, wantedThen(record.applied, install));
  run.rival = overwritten?.resourceVersion ?? run.rival;
  if (!wanted || !isStopped(record.rivals, overwritten, now)) return;
  const settled = !overwritten && own.role && own.account && own.binding && !overwrittenIn(own, wanted);
  if (settled) {
    run.rivalOver = wasStopped(record.rivals);
    return;
  }
  const who = overwritten ? `${overwritten.manager} wrote over the ${overwritten.kind}` : "its objects were written over";
  throw new TerminalError(`another manager: ${who} three times in ten minutes; stop it, then look again with: understudy enqueue`);
}

interface Work {
  readonly wanted: Wanted | undefined;
  readonly seen: Seen;
  readonly state: Pass;
  readonly record: SubjectRecord;
  readonly began: number;
}
/** Steps until nothing differs. */
async function apply(run: Run, settings: Settings, { wanted, seen: first, state, record, began }: Work): Promise<Seen | "again" | "lost"> {
  let seen = first;
  for (;;) {
    const step = nextStep(wanted, seen, state);
    if (step.do === "done") return seen;
    // Told to stop, or the lock is lost: handed back, which does nothing where somebody else has it.
    if (run.signal.aborted) throw new WaitError("the run was ended", 0);
    if (step.do === "wait") throw new WaitError(`${step.reason} on cluster ${run.subject.cluster}`, 1_000);
    if (step.do === "check") {
      const verdict = await settings.ledger.check(run.subject, run.me, record);
      if (verdict !== "ok") return verdict === "lost" ? "lost" : "again";
      noteStep(state, step);
    } else if (step.do === "look-again") {
      const role = await getRole(run.client, run.subject.user, run.signal);
      if (role && holderOf(role, run.subject.user, settings.install, new Set()) === "ours") return "again";
      noteStep(state, step);
    } else if ("kind" in step) {
      // Too old to write: the precondition it carries may have been overtaken by a lock that expired meanwhile.
      if (performance.now() - began > PASS_MS_MAX) return "again";
      const before = seen.role?.rules;
      seen = await carryOut(run.client, step, wanted, seen, run.signal);
      run.wrote = true;
      if (step.kind === "ClusterRole") noteNames(run, before, seen.role?.rules);
      note(run, settings, state, step);
    }
  }
}

/** What this pass may rely on from now on. */
function note(run: Run, settings: Settings, state: Pass, step: Write): void {
  run.steps.push(`${step.do} ${step.kind}: ${step.reason}`);
  settings.onWrite(run.subject.cluster, step.kind, step.do);
  noteStep(state, step);
  run.sealed ||= state.sealed;
}

/** What was written is proved before it counts. Returns why it is not yet, or undefined; `applied` carries the witness until then. */
async function prove(
  run: Run,
  settings: Settings,
  wanted: Wanted,
  seen: Seen,
  { record, now }: Read,
): Promise<{ waits: NotReady | undefined; applied: Applied }> {
  const settled = appliedFrom(wanted, seen);
  if (!run.wrote && record.result === "ready") return { waits: undefined, applied: settled };
  const rules = rulesFor(wanted.identity, wanted.profile);
  const witness = run.wrote ? witnessOf(run.before!.role?.rules, rules) : (record.applied?.witness ?? wholeWitness(rules));
  const [secret] = seen.secrets;
  const fresh = run.before?.secrets.every(({ metadata }) => metadata!.uid !== secret?.metadata!.uid) ?? false;
  const waitedMs = record.result === "pending" && record.written === record.stamp && record.reason === UNSEEN ? now - record.since : 0;
  const waits = await whyNotReady(run.client, { user: run.subject.user, secret, fresh, witness, waitedMs, settleMs: settings.readySettleMs }, run.signal);
  return { waits, applied: waits ? appliedFrom(wanted, seen, witness) : settled };
}

/** Nobody is left to act as: removed, waiting for a user, or refused. */
async function settleAbsent(run: Run, settings: Settings, record: SubjectRecord, decision: Exclude<Decision, { kind: "present" }>): Promise<Outcome> {
  // Refused: the standing impersonator is gone; a person has to change the source.
  if (decision.kind === "refused") throw new TerminalError(decision.reason);
  return settle(run, settings, record, { result: decision.waiting ? "waiting" : "removed", reason: decision.reason, applied: undefined, next: decision.next });
}

/** Others' objects stand where ours would: never touched. */
async function leaveAlone(run: Run, settings: Settings, record: SubjectRecord, inTheWay: InTheWay): Promise<Outcome> {
  const reason = inTheWayReason(inTheWay);
  if (inTheWay.holder === "foreign") throw new TerminalError(reason);
  return settle(run, settings, record, { result: "waiting", reason: reason.slice(0, 1000), applied: undefined, next: 0 });
}

/** The record learns what was seen; a newer fact makes it `newer`, and its own job goes on. */
async function settle(run: Run, { ledger }: Settings, record: SubjectRecord, settlement: Settlement): Promise<Outcome> {
  const verdict = await ledger.settle(run.subject, run.me, record, { ...settlement, ...doneBy(run), revokes: revokesOf(run, record, settlement.applied) });
  if (verdict !== "ok") return { kind: verdict };
  return { kind: "settled", result: settlement.result, reason: settlement.reason, changedAt: record.changedAt };
}

/** What this run took away; or one before it, which died before it could say so and left what was settled before. */
function revokesOf(run: Run, record: SubjectRecord, applied: Applied | undefined): Done["revokes"] {
  const lost = applied && record.applied ? namesBetween(rulesOf(record.applied), rulesOf(applied)).removed : [];
  return doneBy(run).revokes ?? (lost.length > 0 ? "narrowed" : undefined);
}

const rulesOf = ({ identity, profile }: Applied): V1PolicyRule[] => rulesFor(identity, profile as Profile) as unknown as V1PolicyRule[];

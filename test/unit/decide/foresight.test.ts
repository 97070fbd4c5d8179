// The steps that `plan` foretells, carried out on a model of an API server: they end in equality, they are the worker's own, and where nothing is to be done there is none.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Heard, Rules } from "../../../shared/decide/foresight.ts";
import { foresee } from "../../../shared/decide/foresight.ts";
import type { Wanted } from "../../../shared/decide/objects.ts";
import { stepsTowards } from "../../../shared/decide/steps.ts";
import { nameOf } from "../../../shared/names.ts";
import { DAY_MS, NOW, aGrant, aPass, aPolicy, anIdentity, anyWanted, facts, globalCandidate, groupCandidate, wanted } from "../../support/builders.ts";
import { ObjectModel, carryOut, says } from "../../support/object-model.ts";
import { aStart, assertExactly, damages, modelFrom } from "./damages.ts";

const TEAM = "github_team://1";
const RULES: Rules = { ...aPolicy(), profile: "strict", install: "understudy", tokenMode: "secret", adopt: false };
const NAME = nameOf("u-alice");
const heard = (about: Partial<Heard> = {}): Heard => ({ user: "u-alice", grants: [], candidates: [], facts: facts(), ...about });
const bound = heard({ grants: [aGrant()] });
/** Of alice's, as the product leaves it: a role that remembers a login where `ends` says so. */
function standing(about: { groups?: readonly string[]; ends?: number } = {}): ObjectModel {
  const model = new ObjectModel();
  const { groups = [], ends } = about;
  carryOut(model, NAME, wanted({ identity: anIdentity({ groups }), loginEnds: ends === undefined ? undefined : { at: ends - 30 * DAY_MS, end: ends } }));
  return model;
}
const told = ({ steps }: ReturnType<typeof foresee>): string[] => steps.map(({ action, kind }) => `${action} ${kind}`);

/** A model on which uids are as foretold, so that what was foretold can be carried out: a new object has the uid that its children name. */
function carryOutForetold(model: ObjectModel, name: string, goal: Wanted | undefined): number {
  const before = stepsTowards(goal, model.seen(name));
  const done = carryOut(model, name, goal, aPass({ me: "", nonce: "0123456789" })).filter((step) => "kind" in step);
  assert.deepEqual(before.map(says), done.map(says));
  const reasons = (steps: readonly object[]): unknown[] => steps.map((step) => (step as { reason?: string }).reason);
  assert.deepEqual(reasons(before), reasons(done));
  return before.length;
}

test("from any state what is foretold is what a pass then does, and it ends in exactly the wanted impersonator, for which nothing is foretold", () => {
  fc.assert(
    fc.property(anyWanted, aStart, (goal, start) => {
      const model = modelFrom(start, goal);
      const name = nameOf(goal.identity.user);
      carryOutForetold(model, name, goal);
      assertExactly(model, goal);
      assert.deepEqual(stepsTowards(goal, model.seen(name)), []);
    }),
    { numRuns: 200 },
  );
});

test("from any state what is foretold of a removal is what a pass then does, and it leaves nothing, for which nothing is foretold", () => {
  fc.assert(
    fc.property(anyWanted, aStart, (goal, start) => {
      const model = modelFrom(start, goal);
      const name = nameOf(goal.identity.user);
      carryOutForetold(model, name, undefined);
      assert.equal(model.size, 0);
      assert.deepEqual(stepsTowards(undefined, model.seen(name)), []);
    }),
    { numRuns: 100 },
  );
});

test("each single damage is foretold to be mended, unless it is none", () => {
  const goal = wanted();
  for (const what of Object.keys(damages)) {
    const model = modelFrom({ built: "whole", broken: [what], collected: false }, goal);
    carryOutForetold(model, NAME, goal);
    assertExactly(model, goal);
  }
});

test("foretelling changes nothing of what was seen, because the next subject is judged by the same lists", () => {
  const seen = standing({ groups: [TEAM] }).seen(NAME);
  const before = JSON.stringify(seen);
  foresee(bound, seen, RULES, NOW);
  assert.equal(JSON.stringify(seen), before);
});

test("an empty cluster gets the four objects in the order of set-up, with a token Secret whose name is not drawn yet", () => {
  const { state, steps } = foresee(bound, { secrets: [] }, RULES, NOW);
  assert.equal(state, "steps");
  assert.deepEqual(
    steps.map(({ action, kind, name, user, reason }) => [action, kind, name, user, reason]),
    [
      ["create", "ClusterRole", NAME, "u-alice", "it is missing"],
      ["create", "ServiceAccount", NAME, "u-alice", "it is missing"],
      ["create", "Secret", `${NAME}-token-<new>`, "u-alice", "it is missing"],
      ["create", "ClusterRoleBinding", NAME, "u-alice", "it is missing"],
    ],
  );
});

test("a role that stands as it should is no step although a worker that lost its Redis seals it, because plan names differences", () => {
  assert.deepEqual(foresee(bound, standing().seen(NAME), RULES, NOW), { state: "equal", steps: [], reason: "", untouched: undefined });
});

test("an object that is deleted and made again under its name is one step", () => {
  const model = standing();
  damages["binding is of another role"]!(model, NAME);
  assert.deepEqual(told(foresee(bound, model.seen(NAME), RULES, NOW)), ["recreate ClusterRoleBinding"]);
});

test("while no provider has spoken the role's own names count until the end of the login that it remembers, and each step says that they are all that is known", () => {
  const ends = NOW + DAY_MS;
  const model = standing({ groups: [TEAM], ends });
  model.drop("ClusterRoleBinding", NAME);
  const member = heard({ candidates: [groupCandidate(TEAM)] });
  const { steps } = foresee(member, model.seen(NAME), RULES, NOW);
  assert.deepEqual(
    steps.map(({ action, kind, reason }) => [action, kind, reason]),
    [["create", "ClusterRoleBinding", "it is missing; known from the role only"]],
  );
  const late = foresee(member, model.seen(NAME), RULES, ends);
  assert.deepEqual([told(late)[0], late.reason], ["delete ClusterRole", "no grant"]);
});

test("a provider's word counts instead of the role's as soon as there is one, and ends what it no longer entitles to", () => {
  const model = standing({ groups: [TEAM], ends: NOW + DAY_MS });
  const spoken = facts({ providers: { github: { groups: ["github_team://2"] } } });
  const still = foresee(heard({ candidates: [globalCandidate()], facts: spoken }), model.seen(NAME), RULES, NOW);
  assert.deepEqual([told(still), still.steps[0]!.reason], [["change ClusterRole"], "the rules are not the identity's"]);
  const gone = foresee(heard({ candidates: [groupCandidate(TEAM)], facts: spoken }), model.seen(NAME), RULES, NOW);
  assert.deepEqual([told(gone)[0], gone.steps[0]!.reason], ["delete ClusterRole", "nobody may act as this user here; no longer entitled"]);
});

test("what is not ours under the user's name gets no step: Rancher's waits, anybody else's has failed", () => {
  const rancher = standing();
  for (const kind of ["ClusterRole", "ServiceAccount", "ClusterRoleBinding"] as const) rancher.edit(kind, NAME, ({ metadata }) => delete metadata!.annotations);
  const waits = foresee(bound, rancher.seen(NAME), RULES, NOW);
  assert.deepEqual([waits.state, waits.steps, waits.untouched], ["waiting", [], { kind: "ClusterRole", reason: "managed by Rancher" }]);
  rancher.edit("ClusterRole", NAME, ({ metadata }) => delete metadata!.labels);
  const foreign = foresee(bound, rancher.seen(NAME), RULES, NOW);
  assert.deepEqual([foreign.state, foreign.steps], ["failed", []]);
  assert.match(foreign.reason, /^foreign object: the ClusterRole /);
});

test("who waits is told from who is refused: the one may come by itself, the other needs a person", () => {
  const disabled = foresee(heard({ grants: [aGrant()], facts: facts({ user: { enabled: false } }) }), { secrets: [] }, RULES, NOW);
  assert.deepEqual([disabled.state, disabled.reason], ["waiting", "user disabled"]);
  const reserved = foresee(heard({ user: "system:admin", grants: [aGrant()] }), { secrets: [] }, RULES, NOW);
  assert.deepEqual([reserved.state, reserved.steps], ["failed", []]);
  const nobody = foresee(heard(), { secrets: [] }, RULES, NOW);
  assert.deepEqual([nobody.state, nobody.steps], ["absent", []]);
});

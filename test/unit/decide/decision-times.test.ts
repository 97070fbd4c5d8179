// When a decision changes by itself, and what the role is to remember of the login.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Decision, Knowledge } from "../../../shared/decide/identity.ts";
import { decide } from "../../../shared/decide/identity.ts";
import { DAY_MS, NOW, aGrant, aLogin, aPolicy, facts, globalCandidate, knowledge } from "../../support/builders.ts";

const policy = aPolicy();
const loginEnd = NOW + DAY_MS;
const restoredEnd = NOW + 2 * DAY_MS;
const login = aLogin({ end: loginEnd });
const restored = { groups: ["github_org://old"], end: restoredEnd };

const cases: readonly (readonly [why: string, about: Partial<Knowledge>, next: number])[] = [
  ["a binding alone stands until somebody says otherwise", { grants: [aGrant()] }, 0],
  ["a binding stands beyond the end of a login", { grants: [aGrant()], login, candidates: [globalCandidate()] }, 0],
  ["a login without a binding stands until its end", { login, candidates: [globalCandidate()] }, loginEnd],
  ["restored names of a bound user go at their end", { grants: [aGrant()], restored }, restoredEnd],
  ["of two ends the earlier one comes first", { login, candidates: [globalCandidate()], restored }, loginEnd],
  ["an end that has passed is no end to come", { grants: [aGrant()], restored: { ...restored, end: NOW } }, 0],
];
for (const [why, about, next] of cases)
  test(`${why}, so that the sweep looks then and not before`, () => assert.equal(decide(knowledge(about), policy).next, next));

/** What a decision makes of the cluster and of the subject's state, without its words. */
function effectOf(decision: Decision): unknown {
  if (decision.kind === "present") return { kind: decision.kind, identity: decision.identity };
  return decision.kind === "absent" ? { kind: decision.kind, waiting: decision.waiting } : { kind: decision.kind };
}

const anyTimedKnowledge: fc.Arbitrary<Knowledge> = fc
  .record({
    grants: fc.constantFrom([], [aGrant()]),
    candidates: fc.constantFrom([], [globalCandidate()]),
    login: fc.option(
      fc.integer({ min: -5, max: 20 }).map((ms) => aLogin({ end: NOW + ms })),
      { nil: undefined, freq: 4 },
    ),
    restored: fc.option(
      fc.integer({ min: -5, max: 20 }).map((ms) => ({ groups: ["github_org://old"], end: NOW + ms })),
      { nil: undefined, freq: 2 },
    ),
    facts: fc.constantFrom(
      facts(),
      facts({ providers: { github: { groups: ["github_org://1"] } } }),
      facts({ user: null }),
      facts({ user: { enabled: false } }),
    ),
  })
  .map((about) => knowledge(about));

test("an impersonator never outlives what its decision said, and does not change before", () => {
  fc.assert(
    fc.property(anyTimedKnowledge, fc.nat({ max: 30 }), (known, later) => {
      const decision = decide(known, policy);
      const now = NOW + later;
      if (decision.kind !== "present" || (decision.next !== 0 && now >= decision.next)) return;
      assert.deepEqual(effectOf(decide({ ...known, now }, policy)), effectOf(decision));
    }),
    { numRuns: 300 },
  );
});

const loginOnly = { login, candidates: [globalCandidate()] };
const standing: readonly (readonly [what: string, about: Partial<Knowledge>, groupsMax: number])[] = [
  ["waits for its User", { ...loginOnly, facts: facts({ user: null }) }, 500],
  ["fails for its groups", { ...loginOnly, facts: facts({ providers: { github: { groups: ["github_org://1"] } } }) }, 0],
];
for (const [what, about, groupsMax] of standing) {
  test(`a subject that ${what} says when its login ends, or it would do so for ever after`, () => {
    const decision = decide(knowledge(about), aPolicy({ groupsMax }));
    assert.notDeepEqual(effectOf(decide(knowledge({ ...about, now: loginEnd }), aPolicy({ groupsMax }))), effectOf(decision));
    assert.equal(decision.next, loginEnd);
  });
}

test("the role remembers the login that counts, because a lost Redis knows no other", () => {
  const decision = decide(knowledge({ grants: [aGrant()], login }), policy);
  assert.deepEqual(decision.kind === "present" && decision.loginEnds, login);
});

test("the role of a user with nothing but a binding remembers no login", () => {
  const decision = decide(knowledge({ grants: [aGrant()] }), policy);
  assert.equal(decision.kind === "present" && decision.loginEnds, undefined);
});

test("a login grant that a removal has dropped is not remembered by the role of a later binding, because a lost Redis would bring it back", () => {
  const decision = decide(knowledge({ grants: [aGrant()], login: aLogin({ end: loginEnd, drop: NOW - 1 }) }), policy);
  assert.equal(decision.kind === "present" && decision.loginEnds, undefined);
});

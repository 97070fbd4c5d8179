// Grants and facts → who may be impersonated: DESIGN's entitlement and refusal rules, whatever the order in which things became known.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Decision, Knowledge, Policy } from "../../../shared/decide/identity.ts";
import { decide } from "../../../shared/decide/identity.ts";
import type { Identity, ProviderValues } from "../../../shared/subject.ts";
import {
  BUILT_IN,
  DAY_MS,
  NOW,
  aGrant,
  aLogin,
  aPolicy,
  anIdentity,
  facts,
  fewNames,
  globalCandidate,
  groupCandidate,
  knowledge,
  sorted,
} from "../../support/builders.ts";

const LOGINS = aPolicy({ source: "logins" });
const org1 = "github_org://1";
const inOrg1 = facts({ providers: { github: { groups: [org1] } } });
function present(known: Knowledge, policy: Policy = aPolicy()): Extract<Decision, { kind: "present" }> {
  const decision = decide(known, policy);
  assert.equal(decision.kind, "present", "reason" in decision ? decision.reason : "");
  return decision;
}
function absent(known: Knowledge, policy: Policy = aPolicy()): { reason: string; waiting: boolean } {
  const decision = decide(known, policy);
  assert.equal(decision.kind, "absent");
  const { reason, waiting } = decision;
  return { reason, waiting };
}
const identityOf = (about: Partial<Knowledge>, policy?: Policy): Identity => present(knowledge({ grants: [aGrant()], ...about }), policy).identity;
const failsWith = (about: Partial<Knowledge>, policy: Policy = aPolicy()): string => {
  const decision = decide(knowledge({ grants: [aGrant()], ...about }), policy);
  return decision.kind === "refused" ? decision.reason : decision.kind;
};

// Who gets one ------------------------------------------------------------------------------------------------------------------------------------------------

test("a user with a binding gets one at once, without a login", () => {
  assert.deepEqual(present(knowledge({ grants: [aGrant()] })).identity, anIdentity());
});

test("a user without any reason gets none", () => {
  assert.deepEqual(absent(knowledge()), { reason: "no grant", waiting: false });
});

const atLogin: readonly (readonly [why: string, about: Partial<Knowledge>, exists: boolean])[] = [
  ["a member of a bound group gets one at login", { login: aLogin(), candidates: [groupCandidate(org1)], facts: inOrg1 }, true],
  [
    "a member of a bound group gets none before a login, because thousands made ahead would cost every other request",
    { candidates: [groupCandidate(org1)], facts: inOrg1 },
    false,
  ],
  ["a login alone gives none, because the source decides who is entitled", { login: aLogin(), facts: inOrg1 }, false],
  ["a bound group that the user is not in gives none", { login: aLogin(), candidates: [groupCandidate("github_org://2")], facts: inOrg1 }, false],
  ["a global role gives one at login, without any group", { login: aLogin(), candidates: [globalCandidate()] }, true],
  ["a global role gives none without a login", { candidates: [globalCandidate()] }, false],
  ["a login that ended counts no more", { login: aLogin({ end: NOW }), candidates: [globalCandidate()] }, false],
  ["a login counts until the very last millisecond", { login: aLogin({ end: NOW + 1 }), candidates: [globalCandidate()] }, true],
  ["a removal takes the login grant with it", { login: aLogin({ drop: NOW }), candidates: [globalCandidate()] }, false],
  [
    "a login grant outlives a removal by a moment, because streams lag behind each other",
    { login: aLogin({ drop: NOW + 1 }), candidates: [globalCandidate()] },
    true,
  ],
  [
    "a bound group that is refused entitles nobody",
    { login: aLogin(), candidates: [groupCandidate("system:masters")], facts: facts({ providers: { github: { groups: ["system:masters"] } } }) },
    false,
  ],
];
for (const [why, about, exists] of atLogin) test(why, () => assert.equal(decide(knowledge(about), aPolicy()).kind, exists ? "present" : "absent"));

test("a binding of a built-in group entitles everybody at login, because it is in every identity's groups", () => {
  for (const group of BUILT_IN) assert.equal(decide(knowledge({ login: aLogin(), candidates: [groupCandidate(group)] }), aPolicy()).kind, "present", group);
});

test("with source logins a login is enough and an end of it is the end, because it is the truth there", () => {
  assert.deepEqual(
    present(knowledge({ login: aLogin(), facts: facts({ user: null, providers: { oidc: { groups: ["developers"] } } }) }), LOGINS).identity,
    anIdentity({ groups: ["developers"] }),
  );
  assert.deepEqual(present(knowledge({ login: aLogin(), facts: undefined }), LOGINS).identity, anIdentity());
  assert.deepEqual(absent(knowledge({ login: aLogin({ end: NOW }) }), LOGINS), { reason: "no grant", waiting: false });
});

test("a disabled user has none anywhere, whatever binds or entitles them", () => {
  const disabled = facts({ user: { enabled: false }, providers: { github: { groups: [org1] } } });
  assert.deepEqual(absent(knowledge({ grants: [aGrant()], facts: disabled })), { reason: "user disabled", waiting: true });
  assert.deepEqual(absent(knowledge({ login: aLogin(), candidates: [globalCandidate(), groupCandidate(org1)], facts: disabled })), {
    reason: "user disabled",
    waiting: false,
  });
  assert.equal(absent(knowledge({ login: aLogin(), facts: disabled }), LOGINS).reason, "user disabled");
});

test("a user whom the source does not know waits while bindings or groups remain, because the User may be read later", () => {
  const unknown = facts({ user: null, providers: { github: { groups: [org1] } } });
  assert.deepEqual(absent(knowledge({ grants: [aGrant()], facts: unknown })), { reason: "user unknown", waiting: true });
  assert.deepEqual(absent(knowledge({ grants: [aGrant()], facts: undefined })), { reason: "user unknown", waiting: true });
  assert.deepEqual(absent(knowledge({ login: aLogin(), candidates: [groupCandidate(org1)], facts: unknown })), { reason: "user unknown", waiting: true });
  assert.deepEqual(absent(knowledge({ facts: unknown })), { reason: "no grant", waiting: false });
});

const anyKnowledge: fc.Arbitrary<Knowledge> = fc
  .record({
    grants: fc.uniqueArray(
      fc.constantFrom("a", "b").map((id) => aGrant({ id })),
      { maxLength: 2, selector: ({ id }) => id },
    ),
    candidates: fc.array(
      fc.oneof(
        fc.constantFrom("g://1", "g://2", "g://3").map((group) => groupCandidate(group)),
        fc.constant(globalCandidate()),
      ),
      { maxLength: 2 },
    ),
    login: fc.option(
      fc.record({ end: fc.integer({ min: -2, max: 5 }).map((ms) => NOW + ms) }).map((about) => aLogin(about)),
      { nil: undefined, freq: 3 },
    ),
    facts: fc.option(
      fc.record({
        user: fc.option(fc.record({ enabled: fc.boolean(), principalid: fewNames, username: fewNames })),
        providers: fc.dictionary(
          fc.constantFrom("github", "ad", "__proto__"),
          fc.record({ groups: fc.subarray(["g://1", "g://2", "system:masters", "bare"]), principalid: fewNames, username: fewNames }, { requiredKeys: [] }),
          { maxKeys: 2, noNullPrototype: true },
        ),
      }),
      { nil: undefined, freq: 8 },
    ),
    restored: fc.option(fc.record({ end: fc.integer({ min: -2, max: 5 }).map((ms) => NOW + ms), groups: fc.subarray(["g://3"]), username: fewNames }), {
      nil: undefined,
      freq: 2,
    }),
  })
  .map(({ restored, ...about }) => knowledge({ ...about, restored: Object.keys(about.facts?.providers ?? {}).length === 0 ? restored : undefined })); // a record never holds both

test("there is one exactly when the user is known, enabled, and bound or entitled by a running login", () => {
  fc.assert(
    fc.property(anyKnowledge, fc.constantFrom(aPolicy(), LOGINS), (known, policy) => {
      const decision = decide(known, policy);
      const { user = null, providers = {} } = known.facts ?? {};
      const spoken = Object.values<ProviderValues>(providers);
      const remembered = known.restored && known.restored.end > NOW ? [known.restored] : [];
      const groups = [...spoken, ...remembered].flatMap((values) => values.groups ?? []).filter((group) => group.includes("://"));
      const entitled = policy === LOGINS || known.candidates.some((candidate) => "global" in candidate || groups.includes(candidate.group));
      const reason = known.grants.length > 0 || (entitled && known.login !== undefined && known.login.end > NOW);
      const person = user === null ? policy === LOGINS : user.enabled;
      assert.equal(decision.kind === "present", reason && person);
    }),
    { numRuns: 300 },
  );
});

test("the order in which grants, providers and values became known changes nothing, or UI and kubectl would rewrite each other's role", () => {
  fc.assert(
    fc.property(anyKnowledge, (known) => {
      const providers = Object.fromEntries(
        Object.entries(known.facts?.providers ?? {})
          .reverse()
          .map(([name, values]) => [
            name,
            Object.fromEntries(
              Object.entries(values)
                .reverse()
                .map(([key, list]) => [key, (list as string[]).toReversed()]),
            ),
          ]),
      );
      const turned = knowledge({
        ...known,
        grants: known.grants.toReversed(),
        candidates: known.candidates.toReversed(),
        facts: known.facts && { ...known.facts, providers },
      });
      assert.deepEqual(decide(turned, aPolicy()), decide(known, aPolicy()));
    }),
  );
});

// Who it is ---------------------------------------------------------------------------------------------------------------------------------------------------

test("an identity is the union of all providers, sorted and without repeats, so that tokens of one person never flap", () => {
  const providers = {
    ad: { groups: ["ad_group://2", org1], username: ["alice"] },
    github: { groups: [org1], principalid: ["github_user://1"], username: ["alice", "Alice"] },
  };
  assert.deepEqual(identityOf({ facts: facts({ providers }) }), {
    user: "u-alice",
    groups: ["ad_group://2", org1, ...BUILT_IN],
    principalid: ["github_user://1"],
    username: ["Alice", "alice"],
  });
});

test("a provider with a name of JavaScript's counts like any other, or its groups would be lost", () => {
  const providers = JSON.parse(`{"__proto__":{"groups":["${org1}"]},"constructor":{"username":["alice"]}}`) as Record<string, ProviderValues>;
  assert.deepEqual(identityOf({ facts: facts({ providers }) }), anIdentity({ groups: [org1], username: ["alice"] }));
});

test("while no provider has spoken the User object stands in, and no longer once one has", () => {
  const user = { principalid: ["local://u-alice"], username: ["Alice"] };
  assert.deepEqual(identityOf({ facts: facts({ user }) }), anIdentity(user));
  assert.deepEqual(identityOf({ facts: facts({ user, providers: { github: { groups: [org1] } } }) }), anIdentity({ groups: [org1] }));
});

const restored = { groups: ["github_org://old"], username: ["old"], end: NOW + DAY_MS };

test("what a role remembered counts until its end, because a lost Redis knows nothing better", () => {
  const user = { principalid: ["local://u-alice"] };
  assert.deepEqual(identityOf({ restored, facts: facts({ user }) }), anIdentity({ groups: ["github_org://old"], username: ["old"] }));
  assert.deepEqual(
    identityOf({ restored: { ...restored, end: NOW + 1 }, facts: facts({ user }) }),
    anIdentity({ groups: ["github_org://old"], username: ["old"] }),
  );
  assert.deepEqual(identityOf({ restored: { ...restored, end: NOW }, facts: facts({ user }) }), anIdentity(user));
});

test("the first real fact replaces what a role remembered, because that may have been widened by hand", () => {
  assert.deepEqual(identityOf({ restored, facts: inOrg1 }), anIdentity({ groups: [org1] }));
});

// What is refused ---------------------------------------------------------------------------------------------------------------------------------------------

for (const user of [
  "",
  "u-\u0000",
  "u-\u202ealice",
  "u-\u200balice",
  " u-alice",
  "u-alice ",
  "system:admin",
  "system:serviceaccount:kube-system:admin",
  "system:authenticated",
  "kubeadm:x",
  "u".repeat(1025),
]) {
  test(`the user id ${JSON.stringify(user.slice(0, 40))} fails, because it would be another one to people or has rights of its own`, () => {
    assert.match(failsWith({ user }), /^user id "/);
    assert.match(failsWith({ user, login: aLogin() }, LOGINS), /^user id "[\x20-\x7e]*$/);
  });
}

test("a refused user id without a reason to be there has gone like anybody's, or its row would stay for ever", () => {
  assert.equal(decide(knowledge({ user: "system:admin" }), aPolicy()).kind, "absent");
});

test("a refused group or extra is left out and named, and the rest stays, because one bad group must not lock a person out", () => {
  const providers = {
    github: {
      groups: ["system:masters", "kubeadm:cluster-admins", "developers", "github_org://\u202e1", "", org1],
      principalid: ["", "github_user://1"],
      username: [" alice", "alice"],
    },
  };
  const { identity, dropped } = present(knowledge({ grants: [aGrant()], facts: facts({ providers }) }));
  assert.deepEqual(identity, anIdentity({ groups: [org1], principalid: ["github_user://1"], username: ["alice"] }));
  for (const [name, why] of [
    ['groups "system:masters"', "reserved prefix system:"],
    ['groups "kubeadm:cluster-admins"', "reserved prefix kubeadm:"],
    ['groups "developers"', "not a principal"],
    ['groups "github_org://\\u202e1"', "text-direction"],
    ['groups ""', "empty"],
    ['principalid ""', "empty"],
    ['username " alice"', "blank"],
  ]) {
    assert.ok(
      dropped.some((text) => text.startsWith(name!) && text.includes(why!)),
      `${name} ${why} in ${dropped.join("; ")}`,
    );
  }
  assert.equal(dropped.length, 7);
});

test("a bare group counts with source logins only, because Rancher's groups are all principals", () => {
  const known = { facts: facts({ providers: { oidc: { groups: ["developers", "system:masters"] } } }), login: aLogin() };
  assert.deepEqual(present(knowledge(known), LOGINS).identity.groups, sorted(["developers", ...BUILT_IN]));
  assert.deepEqual(identityOf(known).groups, sorted(BUILT_IN));
});

test("too many groups fail and are never cut off, because a cut group is a wrong person", () => {
  const many = (count: number) => ({
    facts: facts({
      providers: { github: { groups: Array.from({ length: count }, (_, i) => `github_org://${i}`) }, again: { groups: ["github_org://0", ...BUILT_IN] } },
    }),
  });
  assert.equal(identityOf(many(500)).groups.length, 502);
  assert.match(failsWith(many(501)), /^501 groups.*500.*UNDERSTUDY_GROUPS_MAX/);
  assert.match(failsWith(many(2), aPolicy({ groupsMax: 1 })), /^2 groups/);
});

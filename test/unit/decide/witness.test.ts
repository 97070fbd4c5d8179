// The witness: one name whose answer tells whether an API server has seen a change of role. And the names that a seen role is taken to allow.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { V1PolicyRule } from "@kubernetes/client-node";
import fc from "fast-check";
import type { Name, Profile } from "../../../shared/decide/rules.ts";
import { namesIn, rulesFor, wholeWitness, witnessOf } from "../../../shared/decide/rules.ts";
import type { Identity } from "../../../shared/subject.ts";
import { anIdentity, anyIdentity, anyProfile, sorted } from "../../support/builders.ts";
import { mayImpersonate } from "../../support/rbac.ts";

const rulesOf = (identity: Identity, profile: Profile = "strict"): V1PolicyRule[] => JSON.parse(JSON.stringify(rulesFor(identity, profile))) as V1PolicyRule[];
const RESOURCES = ["groups", "userextras/principalid", "userextras/username"];
const alice = anIdentity({ groups: ["github_org://1"], principalid: ["github_user://1"], username: ["alice"] });

/** Whether these rules let the user be itself with all these names in the headers of one request. */
function allows(rules: readonly V1PolicyRule[], user: string, names: readonly Name[]): boolean {
  const of = (resource: string): string[] => names.filter((name) => name.resource === resource).map(({ name }) => name);
  assert.deepEqual(
    names.filter(({ resource }) => !RESOURCES.includes(resource)),
    [],
    "no Impersonate header names one of these",
  );
  return mayImpersonate(rules, { user, groups: of("groups"), extras: { principalid: of("userextras/principalid"), username: of("userextras/username") } });
}
const namesOf = ({ groups, principalid, username }: Identity): string[] => [
  ...groups.map((name) => `g ${name}`),
  ...principalid.map((name) => `p ${name}`),
  ...username.map((name) => `u ${name}`),
];

test("the witness of a change is answered differently before and after it, or it would prove nothing", () => {
  fc.assert(
    fc.property(anyIdentity, anyIdentity, anyProfile, (before, later, profile) => {
      const after = { ...later, user: before.user };
      const { names, allowed } = witnessOf(rulesOf(before, profile), rulesFor(after, profile));
      const added = namesOf(after).some((own) => !namesOf(before).includes(own));
      const removed = namesOf(before).some((own) => !namesOf(after).includes(own));
      assert.equal(names.length, added || removed ? 1 : 0);
      assert.equal(allowed, added || !removed);
      if (names.length === 0) return;
      assert.notEqual(names[0]!.name, "system:authenticated");
      assert.equal(allows(rulesOf(before, profile), before.user, names), !allowed, "before");
      assert.equal(allows(rulesOf(after, profile), after.user, names), allowed, "after");
    }),
  );
});

test("an added name is the witness even where others were removed, because a yes proves more than a no", () => {
  const after = anIdentity({ groups: ["github_org://2"], principalid: ["github_user://1"] });
  assert.deepEqual(witnessOf(rulesOf(alice), rulesFor(after, "strict")), { names: [{ resource: "groups", name: "github_org://2" }], allowed: true });
});

test("where names were only removed the witness is one of them, and a refusal is the proof", () => {
  const after = anIdentity({ principalid: ["github_user://1"], username: ["alice"] });
  assert.deepEqual(witnessOf(rulesOf(alice), rulesFor(after, "strict")), { names: [{ resource: "groups", name: "github_org://1" }], allowed: false });
});

test("a new role proves itself with any name but the user's and system:authenticated, which others allow too", () => {
  assert.deepEqual(witnessOf(undefined, rulesFor(anIdentity(), "strict")), {
    names: [{ resource: "groups", name: "system:cattle:authenticated" }],
    allowed: true,
  });
});

test("where nothing differs the user alone is the proof", () => {
  assert.deepEqual(witnessOf(rulesOf(alice), rulesFor(alice, "strict")), { names: [], allowed: true });
  assert.deepEqual(witnessOf(rulesOf(alice).toReversed(), rulesFor(alice, "strict")), { names: [], allowed: true });
});

test("a user or system:authenticated that was written in by hand is no witness when it goes", () => {
  const widened = [...rulesOf(alice), { verbs: ["impersonate"], apiGroups: [""], resources: ["users"], resourceNames: ["u-admin"] }];
  assert.deepEqual(witnessOf(widened, rulesFor(alice, "strict")), { names: [], allowed: true });
  const bare: Identity = { user: "u-alice", groups: [], principalid: [], username: [] };
  assert.deepEqual(witnessOf(rulesOf({ ...bare, groups: ["system:authenticated"] }), rulesFor(bare, "strict")), { names: [], allowed: true });
});

/** Rules that a stranger wrote into the role; each names names, none lets anything of the identity be impersonated. */
const foreignRules: readonly (readonly [what: string, rule: V1PolicyRule])[] = [
  ["another resource", { verbs: ["impersonate"], apiGroups: [""], resources: ["secrets"], resourceNames: ["x"] }],
  ["another verb", { verbs: ["get"], apiGroups: [""], resources: ["groups"], resourceNames: ["system:masters"] }],
  ["another API group", { verbs: ["impersonate"], apiGroups: ["apps"], resources: ["groups"], resourceNames: ["system:masters"] }],
];
for (const [what, rule] of foreignRules) {
  test(`a foreign rule of ${what} that is removed is no witness, because no header would ever be refused for it and the subject would wait for ever`, () => {
    const before = [...rulesOf(alice), rule];
    const { names, allowed } = witnessOf(before, rulesFor(alice, "strict"));
    if (names.length > 0) assert.equal(allows(before, alice.user, names), !allowed, JSON.stringify(names));
  });

  test(`a foreign rule of ${what} gives a restored role no name, because after a lost Redis that name would become one that may be impersonated`, () => {
    assert.deepEqual(namesIn([rule]), []);
  });
}

test("the names of a seen role are those of its identity, or a lost Redis would lose or add some", () => {
  fc.assert(
    fc.property(anyIdentity, anyProfile, (identity, profile) => {
      const of = (resource: string): string[] =>
        sorted(
          namesIn(rulesOf(identity, profile))
            .filter((name) => name.resource === resource)
            .map(({ name }) => name),
        );
      assert.deepEqual(
        { user: of("users")[0], groups: of("groups"), principalid: of("userextras/principalid"), username: of("userextras/username") },
        identity,
      );
    }),
  );
  assert.deepEqual(namesIn(undefined), []);
});

test("the whole witness names everything but the user, so that a run that knows no history proves all of it at once", () => {
  fc.assert(
    fc.property(anyIdentity, anyIdentity, anyProfile, (identity, other, profile) => {
      const { names, allowed } = wholeWitness(rulesFor(identity, profile));
      assert.equal(allowed, true);
      assert.deepEqual(names.map(({ resource, name }) => `${resource === "groups" ? "g" : resource.slice(11, 12)} ${name}`).sort(), namesOf(identity).sort());
      assert.ok(allows(rulesOf(identity, profile), identity.user, names));
      const isMissing = namesOf(identity).some((own) => !namesOf(other).includes(own));
      assert.equal(allows(rulesOf({ ...other, user: identity.user }, profile), identity.user, names), !isMissing);
    }),
  );
});

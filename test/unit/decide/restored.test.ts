// Who is as they are only because their role says so, after a lost Redis.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Knowledge } from "../../../shared/decide/identity.ts";
import { isRestored } from "../../../shared/decide/identity.ts";
import type { ProviderValues } from "../../../shared/subject.ts";
import { DAY_MS, NOW, aGrant, aPolicy, facts, knowledge } from "../../support/builders.ts";

const org1 = "github_org://1";

test("somebody counts as restored only where the role says more than the sources do, because a resync that meets a first set-up finds our own role", () => {
  const user = { principalid: ["local://u-alice"], username: ["alice"] };
  const restoredWith = (values: Partial<ProviderValues>, about: Partial<Knowledge>): boolean =>
    isRestored(knowledge({ grants: [aGrant()], restored: { ...values, end: NOW + DAY_MS }, ...about }), aPolicy());
  assert.equal(restoredWith(user, { facts: facts({ user }) }), false, "the User object says as much");
  assert.equal(restoredWith({ ...user, groups: [org1] }, { facts: facts({ user }) }), true, "a group that only the role remembers");
  assert.equal(restoredWith({ groups: ["github_org://old"] }, { facts: facts({ providers: { github: { groups: [org1] } } }) }), false, "a provider has spoken");
  const login = { at: 0, end: NOW + DAY_MS };
  assert.equal(restoredWith(user, { facts: facts({ user }), login }), true, "its login, too, is known from the role");
  assert.equal(restoredWith(user, { facts: facts({ user }), login: { ...login, at: NOW } }), false, "its login was told");
  assert.equal(isRestored(knowledge({ grants: [aGrant()], facts: facts({ user }) }), aPolicy()), false, "nothing was restored");
});

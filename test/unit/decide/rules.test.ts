// The rules allow exactly the identity: judged by an evaluator of Kubernetes' RBAC that knows nothing of the product.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { V1PolicyRule } from "@kubernetes/client-node";
import fc from "fast-check";
import type { Profile } from "../../../shared/decide/rules.ts";
import { allowedHeaders, assertNarrow, rulesFor, sameRules } from "../../../shared/decide/rules.ts";
import type { Identity } from "../../../shared/subject.ts";
import { anIdentity, anyIdentity, anyProfile, anyText, fewNames } from "../../support/builders.ts";
import type { Impersonation } from "../../support/rbac.ts";
import { mayImpersonate, mayReach, mayUse } from "../../support/rbac.ts";

const OPEN = ["requesttokenid", "requesthost"];
/** The rules as the API server gets them. */
const sent = (identity: Identity, profile: Profile): V1PolicyRule[] => JSON.parse(JSON.stringify(rulesFor(identity, profile))) as V1PolicyRule[];
const roleOf = (rules: readonly V1PolicyRule[], more: object = {}): string => JSON.stringify({ kind: "ClusterRole", rules, ...more });
const rule = (about: Partial<V1PolicyRule>): V1PolicyRule => ({ verbs: ["impersonate"], apiGroups: [""], ...about });

/** Who the headers of a request may name, by DESIGN's words: the user, its groups, its two extras, and nothing else. */
function isWithin(identity: Identity, profile: Profile, { user, groups = [], extras = {}, uid }: Impersonation): boolean {
  const extraNames = new Map(Object.entries({ principalid: identity.principalid, username: identity.username }));
  const isExtra = (key: string, value: string): boolean => (profile === "rancher" && OPEN.includes(key)) || (extraNames.get(key)?.includes(value) ?? false);
  return (
    user === identity.user &&
    groups.every((group) => identity.groups.includes(group)) &&
    Object.entries(extras).every(([key, values]) => values.every((value) => isExtra(key, value))) &&
    uid === undefined
  );
}

/** Headers that mix the identity's own names with strangers' and with names of the wrong kind. */
function requestsAbout(identity: Identity): fc.Arbitrary<Impersonation> {
  const { user, groups, principalid, username } = identity;
  const name = fc.oneof(
    fc.constantFrom(user, ...groups, ...principalid, ...username),
    fc.constantFrom("*", "", "system:masters", user.toUpperCase(), `${user} `),
    anyText,
  );
  const ownOr = (own: readonly string[]) =>
    fc.array(own.length > 0 ? fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...own) }, name) : name, { maxLength: 3 });
  const extras = fc.record(
    { principalid: ownOr(principalid), username: ownOr(username), requesthost: fc.array(anyText, { maxLength: 1 }), scopes: fc.array(name, { maxLength: 1 }) },
    { requiredKeys: [] },
  );
  return fc
    .tuple(fc.oneof({ weight: 4, arbitrary: fc.constant(user) }, name), ownOr(groups), extras, fc.option(name, { nil: undefined, freq: 8 }))
    .map(([who, asGroups, asExtras, uid]) => ({
      user: who,
      groups: asGroups,
      extras: asExtras as Record<string, string[]>,
      ...(uid === undefined ? {} : { uid }),
    }));
}
const identityAndRequests = anyIdentity.chain((identity) =>
  fc.tuple(fc.constant(identity), fc.array(requestsAbout(identity), { minLength: 10, maxLength: 20 })),
);

test("a request is allowed exactly when all that it names is the identity's own", () => {
  fc.assert(
    fc.property(identityAndRequests, anyProfile, ([identity, requests], profile) => {
      const rules = sent(identity, profile);
      for (const request of requests) assert.equal(mayImpersonate(rules, request), isWithin(identity, profile, request), JSON.stringify(request));
    }),
  );
});

test("every own name is allowed, alone and all together, or the person could not work", () => {
  fc.assert(
    fc.property(anyIdentity, anyProfile, (identity, profile) => {
      const rules = sent(identity, profile);
      const { user, groups, principalid, username } = identity;
      for (const group of groups) assert.ok(mayImpersonate(rules, { user, groups: [group] }));
      for (const value of principalid) assert.ok(mayImpersonate(rules, { user, extras: { principalid: [value] } }));
      for (const value of username) assert.ok(mayImpersonate(rules, { user, extras: { username: [value] } }));
      assert.ok(mayImpersonate(rules, { user, groups, extras: { principalid, username } }));
      assert.equal(mayImpersonate(rules, { user, groups: [...groups, "stranger"], extras: { principalid, username } }), false);
    }),
  );
});

test("the rules allow nothing but impersonation: no verb, no resource, no path, no account, no uid", () => {
  fc.assert(
    fc.property(anyIdentity, anyProfile, anyText, (identity, profile, name) => {
      const rules = sent(identity, profile);
      for (const verb of ["get", "list", "create", "update", "delete", "escalate", "bind", "*", "impersonate:user-info"]) {
        for (const resource of ["users", "groups", "secrets", "clusterroles"])
          assert.equal(mayUse(rules, { verb, apiGroup: "", resource, name: identity.user }), false);
        assert.equal(mayReach(rules, verb, "/metrics"), false);
      }
      for (const resource of ["serviceaccounts", "uids", "userextras", "*"]) {
        for (const apiGroup of ["", "authentication.k8s.io"]) assert.equal(mayUse(rules, { verb: "impersonate", apiGroup, resource, name }), false);
      }
    }),
  );
});

test("an empty list never becomes a rule, because a rule without names allows every name", () => {
  const nobody: Identity = { user: "u-alice", groups: [], principalid: [], username: [] };
  assert.deepEqual(sent(nobody, "strict"), [rule({ resources: ["users"], resourceNames: ["u-alice"] })]);
  fc.assert(
    fc.property(anyIdentity, (identity) => {
      for (const { resourceNames, resources } of sent(identity, "strict")) assert.notEqual(resourceNames?.length ?? 0, 0, String(resources));
    }),
  );
});

test("the profile rancher opens just the two extras that Rancher's proxy fills itself", () => {
  const rules = sent(anIdentity(), "rancher");
  assert.deepEqual(
    rules.filter(({ resourceNames }) => resourceNames === undefined).map(({ resources }) => resources),
    [["userextras/requesttokenid"], ["userextras/requesthost"]],
  );
});

/** Every way to widen the rules by one step. */
function widenings(rules: readonly V1PolicyRule[], name: string): [string, string][] {
  const found: [string, string][] = [];
  const add = (what: string, changed: readonly V1PolicyRule[]): void => void found.push([what, roleOf(changed)]);
  rules.forEach((old, at) => {
    const change = (what: string, about: object): void => add(`${what} of rule ${at}`, rules.with(at, { ...old, ...about }));
    if (old.resourceNames) {
      change("extra name", { resourceNames: [...old.resourceNames, `${name}\u0001stranger`] });
      change("dropped names", { resourceNames: undefined });
      change("empty names", { resourceNames: [] });
      change("null names", { resourceNames: null });
    }
    for (const verb of ["*", "get", "escalate", "impersonate:user-info"]) change(`verb ${verb}`, { verbs: [...old.verbs, verb] });
    for (const group of ["*", "apps"]) change(`group ${group}`, { apiGroups: [...old.apiGroups!, group] });
    for (const resource of ["*", "serviceaccounts", "uids", "userextras/*", "*/principalid", "userextras/scopes"])
      change(`resource ${resource}`, { resources: [...old.resources!, resource] });
    for (const url of ["*", "/metrics"]) change(`path ${url}`, { nonResourceURLs: [url] });
  });
  for (const resource of ["users", "groups", "userextras/principalid", "*"])
    add(`open rule for ${resource}`, [...rules, rule({ apiGroups: ["*"], resources: [resource] })]);
  add("cluster-admin", [...rules, { verbs: ["*"], apiGroups: ["*"], resources: ["*"] }]);
  add("path rule", [...rules, { verbs: ["get"], nonResourceURLs: ["/healthz"] }]);
  add("another group", [...rules, rule({ resources: ["groups"], resourceNames: [`${name}\u0001stranger`] })]);
  return [
    ...found,
    ["aggregationRule", roleOf(rules, { aggregationRule: { clusterRoleSelectors: [{}] } })],
    ["empty aggregationRule", roleOf(rules, { aggregationRule: {} })],
  ];
}

test("bytes that are wider by any single step are never sent, in either profile", () => {
  fc.assert(
    fc.property(anyIdentity, anyProfile, anyText, (identity, profile, name) => {
      const rules = sent(identity, profile);
      for (const [what, json] of widenings(rules, name)) assert.throws(() => assertNarrow(json, identity, profile), RangeError, what);
    }),
    { numRuns: 30 },
  );
});

test("the right bytes pass, also when the API server adds empty fields or another order", () => {
  fc.assert(
    fc.property(anyIdentity, anyProfile, (identity, profile) => {
      const rules = sent(identity, profile);
      assertNarrow(roleOf(rules, { metadata: { name: "x" } }), identity, profile);
      assertNarrow(roleOf(rules.toReversed(), { aggregationRule: null }), identity, profile);
      assertNarrow(roleOf(rules.slice(1)), identity, profile);
      assertNarrow(JSON.stringify({ rules: null }), identity, profile);
    }),
  );
});

test("the other profile's two open extras do not pass as strict, because any value would be allowed", () => {
  assert.throws(() => assertNarrow(roleOf(sent(anIdentity(), "rancher")), anIdentity(), "strict"), RangeError);
});

const anyRule: fc.Arbitrary<V1PolicyRule> = fc.record(
  {
    verbs: fc.uniqueArray(fc.constantFrom("impersonate", "*", "get"), { minLength: 1, maxLength: 2 }),
    apiGroups: fc.uniqueArray(fc.constantFrom("", "authentication.k8s.io", "*"), { maxLength: 2 }),
    resources: fc.uniqueArray(fc.constantFrom("users", "groups", "userextras/principalid", "userextras/requesthost", "*", "*/username", "secrets"), {
      maxLength: 2,
    }),
    resourceNames: fewNames,
  },
  { requiredKeys: ["verbs", "apiGroups", "resources"] },
);
const identityAndRules = fc.tuple(anyIdentity, anyProfile).chain(([identity, profile]) =>
  fc.record({
    identity: fc.constant(identity),
    profile: fc.constant(profile),
    rules: fc.array(fc.oneof(fc.constantFrom(...sent(identity, profile)), anyRule), { maxLength: 5 }),
    requests: fc.array(requestsAbout(identity), { minLength: 8, maxLength: 8 }),
  }),
);

test("whatever passes the last look allows no request outside the identity", () => {
  fc.assert(
    fc.property(identityAndRules, ({ identity, profile, rules, requests }) => {
      try {
        assertNarrow(roleOf(rules), identity, profile);
      } catch {
        return;
      }
      for (const request of requests) assert.ok(!mayImpersonate(rules, request) || isWithin(identity, profile, request), JSON.stringify(request));
    }),
    { numRuns: 300 },
  );
});

test("a permuted, split or repeated list of rules is the same, so that nobody's formatting costs a write", () => {
  fc.assert(
    fc.property(anyIdentity, anyProfile, fc.infiniteStream(fc.nat()), (identity, profile, dice) => {
      const rules = sent(identity, profile);
      const split = rules.flatMap((one) =>
        (one.resourceNames ?? []).length > 1 ? one.resourceNames!.map((name) => ({ ...one, resourceNames: [name] })) : [one],
      );
      const permuted = [...split, rules[0]!]
        .map((one) => [dice.next().value, one] as const)
        .sort(([a], [b]) => a - b)
        .map(([, one]) => one);
      assert.ok(sameRules(permuted, rulesFor(identity, profile)));
    }),
  );
});

test("lists of rules that pass as the same answer every request alike, or a widened role would stay", () => {
  fc.assert(
    fc.property(identityAndRules, ({ identity, profile, rules, requests }) => {
      const own = rulesFor(identity, profile);
      if (!sameRules(rules, own)) return;
      for (const request of requests) assert.equal(mayImpersonate(rules, request), isWithin(identity, profile, request));
    }),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(anyIdentity, anyText, (identity, name) => {
      for (const [what, json] of widenings(sent(identity, "strict"), name)) {
        const { rules, aggregationRule } = JSON.parse(json) as { rules: V1PolicyRule[]; aggregationRule?: object };
        if (!aggregationRule) assert.equal(sameRules(rules, rulesFor(identity, "strict")), false, what);
      }
    }),
    { numRuns: 20 },
  );
  assert.equal(sameRules(undefined, rulesFor(anIdentity(), "strict")), false);
});

test("the headers that are derived from the rules are all allowed, and name everything of the identity, because a proxy sends them as they are", () => {
  fc.assert(
    fc.property(anyIdentity, anyProfile, (identity, profile) => {
      const rules = sent(identity, profile);
      const headers = allowedHeaders(identity, profile);
      const valuesOf = (header: string): string[] => headers.filter(([name]) => name === header).map(([, value]) => value);
      assert.deepEqual(headers[0], ["Impersonate-User", identity.user]);
      assert.deepEqual(valuesOf("Impersonate-Group"), identity.groups);
      const extras = { principalid: valuesOf("Impersonate-Extra-principalid"), username: valuesOf("Impersonate-Extra-username") };
      assert.deepEqual(extras, { principalid: identity.principalid, username: identity.username });
      assert.equal(headers.length, 1 + identity.groups.length + identity.principalid.length + identity.username.length);
      assert.ok(mayImpersonate(rules, { user: identity.user, groups: identity.groups, extras }));
    }),
  );
});

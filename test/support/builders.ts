// Builders that show only what matters to a test, and fast-check generators of the same things. Pure; no test's expectation lives here.
import fc from "fast-check";
import type { Knowledge, Policy } from "../../shared/decide/identity.ts";
import type { Wanted } from "../../shared/decide/objects.ts";
import type { Pass } from "../../shared/decide/plan.ts";
import type { Candidate, Facts, Grant, Identity, LoginGrant, ProviderValues, UserObject } from "../../shared/subject.ts";

/** The clock of every test that has one (ms). */
export const NOW = Date.UTC(2026, 0, 15, 12);
export const DAY_MS = 86_400_000;
export const BUILT_IN = ["system:authenticated", "system:cattle:authenticated"] as const;
const DENIED = ["system:", "kubeadm:", "eks:", "aks:", "gke:", "openshift:"] as const;

/** Sorted and without repeats, independently of the product. */
export const sorted = (values: readonly string[]): string[] => [...new Set(values)].sort();

/** An identity always has the two built-in groups; they are never listed by a test. */
export function anIdentity(about: Partial<Identity> = {}): Identity {
  const { user = "u-alice", groups = [], principalid = [], username = [] } = about;
  return { user, groups: sorted([...BUILT_IN, ...groups]), principalid: sorted(principalid), username: sorted(username) };
}

function userObject(about: Partial<UserObject> = {}): UserObject {
  return { enabled: true, principalid: [], username: [], ...about };
}

/** Facts of an enabled user of whom no provider has spoken, unless told otherwise. */
export function facts(about: { readonly user?: Partial<UserObject> | null; readonly providers?: Readonly<Record<string, ProviderValues>> } = {}): Facts {
  return { user: about.user === null ? null : userObject(about.user), providers: about.providers ?? {} };
}

export function aGrant(about: Partial<Grant> = {}): Grant {
  return { id: "crtb-1", kind: "ClusterRoleTemplateBinding", name: "c-abc12/crtb-1", ...about };
}

export function groupCandidate(group: string, id = `crtb-${group}`): Candidate {
  return { id, kind: "ClusterRoleTemplateBinding", name: `c-abc12/${id}`, group };
}

export function globalCandidate(id = "grb-1"): Candidate {
  return { id, kind: "GlobalRoleBinding", name: id, global: true };
}

/** A login an hour ago, for thirty days. */
export function aLogin(about: Partial<LoginGrant> = {}): LoginGrant {
  const at = NOW - 3_600_000;
  return { at, end: at + 30 * DAY_MS, ...about };
}

/** What is known of an enabled user without any reason to exist, unless told otherwise. */
export function knowledge(about: Partial<Knowledge> = {}): Knowledge {
  return { user: "u-alice", grants: [], candidates: [], login: undefined, facts: facts(), restored: undefined, now: NOW, ...about };
}

export function aPolicy(about: Partial<Policy> = {}): Policy {
  return { source: "rancher", denyPrefixes: DENIED, groupsMax: 500, ...about };
}

export function wanted(about: Partial<Wanted> = {}): Wanted {
  return { identity: anIdentity(), loginEnds: undefined, profile: "strict", install: "understudy", tokenMode: "secret", ...about };
}

/** A pass that has done nothing yet. */
export function aPass(about: Partial<Pass> = {}): Pass {
  return { takeover: false, me: "run-1", nonce: "n1", sealed: false, absenceSeen: false, ownAccount: false, rotated: false, checked: false, ...about };
}

// Generators -------------------------------------------------------------------------------------------------------------------------------------------------

/** Names that mean something to somebody: to RBAC, to JavaScript, to a parser of keys. */
const speakingName = fc.constantFrom(
  "*",
  "users",
  "groups",
  "impersonate",
  "__proto__",
  "constructor",
  "null",
  "a:b",
  "a/b",
  "u-alice",
  "U-Alice",
  "github_org://1",
  "system:masters",
  "名前",
  "🙂",
);

/** Any character but half of one; fast-check's own unit for this costs each process 700 ms. */
export const anyCharacter: fc.Arbitrary<string> = fc
  .integer({ min: 0, max: 0x10ffff - 0x800 })
  .map((code) => String.fromCodePoint(code < 0xd800 ? code : code + 0x800));

/** Any well-formed text. */
export const anyText: fc.Arbitrary<string> = fc.oneof(
  speakingName,
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 }),
  fc.string({ unit: anyCharacter, minLength: 1, maxLength: 12 }),
);

/** Few names, so that two draws often meet. */
export const fewNames: fc.Arbitrary<string[]> = fc.uniqueArray(fc.oneof(speakingName, fc.constantFrom("a", "b", "c")), { maxLength: 4 });

export const anyIdentity: fc.Arbitrary<Identity> = fc
  .record({ user: anyText, groups: fc.oneof(fewNames, fc.array(anyText, { maxLength: 5 })), principalid: fewNames, username: fewNames })
  .map((about) => anIdentity(about));

export const anyProfile = fc.constantFrom("strict", "rancher");
export const anyTokenMode = fc.constantFrom("secret", "request");

/** Ids as they come from Rancher and other sources, and their relatives that differ in case, dots, blanks or script. */
export const anyId: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom("u-abc12", "user-x7zk9", "u-4ewvbzxwlk", "local://u-1", "alice@example.com", "Alice@Example.com", "björn", "名前"),
  fc.stringMatching(/^[a-zA-Z0-9._@-]{1,60}$/),
  fc.stringMatching(/^[a-z]{1,25}-[0-9a-f]{16}$/),
  anyText,
);

/** A login grant, running or ended. */
const anyLoginGrant: fc.Arbitrary<LoginGrant | undefined> = fc.option(
  fc
    .record({ at: fc.integer({ min: -40, max: 1 }), days: fc.integer({ min: 0, max: 60 }) })
    .map(({ at, days }) => ({ at: NOW + at * DAY_MS, end: NOW + (at + days) * DAY_MS })),
  { nil: undefined },
);

export const anyWanted: fc.Arbitrary<Wanted> = fc.record({
  identity: fc.record({ user: anyId, groups: fewNames, principalid: fewNames, username: fewNames }).map((about) => anIdentity(about)),
  loginEnds: anyLoginGrant,
  profile: anyProfile,
  install: fc.constantFrom("understudy", "other"),
  tokenMode: anyTokenMode,
});

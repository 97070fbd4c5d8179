// Rancher's objects as they are on a management cluster, and everything else that a custom resource without a schema may hold: read, or refused with its place.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type BindingKind, type BindingReading, misreadAt, readAttribute, readBinding, readUser, sourcePath } from "../../../producers/rancher.ts";
import { NOW, anyText, fewNames, sorted } from "../../support/builders.ts";

type Fields = Readonly<Record<string, unknown>>;
const CRTB = "clusterroletemplatebindings";
const PRTB = "projectroletemplatebindings";
const GRB = "globalrolebindings";
const meta = (about: Fields = {}) => ({ name: "b-1", namespace: "c-abc12", resourceVersion: "7", ...about });
const crtb = (about: Fields = {}) => ({ metadata: meta(), clusterName: "c-abc12", roleTemplateName: "cluster-member", userName: "u-abc", ...about });
const prtb = (about: Fields = {}) => ({ metadata: meta({ namespace: "p-xyz" }), projectName: "c-abc12:p-xyz", userName: "u-abc", ...about });
const grb = (about: Fields = {}) => ({ metadata: meta({ namespace: undefined }), globalRoleName: "admin", userName: "u-abc", ...about });
const read = (kind: BindingKind, object: unknown): BindingReading => readBinding(kind, object, ["admin"]) ?? assert.fail("it is read as nothing at all");
const holderOf = (reading: BindingReading): unknown => ("binding" in reading ? { cluster: reading.binding.cluster, ...reading.binding.holder } : reading);

test("a CRTB binds its user to its cluster, under a name that tells it from every other binding", () => {
  const binding = {
    id: `${CRTB}:c-abc12/b-1`,
    rv: "7",
    kind: "ClusterRoleTemplateBinding",
    name: "c-abc12/b-1",
    cluster: "c-abc12",
    holder: { user: "u-abc" },
  };
  assert.deepEqual(read(CRTB, crtb()), { id: binding.id, rv: "7", binding });
});

test("a PRTB binds to the cluster before the colon, in its project's namespace of either name", () => {
  for (const namespace of ["p-xyz", "c-abc12-p-xyz"])
    assert.deepEqual(holderOf(read(PRTB, prtb({ metadata: meta({ namespace }) }))), { cluster: "c-abc12", user: "u-abc" });
});

test("a GlobalRoleBinding of a role that counts is for every cluster, one of any other role waits for the setting", () => {
  assert.deepEqual(holderOf(read(GRB, grb())), { cluster: undefined, user: "u-abc" });
  assert.deepEqual(read(GRB, grb({ globalRoleName: "user" })), { id: `${GRB}:b-1`, rv: "7", waiting: "its global role is not one of UNDERSTUDY_GLOBAL_ROLES" });
});

test("a group is the principal where both are said, because the bare name is the older field", () => {
  const group = { userName: "", groupName: "team", groupPrincipalName: "github_team://1" };
  assert.deepEqual(holderOf(read(CRTB, crtb(group))), { cluster: "c-abc12", group: "github_team://1" });
  assert.deepEqual(holderOf(read(CRTB, crtb({ userName: null, groupName: "team" }))), { cluster: "c-abc12", group: "team" });
});

test("a principal alone waits for the user's name, because a principal is not who is impersonated", () => {
  assert.match(JSON.stringify(read(CRTB, crtb({ userName: "", userPrincipalName: "github_user://1" }))), /"waiting":"it has no userName yet"/);
  assert.deepEqual(holderOf(read(CRTB, crtb({ userPrincipalName: "github_user://1" }))), { cluster: "c-abc12", user: "u-abc" });
  assert.match(JSON.stringify(read(CRTB, crtb({ userName: undefined }))), /"waiting":"it names nobody"/);
});

test("a binding that is being deleted is gone whatever else it says, because finalizers may hold it for long", () => {
  const metadata = meta({ deletionTimestamp: "2026-01-15T12:00:00Z" });
  assert.deepEqual(read(CRTB, crtb({ metadata, clusterName: "another" })), { id: `${CRTB}:c-abc12/b-1`, rv: "7", gone: true });
});

/** Kind, object, what the refusal has to say. */
const refused: readonly (readonly [what: string, kind: BindingKind, object: Fields, why: RegExp])[] = [
  ["a CRTB in another cluster's namespace", CRTB, crtb({ clusterName: "c-other" }), /clusterName is not its namespace/],
  ["a CRTB without a cluster", CRTB, crtb({ clusterName: "" }), /clusterName is empty/],
  ["a CRTB whose cluster is a number", CRTB, crtb({ clusterName: 7 }), /^clusterName: /],
  ["a CRTB whose cluster is no id", CRTB, crtb({ clusterName: "C/../x", metadata: meta({ namespace: "C/../x" }) }), /its cluster is no cluster id/],
  ["a PRTB in a foreign namespace", PRTB, prtb({ metadata: meta({ namespace: "p-other" }) }), /projectName does not fit its namespace/],
  ["a PRTB in its cluster's namespace", PRTB, prtb({ metadata: meta() }), /projectName does not fit its namespace/],
  ["a PRTB without a project", PRTB, prtb({ projectName: null }), /projectName is not <cluster>:<project>/],
  ["a PRTB of half a project", PRTB, prtb({ projectName: "c-abc12:" }), /projectName is not <cluster>:<project>/],
  ["a PRTB of no cluster", PRTB, prtb({ projectName: ":p-xyz" }), /projectName is not <cluster>:<project>/],
  ["a PRTB without a colon", PRTB, prtb({ projectName: "p-xyz" }), /projectName is not <cluster>:<project>/],
  ["a binding of a user and a group", CRTB, crtb({ groupName: "team" }), /both a user and a group/],
  ["a user of 1025 characters", CRTB, crtb({ userName: "u".repeat(1025) }), /longer than 1024/],
  ["a group of two million characters", GRB, grb({ userName: "", groupPrincipalName: `g://${"x".repeat(2_000_000)}` }), /longer than 1024/],
  ["a user that is a list", CRTB, crtb({ userName: ["u-abc"] }), /^userName: /],
  ["a group that is an object", PRTB, prtb({ groupName: { name: "team" } }), /^groupName: /],
];
for (const [what, kind, object, why] of refused) {
  test(`${what} is refused with its place, because whoever wrote it has to mend it`, () => {
    const reading = read(kind, object);
    assert.ok("refused" in reading, JSON.stringify(reading).slice(0, 300));
    assert.match(reading.refused, why);
    assert.ok(reading.refused.length < 500, "what is wrong is not repeated");
    assert.ok(reading.id.startsWith(`${kind}:`), "it has its name, so that what it was can end");
  });
}

test("what is no Kubernetes object at all is nothing, because there is no name to refuse", () => {
  for (const object of [null, 1, "crtb", [], {}, { metadata: {} }, { metadata: { name: "b-1" } }]) assert.equal(readBinding(CRTB, object, []), undefined);
});

test("two bindings never share an id, because one's end would be the other's", () => {
  const kind = fc.constantFrom<BindingKind>(CRTB, PRTB, GRB);
  const dns = fc.stringMatching(/^[a-z0-9.-]{1,6}$/);
  const place = fc.record({ kind, name: dns, namespace: fc.option(dns, { nil: undefined }) });
  const idOf = ({ kind: of, name, namespace }: { kind: BindingKind; name: string; namespace: string | undefined }): string =>
    read(of, { metadata: { name, namespace, resourceVersion: "1" } }).id;
  fc.assert(fc.property(place, place, (a, b) => assert.equal(idOf(a) === idOf(b), a.kind === b.kind && a.name === b.name && a.namespace === b.namespace)));
});

test("whatever a custom resource holds is read or refused, never thrown at: one bad object must not stop a watch", () => {
  const value = fc.oneof(fc.jsonValue({ maxDepth: 2 }), anyText);
  const object = fc.record(
    {
      metadata: fc.oneof(fc.constant(meta()), value),
      clusterName: value,
      projectName: value,
      globalRoleName: value,
      userName: value,
      groupPrincipalName: value,
      enabled: value,
      displayName: value,
      principalIds: value,
      LastRefresh: value,
      GroupPrincipals: fc.oneof(value, fc.dictionary(anyText, value)),
      ExtraByProvider: fc.oneof(value, fc.dictionary(anyText, fc.dictionary(anyText, value))),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.oneof(object, value), (any) => {
      for (const kind of [CRTB, PRTB, GRB] as const) readBinding(kind, any, ["admin"]);
      readUser(any);
      readAttribute(any);
    }),
  );
});

test("a binding is in force only where its namespace is its own, whatever its other fields say", () => {
  const word = fc.constantFrom("c-abc12", "c-other", "p-xyz", "c-abc12-p-xyz", "");
  fc.assert(
    fc.property(word, word, word, (namespace, cluster, project) => {
      const one = read(CRTB, crtb({ metadata: meta({ namespace }), clusterName: cluster }));
      assert.equal("binding" in one, cluster !== "" && namespace === cluster);
      const two = read(PRTB, prtb({ metadata: meta({ namespace }), projectName: `${cluster}:${project}` }));
      assert.equal("binding" in two, cluster !== "" && project !== "" && (namespace === project || namespace === `${cluster}-${project}`));
    }),
  );
});

const user = (about: Fields = {}) => ({
  metadata: meta({ name: "u-abc", namespace: undefined }),
  displayName: "Ann",
  principalIds: ["local://u-abc"],
  ...about,
});

test("a User is enabled unless it says otherwise, and stands in with its principals and its display name", () => {
  assert.deepEqual(readUser(user()), { user: "u-abc", rv: "7", live: { enabled: true, principalid: ["local://u-abc"], username: ["Ann"] } });
  assert.deepEqual(readUser(user({ enabled: false, displayName: "", principalIds: null }))?.live, { enabled: false, principalid: [], username: [] });
  assert.equal(readUser(user({ enabled: null }))?.live?.enabled, true);
  assert.equal(readUser(user({ metadata: meta({ name: "u-abc", deletionTimestamp: "2026-01-15T12:00:00Z" }) }))?.live, null);
});

test("the principals of a User are in one order, so that a permuted list writes nothing", () => {
  assert.deepEqual(readUser(user({ principalIds: ["b", "a", "b"] }))?.live?.principalid, ["a", "b"]);
});

const attribute = (about: Fields = {}) => ({ metadata: { name: "u-abc", resourceVersion: "9" }, UserName: "u-abc", ...about });
const items = (...names: string[]) => ({ Items: names.map((name) => ({ metadata: { name }, principalType: "group" })) });
const valuesOf = (object: unknown) =>
  Object.fromEntries((readAttribute(object)?.providers ?? assert.fail("it is refused")).map(({ provider, values }) => [provider, Object.fromEntries(values)]));

test("a UserAttribute says groups and extras by provider, in Rancher's capitals; what is left out says nothing", () => {
  const object = attribute({
    GroupPrincipals: { github: items("github_team://2", "github_org://1"), local: items() },
    ExtraByProvider: { github: { principalid: ["github_user://1"], username: ["ann"], scopes: ["x"] }, openldap: {} },
  });
  const said = {
    github: { groups: ["github_org://1", "github_team://2"], principalid: ["github_user://1"], username: ["ann"] },
    local: { groups: [] },
    openldap: {},
  };
  assert.deepEqual(valuesOf(object), said);
  assert.deepEqual(valuesOf(attribute({ groupPrincipals: { github: items("github_org://1") }, extraByProvider: { github: { username: ["ann"] } } })), {});
});

test("null for a list is an empty list, because that is how Go writes one", () => {
  const object = attribute({ GroupPrincipals: { github: { Items: null }, local: {} }, ExtraByProvider: { github: { username: null } } });
  assert.deepEqual(valuesOf(object), { github: { groups: [], username: [] }, local: { groups: [] } });
  assert.deepEqual(valuesOf(attribute({ GroupPrincipals: null, ExtraByProvider: null })), {});
});

test("refused names stay in what is read, because whoever decides has to name them", () => {
  assert.deepEqual(valuesOf(attribute({ GroupPrincipals: { github: items("", "system:masters", "a\u0000b") } })), {
    github: { groups: sorted(["", "system:masters", "a\u0000b"]) },
  });
});

test("its time is the newest of all that it tells, or it would be taken for older than the login that it followed", () => {
  const iso = (offset: number): string => new Date(NOW + offset).toISOString();
  const fields = fc.record({ LastRefresh: fc.option(fc.nat(9)), lastLogin: fc.option(fc.nat(9)), managed: fc.array(fc.nat(9), { maxLength: 3 }) });
  fc.assert(
    fc.property(fields, ({ LastRefresh, lastLogin, managed }) => {
      const time = (n: number | null): unknown => (n === null ? "" : iso(n * 1000));
      const metadata = { name: "u-abc", resourceVersion: "9", managedFields: [...managed.map((n) => ({ time: time(n) })), { time: "no time before 4734" }] };
      const said = readAttribute(attribute({ metadata, LastRefresh: time(LastRefresh), lastLogin: time(lastLogin), GroupPrincipals: { github: items() } }));
      const newest = Math.max(-1, LastRefresh ?? -1, lastLogin ?? -1, ...managed);
      assert.equal(said?.providers[0]?.at, newest < 0 ? 0 : NOW + newest * 1000);
    }),
  );
});

test("equal content has an equal hash however its lists are ordered, and other content another, because only news may override a login", () => {
  const content = fc.record({ groups: fc.option(fewNames), principalid: fc.option(fewNames), username: fc.option(fewNames) });
  type Content = { groups: string[] | null; principalid: string[] | null; username: string[] | null };
  const hashOf = ({ groups, principalid, username }: Content, LastRefresh: string): string => {
    const extras = { ...(principalid ? { principalid } : {}), ...(username ? { username } : {}) };
    return readAttribute(attribute({ LastRefresh, ...(groups ? { GroupPrincipals: { p: items(...groups) } } : {}), ExtraByProvider: { p: extras } }))!
      .providers[0]!.hash;
  };
  const reversed = ({ groups, principalid, username }: Content): Content => ({
    groups: groups?.toReversed() ?? null,
    principalid: principalid?.toReversed() ?? null,
    username: username?.toReversed() ?? null,
  });
  const same = (a: Content, b: Content): boolean =>
    (["groups", "principalid", "username"] as const).every((key) => JSON.stringify(a[key] && sorted(a[key])) === JSON.stringify(b[key] && sorted(b[key])));
  fc.assert(
    fc.property(content, content, (a, b) => {
      assert.equal(hashOf(a, "2026-01-01T00:00:00Z"), hashOf(reversed(a), "2026-01-02T00:00:00Z"));
      assert.equal(hashOf(a, "") === hashOf(b, ""), same(a, b));
    }),
  );
});

test("what cannot be read is said with each place, and what can be read has none", () => {
  assert.match(misreadAt("users", user({ enabled: "no", principalIds: [1] })), /^enabled: .*boolean.*; principalIds\.0: .*string/);
  const wrong = attribute({ GroupPrincipals: { github: { Items: "x" } }, ExtraByProvider: { github: { username: [null] } } });
  assert.match(misreadAt("userattributes", wrong), /^GroupPrincipals\.github\.Items: .*; ExtraByProvider\.github\.username\.0: /);
  assert.equal(readAttribute(wrong), undefined);
  assert.equal(misreadAt("users", user()) + misreadAt("userattributes", attribute()), "");
});

test("a UserAttribute that is being deleted says nothing any more", () => {
  const metadata = { name: "u-abc", resourceVersion: "9", deletionTimestamp: "2026-01-15T12:00:00Z" };
  assert.deepEqual(readAttribute(attribute({ metadata, GroupPrincipals: { github: items("a://b") } }))?.providers, []);
});

test("the five kinds are asked for where Rancher serves them", () => {
  assert.equal(sourcePath(CRTB), "/apis/management.cattle.io/v3/clusterroletemplatebindings");
});

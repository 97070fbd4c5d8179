// A login's body: what is taken from it, and what is said of each thing in it that is wrong. Whatever comes, it is answered and never thrown at.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Login, groupsAfter, readLogin } from "../../../producers/login.ts";
import type { UserRecord } from "../../../shared/ledger/record.ts";
import type { ProviderValues } from "../../../shared/subject.ts";
import { NOW, aPolicy, anyText, fewNames, sorted } from "../../support/builders.ts";

const policy = aPolicy();
const bytes = (body: unknown): Uint8Array => Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
const read = (body: unknown, about = policy) => readLogin(bytes(body), about);
function login(body: unknown): Login {
  const reading = read(body);
  return "login" in reading ? reading.login : assert.fail(reading.detail);
}
const least = { user: "u-abc", provider: "github" };

test("a whole login is read, its lists in the one order that everything compares by, so that a permuted one says nothing new", () => {
  const body = {
    ...least,
    cluster: "c-abc12",
    groups: ["github_org://2", "github_org://1", "github_org://2"],
    extras: { username: ["bob"], principalid: ["b", "a"] },
  };
  assert.deepEqual(login(body), {
    user: "u-abc",
    cluster: "c-abc12",
    provider: "github",
    values: [
      ["groups", ["github_org://1", "github_org://2"]],
      ["principalid", ["a", "b"]],
      ["username", ["bob"]],
    ],
  });
});

test("only what was sent is said: a key that is left out keeps what is known, and an empty list clears it", () => {
  assert.deepEqual(login(least), { ...least, cluster: undefined, values: [] });
  assert.deepEqual(login({ ...least, groups: [], extras: { username: [] } }).values, [
    ["groups", []],
    ["username", []],
  ]);
});

test("an id is taken byte for byte, because another case is another person", () => {
  for (const user of ["U-ABC", "local://ü/50%", "constructor", "a:b", "名前"]) assert.equal(login({ ...least, user }).user, user);
});

/** Body → the place that the answer has to name. */
const malformed: readonly (readonly [what: string, body: unknown, place: RegExp])[] = [
  ["nothing", "", /not JSON in UTF-8/],
  ["half a body", '{"user":"u-abc"', /not JSON in UTF-8/],
  ["a list", "[]", /^body: .*expected object/],
  ["null", "null", /^body: .*expected object/],
  ["a text", '"u-abc"', /^body: .*expected object/],
  ["an unknown key", { ...least, grups: [] }, /^body: .*"grups"/],
  ["a key that JavaScript has already", { ...least, constructor: 1 }, /^body: .*"constructor"/],
  ["__proto__ as a key", '{"user":"u-abc","provider":"github","__proto__":{"groups":["a://b"]}}', /key "__proto__"/],
  ["__proto__ deeper", '{"user":"u-abc","provider":"github","extras":{"__proto__":["a"]}}', /key "__proto__"/],
  ["__proto__ in escapes", String.raw`{"user":"u-abc","provider":"github","\u005f_proto__":1}`, /key "__proto__"/],
  ["two users", '{"user":"u-abc","provider":"github","user":"u-eve"}', /key "user" twice; write each key once/],
  ["two users, one in escapes", String.raw`{"user":"u-abc","provider":"github","\u0075ser" : "u-eve"}`, /key "user" twice/],
  ["two lists in the extras", '{"user":"u-abc","provider":"github","extras":{"username":["a"],"username":["b"]}}', /key "username" twice/],
  ["no user", { provider: "github" }, /^user: /],
  ["a user that is a number", { ...least, user: 7 }, /^user: /],
  ["a user that is a list", { ...least, user: ["u-abc"] }, /^user: /],
  ["no provider", { user: "u-abc" }, /^provider: /],
  ["an empty provider", { ...least, provider: "" }, /^provider: a provider has up to 64 letters/],
  ["a provider with a blank", { ...least, provider: "git hub" }, /^provider: /],
  ["a provider with a line break at its end", { ...least, provider: "github\n" }, /^provider: /],
  ["a cluster that is none", { ...least, cluster: "C One" }, /^cluster: a cluster id has/],
  ["a cluster that climbs", { ...least, cluster: "../c" }, /^cluster: /],
  ["an empty cluster", { ...least, cluster: "" }, /^cluster: /],
  ["null for no cluster", { ...least, cluster: null }, /^cluster: /],
  ["groups that are a text", { ...least, groups: "github_org://1" }, /^groups: .*expected array/],
  ["a group that is null", { ...least, groups: ["github_org://1", null] }, /^groups\.1: /],
  ["a group that is a list", { ...least, groups: [["github_org://1"]] }, /^groups\.0: /],
  ["an extra of another name", { ...least, extras: { scopes: ["x"] } }, /^extras: only principalid and username/],
  ["an extra that is a text", { ...least, extras: { username: "bob" } }, /^extras\.username: /],
  ["extras that are a list", { ...least, extras: ["bob"] }, /^extras: /],
  ["six thousand groups", { ...least, groups: Array.from({ length: 6000 }, (_, i) => `g://${i}`) }, /^groups: /],
];
for (const [what, body, place] of malformed) {
  test(`${what} is refused with its place, because the sender has to mend it`, () => {
    const reading = read(body);
    assert.ok("detail" in reading, "it was taken");
    assert.equal(reading.status, 400);
    assert.match(reading.detail, place);
    assert.ok(reading.detail.length <= 1000);
  });
}

test("a body that is not UTF-8 is refused, because replaced characters would make another name", () => {
  const latin = Buffer.from('{"user":"björn","provider":"github"}', "latin1");
  assert.deepEqual(readLogin(latin, policy), { status: 400, detail: "the body is not JSON in UTF-8" });
});

test("a body of half a million brackets is refused like any other, because nothing here calls itself once a level", () => {
  const deep = 500_000;
  for (const text of ["[".repeat(deep) + "]".repeat(deep), `{"user":${'{"a":'.repeat(deep / 5)}1${"}".repeat(deep / 5)}}`]) {
    const reading = read(text);
    assert.ok("status" in reading && reading.status === 400);
  }
});

/** Values that may never be in a role, wherever they stand. */
const hidden = {
  "an empty text": "",
  NUL: "a\u0000b",
  "a line break": "a\nb",
  "a right-to-left mark": "a\u202eb",
  "a zero width space": "a\u200bb",
  "a blank behind": "ab ",
  "half a character": "\ud800",
};
for (const [what, value] of Object.entries(hidden)) {
  test(`${what} in user, group or extra is refused with its place, because a person would read another name`, () => {
    const reading = read({ user: value, provider: "github", groups: ["a://b", value], extras: { principalid: [value], username: ["bob", "bob", value] } });
    assert.ok("detail" in reading);
    assert.equal(reading.status, 422);
    assert.match(reading.detail, /^user .*; groups\[1\] .*; principalid\[0\] .*; username\[2\] /);
    assert.match(reading.detail, /^[\x20-\x7e]*$/, "shown so that it cannot deceive who reads it");
  });
}

for (const name of ["system:masters", "system:node:x", "kubeadm:cluster-admins", "eks:x", "openshift:x", "system:serviceaccount:kube-system:default"]) {
  test(`${name} is refused as user and as group, because Kubernetes gives that name rights of its own`, () => {
    for (const [body, place] of [
      [{ ...least, user: name }, "user"],
      [{ ...least, groups: ["a://b", name] }, "groups[1]"],
    ] as const) {
      const reading = read(body);
      assert.ok("detail" in reading && reading.status === 422);
      assert.ok(reading.detail.startsWith(`${place} "${name}" has the reserved prefix`), reading.detail);
    }
    for (const source of ["rancher", "logins"] as const) assert.ok("detail" in read({ ...least, user: name }, aPolicy({ source })));
  });
}

test("the built-in groups may be sent, because every proxy sends them along", () => {
  assert.deepEqual(login({ ...least, groups: ["system:authenticated", "system:cattle:authenticated"] }).values, [
    ["groups", ["system:authenticated", "system:cattle:authenticated"]],
  ]);
});

test("a bare group is refused where groups are principals, and taken where logins are the truth", () => {
  const body = { ...least, groups: ["developers"] };
  assert.match(JSON.stringify(read(body)), /groups\[0\].*is not a principal/);
  assert.ok("login" in read(body, aPolicy({ source: "logins" })));
});

test("501 groups are refused with the setting that would take them, and never cut off", () => {
  const groups = Array.from({ length: 501 }, (_, i) => `g://${i}`);
  assert.deepEqual(read({ ...least, groups }), { status: 422, detail: "groups has 501 entries, over the limit of 500 (UNDERSTUDY_GROUPS_MAX)" });
  assert.equal(login({ ...least, groups: groups.slice(1) }).values[0]![1].length, 500);
});

test("a long row of wrong values names ten and no more, because an answer is read by people", () => {
  const reading = read({ ...least, groups: Array.from({ length: 400 }, () => "") });
  assert.ok("detail" in reading);
  assert.equal(reading.detail.split("; ").length, 10);
});

test("any bytes and any JSON are answered: taken, or refused with a reason that is one plain line", () => {
  const close = fc.record(
    {
      user: fc.oneof(anyText, fc.jsonValue()),
      provider: fc.oneof(fc.constant("github"), anyText),
      cluster: fc.oneof(fc.constant("c-1"), fc.jsonValue()),
      groups: fc.jsonValue(),
      extras: fc.jsonValue(),
    },
    { requiredKeys: ["user", "provider"] },
  );
  const raw = fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc.json().map(bytes),
    close.map(bytes),
    fc.string().map((text) => bytes(`{"user":"u","provider":"p"${text}`)),
  );
  fc.assert(
    fc.property(raw, (body) => {
      const reading = readLogin(body, policy);
      if ("login" in reading) return assert.ok(reading.login.user.length > 0);
      assert.match(reading.detail, /\S/);
      return assert.ok(!["\n", "\u202e", "\u0000"].some((bad) => reading.detail.includes(bad)));
    }),
  );
});

test("a key stands twice exactly where a reader that keeps all keys finds it twice", () => {
  // Texts of JSON with repeated keys, and how often each key stands in its object.
  const key = fc.constantFrom("a", "b", "user", 'q"', "{", "}", ":", "\\", "é");
  const tree: fc.Memo<{ text: string; twice: boolean }> = fc.memo((depth) =>
    depth <= 1
      ? fc.constantFrom("1", '"{\\"a\\":1}"', "[]", '"a:"').map((text) => ({ text, twice: false }))
      : fc.array(fc.tuple(key, tree()), { maxLength: 3 }).map((pairs) => ({
          text: `{${pairs.map(([name, { text }]) => `${JSON.stringify(name)} :${text}`).join(",")}}`,
          twice: new Set(pairs.map(([name]) => name)).size < pairs.length || pairs.some(([, { twice }]) => twice),
        })),
  );
  fc.assert(fc.property(tree(4), ({ text, twice }) => assert.equal(JSON.stringify(read(`{"x":${text}}`)).includes("twice"), twice)));
});

const anyProvider = fc.constantFrom("github", "local", "__proto__", "a:b");
test("the groups after a login are what the ledger will say of them, or somebody would be refused or let in by a rule of the hook's own", () => {
  const known = fc.uniqueArray(fc.record({ provider: anyProvider, at: fc.integer({ min: 0, max: 9 }), groups: fc.option(fewNames) }), {
    selector: ({ provider }) => provider,
  });
  const sent = fc.record({ provider: anyProvider, at: fc.integer({ min: 0, max: 9 }), groups: fc.option(fewNames) });
  fc.assert(
    fc.property(known, sent, (providers, { provider, at, groups }) => {
      const entries = providers.map((one): [string, ProviderValues] => [one.provider, one.groups ? { groups: sorted(one.groups) } : {}]);
      const times = new Map(providers.map((one) => [`groups:${one.provider}`, NOW + one.at]));
      const user: UserRecord = { n: "1", facts: { user: null, providers: Object.fromEntries(entries) }, clusters: [], attributed: false, times };
      const after = groupsAfter(user, { user: "u", cluster: undefined, provider, values: groups ? [["groups", sorted(groups)]] : [] }, NOW + at);
      const model = new Map(providers.map((one) => [one.provider, { at: one.at, groups: one.groups ?? [] }]));
      if (groups && (model.get(provider)?.at ?? -1) <= at) model.set(provider, { at, groups });
      assert.deepEqual(after, sorted([...model.values()].flatMap((one) => one.groups)));
    }),
  );
});

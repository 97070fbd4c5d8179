// Subjects' keys, the one order of lists, and which texts can never be put in a role.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ClusterId, DEFAULT_DENY_PREFIXES, ID_LENGTH_MAX, canonical, groupRefusalOf, refusalOf, shown, subjectKey, subjectOf } from "../../shared/subject.ts";
import { anyCharacter, anyText } from "../support/builders.ts";

const clusterIds = fc.stringMatching(/^[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?$/);

test("a subject is read back from its key, slashes and all, because users' ids may hold any text", () => {
  fc.assert(
    fc.property(clusterIds, fc.oneof(anyText, fc.constantFrom("local://u-1", "/", "a/b/c")), (cluster, user) => {
      assert.deepEqual(subjectOf(subjectKey({ cluster, user })), { cluster, user });
    }),
  );
});

for (const key of ["", "c-abc12", "c-abc12/", "/u-alice"]) {
  test(`${JSON.stringify(key)} is refused as a subject's key, because half a subject is nobody`, () => {
    assert.throws(() => subjectOf(key), RangeError);
  });
}

test("a list has one order whatever order it came in, so that a permuted source writes nothing", () => {
  fc.assert(
    fc.property(
      fc.array(anyText).chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length }))),
      ([list, shuffled]) => {
        assert.deepEqual(canonical(shuffled), canonical(list));
        assert.deepEqual(canonical([...list, ...list]), canonical(list));
        assert.deepEqual(new Set(canonical(list)), new Set(list));
      },
    ),
  );
});

const refused: readonly (readonly [what: string, value: unknown, reason: RegExp])[] = [
  ["an empty id", "", /empty/],
  ["a NUL", "u-\u0000alice", /control/],
  ["a line break", "u-alice\n", /control/],
  ["a C1 control", "u-\u0085alice", /control/],
  ["DEL", "u-\u007f", /control/],
  ["a right-to-left override", "u-\u202eecila", /direction/],
  ["an isolate", "u-\u2066alice\u2069", /direction/],
  ["an Arabic letter mark", "u-\u061calice", /direction/],
  ["a zero-width space", "u-\u200balice", /invisible/],
  ["a zero-width joiner", "u-al\u200dice", /invisible/],
  ["a byte order mark", "\ufeffu-alice", /invisible/],
  ["a word joiner", "u-\u2060alice", /invisible/],
  ["a lone surrogate", "u-\ud800", /control|invisible/],
  ["a leading blank", " u-alice", /blank/],
  ["a trailing blank", "u-alice ", /blank/],
  ["an outer no-break space", "\u00a0u-alice", /blank/],
  ["an outer ideographic space", "u-alice\u3000", /blank/],
  ["an endless id", "u".repeat(ID_LENGTH_MAX + 1), /longer/],
  ["a number", 7, /not a text/],
  ["nothing", null, /not a text/],
];
for (const [what, value, reason] of refused) {
  test(`${what} is refused in ids, groups and extras, because people and proxies would read another name than Kubernetes does`, () => {
    assert.match(refusalOf(value) ?? "accepted", reason);
    assert.match(groupRefusalOf(value, [], false) ?? "accepted", reason);
  });
}

test("every control character and every character that turns the text's direction is refused, wherever it stands", () => {
  const hidden: string[] = [];
  for (let code = 0; code <= 0x10ffff; code++) {
    const character = String.fromCodePoint(code);
    if (/[\p{Cc}\p{Bidi_Control}\p{Surrogate}]/u.test(character)) hidden.push(character);
  }
  for (const character of hidden) assert.notEqual(refusalOf(`u-${character}alice`), undefined, `U+${character.codePointAt(0)!.toString(16)}`);
});

for (const value of ["u-alice", "Alice", "alice@example.com", "local://u-1", "名前", "josé", "a b", "*", "__proto__", "🙂", "u".repeat(ID_LENGTH_MAX)]) {
  test(`${JSON.stringify(value.slice(0, 20))} is taken byte for byte, because Kubernetes compares names so`, () => {
    assert.equal(refusalOf(value, DEFAULT_DENY_PREFIXES), undefined);
  });
}

for (const name of [
  "system:masters",
  "system:nodes",
  "system:serviceaccounts",
  "system:",
  "kubeadm:cluster-admins",
  "eks:bootstrappers",
  "aks:admins",
  "gke:admins",
  "openshift:masters",
]) {
  test(`${name} is refused as user and as group, because Kubernetes or its vendor gives that name rights of its own`, () => {
    assert.match(refusalOf(name, DEFAULT_DENY_PREFIXES) ?? "accepted", /reserved prefix/);
    assert.match(groupRefusalOf(name, DEFAULT_DENY_PREFIXES, true) ?? "accepted", /reserved prefix/);
    assert.match(groupRefusalOf(name, DEFAULT_DENY_PREFIXES, false) ?? "accepted", /reserved prefix/);
  });
}

test("the two built-in groups pass as groups and are refused as users, because nobody is called so", () => {
  for (const name of ["system:authenticated", "system:cattle:authenticated"]) {
    assert.equal(groupRefusalOf(name, DEFAULT_DENY_PREFIXES, true), undefined);
    assert.match(refusalOf(name, DEFAULT_DENY_PREFIXES) ?? "accepted", /reserved prefix/);
  }
});

test("with principals a bare group name is refused, because a source of principals never says one", () => {
  assert.match(groupRefusalOf("cluster-admins", DEFAULT_DENY_PREFIXES, true) ?? "accepted", /not a principal/);
  assert.equal(groupRefusalOf("github_org://1", DEFAULT_DENY_PREFIXES, true), undefined);
  assert.equal(groupRefusalOf("cluster-admins", DEFAULT_DENY_PREFIXES, false), undefined);
});

test("a refused value is shown as plain ASCII of bounded length, because it may be made to deceive who reads it", () => {
  fc.assert(
    fc.property(fc.oneof(anyText, fc.string({ unit: anyCharacter, maxLength: 200 })), (value) => {
      assert.match(shown(value), /^[\x20-\x7e]{0,80}$/);
    }),
  );
});

test("a value that is no text is shown as well, because sources send anything", () => {
  assert.deepEqual([shown(undefined), shown(null), shown(7), shown(["a"])], ["undefined", "null", "7", '["a"]']);
});

test("a cluster's id has no slash, so that the first one in a key separates", () => {
  for (const id of ["c-abc12", "local", "c-m-x7zk9", "a", "prod.eu", "x".repeat(63)]) assert.equal(ClusterId.safeParse(id).success, true, id);
  for (const id of ["", "c/a", "C-abc", "-a", "a-", "a b", "x".repeat(64), "~c", "a\n"]) assert.equal(ClusterId.safeParse(id).success, false, id);
});

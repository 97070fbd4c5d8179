// Names of the objects: safe for any id, readable where Kubernetes allows it, and never shared by two people.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NAMESPACE, PREFIX, nameOf, secretNameOf, slugOf } from "../../shared/names.ts";
import { anyCharacter, anyId, anyText } from "../support/builders.ts";

// https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and …/labels/
const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const isSubdomain = (name: string): boolean => name.length <= 253 && name.split(".").every((part) => LABEL.test(part));
const isLabelValue = (value: string): boolean => value.length <= 63 && /^([A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?)?$/.test(value);
/** What DESIGN promises to use as it is. */
const isDirect = (id: string): boolean => id.length <= 42 && isSubdomain(id) && !/-[0-9a-f]{16}$/.test(id);

/** Relatives of an id which are most likely to end at the same name. */
const relatives = (id: string): string[] => [
  slugOf(id),
  slugOf(slugOf(id)),
  nameOf(id),
  id.toUpperCase(),
  id.toLowerCase(),
  id.trim(),
  `${id} `,
  ` ${id}`,
  `${id}-`,
  `-${id}`,
  `${id}.`,
  id.replaceAll(".", "-"),
  id.replaceAll("-", "."),
  id.replace(/[^A-Za-z0-9]/g, "-"),
  id.replace(/[^A-Za-z0-9]/g, "_"),
  id.normalize("NFD"),
  id.normalize("NFKC"),
  id.slice(0, 25),
  `${id}${"x".repeat(60)}`,
  `${id.slice(0, 25)}-0123456789abcdef`,
];
const aFamily: fc.Arbitrary<string[]> = fc
  .tuple(anyId, anyId, anyText)
  .map(([a, b, c]) => [...new Set([a, b, c, ...relatives(a), ...relatives(b)])].filter((id) => id !== ""));

test("every name is one that Kubernetes takes for a ClusterRole, a ServiceAccount, a Secret and a label, whatever the id", () => {
  fc.assert(
    fc.property(fc.oneof(anyId, fc.string({ unit: anyCharacter, maxLength: 300 })), (id) => {
      const name = nameOf(id);
      assert.ok(isSubdomain(name), `object name ${name}`);
      assert.ok(isLabelValue(name), `label value ${name}`);
      assert.ok(isSubdomain(secretNameOf(id, "0a1b2c3d4e")), "Secret name");
    }),
  );
});

test("two ids never share an object name, because one person would act as the other", () => {
  fc.assert(
    fc.property(aFamily, (ids) => {
      const names = new Map<string, string>();
      for (const id of ids) {
        const other = names.get(nameOf(id));
        assert.equal(other, undefined, `${JSON.stringify(id)} and ${JSON.stringify(other)} are both ${nameOf(id)}`);
        names.set(nameOf(id), id);
      }
    }),
  );
});

test("an id that was chosen to be another's slug gets a name of its own, because ids can be chosen", () => {
  const victim = "Alice@example.com";
  const chosen = slugOf(victim);
  assert.notEqual(nameOf(chosen), nameOf(victim));
  assert.notEqual(nameOf(slugOf(chosen)), nameOf(chosen));
});

test("ids with the same readable part are told apart by their hash, because the readable part is cut", () => {
  const long = "a-very-long-department-of.";
  const names = ["bob", "carol", "Bob", "bob "].map((tail) => nameOf(long.repeat(3) + tail));
  assert.equal(new Set(names).size, 4);
  for (const name of names) assert.match(name, /^cattle-impersonation-a-very-long-department-of-[0-9a-f]{16}$/);
});

test("an id is used as it is exactly where it is a DNS name of at most 42 characters that does not end like a slug", () => {
  fc.assert(
    fc.property(aFamily, (ids) => {
      for (const id of ids) assert.equal(slugOf(id) === id, isDirect(id), JSON.stringify(id));
    }),
  );
});

const directCases: readonly (readonly [id: string, direct: boolean])[] = [
  ["u-abc12", true],
  ["user-x7zk9", true],
  ["a", true],
  ["0", true],
  ["a.b-c.d", true],
  ["x".repeat(42), true],
  ["x".repeat(43), false],
  ["0123456789abcdef", true],
  ["u-0123456789abcdef", false],
  ["u-0123456789abcdeF", false],
  ["u-0123456789abcde", true],
  ["u-0123456789abcdefg", true],
  ["U-abc12", false],
  ["u_abc12", false],
  ["-u", false],
  ["u-", false],
  [".u", false],
  ["u.", false],
  ["u..v", false],
  ["u-.v", false],
  ["u.-v", false],
  ["", false],
  ["u\n", false],
  ["ü", false],
  ["local://u-1", false],
];
for (const [id, direct] of directCases) {
  test(`the id ${JSON.stringify(id)} is ${direct ? "used as it is" : "replaced by a slug"}, so that both forms never meet`, () => {
    assert.equal(slugOf(id) === id, direct);
    if (!direct) assert.match(slugOf(id), /^[a-z0-9]([-a-z0-9]{0,23}[a-z0-9])?-[0-9a-f]{16}$/);
  });
}

test("an id in another script keeps a name, although nothing of it can be read there", () => {
  assert.match(nameOf("名前"), /^cattle-impersonation-x-[0-9a-f]{16}$/);
  assert.notEqual(nameOf("名前"), nameOf("名刺"));
});

test("a name is the same in every process and release, because objects outlive both", () => {
  assert.equal(nameOf("u-abc12"), "cattle-impersonation-u-abc12");
  // printf %s Alice@example.com | sha256sum
  assert.equal(nameOf("Alice@example.com"), "cattle-impersonation-alice-example-com-cdbc73c2371c82a2");
  assert.deepEqual([NAMESPACE, PREFIX], ["cattle-impersonation-system", "cattle-impersonation-"]);
});

test("a Secret's name says whose it is and which one, so that racers make one and nobody reuses it", () => {
  assert.equal(secretNameOf("u-abc12", "n1"), "cattle-impersonation-u-abc12-token-n1");
  assert.notEqual(secretNameOf("u-abc12", "n1"), secretNameOf("u-abc12", "n2"));
});

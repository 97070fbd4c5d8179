// Parts of a simulated cluster that no call of ours goes through, and a person's kubectl does.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PATCHES } from "../../../deploy/embedded/sim/patch.ts";
import { selectorOf } from "../../../deploy/embedded/sim/selectors.ts";
import { ROLES } from "../../../deploy/embedded/sim/resources.ts";
import { Store, type Thing } from "../../../deploy/embedded/sim/store.ts";

const thing = (labels: Record<string, string>): Thing => ({ apiVersion: "v1", kind: "Secret", type: "Opaque", metadata: { name: "one", labels } });

test("label and field selectors select as Kubernetes' do", () => {
  for (const [labels, selector, selected] of [
    [{ a: "b" }, "a=b", true],
    [{ a: "b" }, "a==b,a", true],
    [{ a: "b" }, "a!=b", false],
    [{}, "a!=b", true],
    [{}, "!a", true],
    [{ a: "b" }, "a in (b, c),!d", true],
    [{ a: "b" }, "a notin (b,c)", false],
    [{ a: "b" }, "c", false],
  ] as const)
    assert.equal(selectorOf(selector, null)(thing(labels)), selected, selector);
  assert.ok(selectorOf(null, "metadata.name=one,type!=other")(thing({})));
  assert.throws(() => selectorOf(null, "spec.x=1"), { status: 400 });
});

test("a strategic patch merges what Kubernetes merges, and replaces every other list", () => {
  const role = {
    ...thing({ a: "b" }),
    rules: [1, 2],
    metadata: { name: "one", labels: { a: "b" }, finalizers: ["x", "y"], ownerReferences: [{ uid: "1" }, { uid: "2" }] },
  };
  const patch = {
    rules: [3],
    metadata: {
      labels: { a: null, c: "d" },
      "$setElementOrder/ownerReferences": [{ uid: "2" }],
      ownerReferences: [{ uid: "1", $patch: "delete" }, { uid: "3" }],
      "$deleteFromPrimitiveList/finalizers": ["x"],
      finalizers: ["z"],
    },
  };
  const patched = PATCHES["application/strategic-merge-patch+json"]!(role as unknown as Thing, patch) as Thing;
  assert.deepEqual(patched["rules"], [3]);
  assert.deepEqual(patched.metadata, { name: "one", labels: { c: "d" }, finalizers: ["y", "z"], ownerReferences: [{ uid: "2" }, { uid: "3" }] });
  assert.deepEqual(PATCHES["application/merge-patch+json"]!(thing({ a: "b" }), { metadata: { labels: null }, type: "x" }), {
    ...thing({}),
    type: "x",
    metadata: { name: "one" },
  });
});

test("a version from before what is remembered is 410, because what happened since cannot be told", () => {
  const store = new Store();
  const made = store.create(ROLES, thing({}), { manager: "test" });
  let object = made;
  for (let i = 0; i < 12_000; i++) object = store.replace(ROLES, { ...object, n: i }, { manager: "test" });
  assert.throws(() => store.since(Number(made.metadata.resourceVersion)), { status: 410 });
  assert.equal(store.since(store.version - 3).length, 3);
});

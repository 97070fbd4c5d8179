// The indexes over bindings against the plain list of them: whatever came and went, they answer as a search through all would.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Bindings, candidateFrom, grantFrom, makesCandidates, sameHolder } from "../../../producers/bindings.ts";
import type { Binding } from "../../../producers/rancher.ts";
import { BUILT_IN } from "../../support/builders.ts";

const clusters = ["c-one", "c-two", "constructor"] as const;
const users = ["u-a", "u-b", "__proto__"] as const;
const groups = ["g://1", "g://2", "system:authenticated"] as const;

const anyHolder = fc.oneof(
  fc.constantFrom(...users).map((user) => ({ user })),
  fc.constantFrom(...groups).map((group) => ({ group })),
);
const anyBinding: fc.Arbitrary<Binding> = fc
  .record({
    id: fc.integer({ min: 0, max: 7 }),
    rv: fc.nat(99).map(String),
    cluster: fc.option(fc.constantFrom(...clusters), { nil: undefined }),
    holder: anyHolder,
  })
  .map(({ id, ...rest }) => ({ id: `globalrolebindings:b-${id}`, kind: "GlobalRoleBinding", name: `b-${id}`, ...rest }));

type Act = { readonly put: Binding } | { readonly drop: string } | { readonly clear: true };
const anyAct: fc.Arbitrary<Act> = fc.oneof(
  { weight: 6, arbitrary: anyBinding.map((put) => ({ put })) },
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 7 }).map((id) => ({ drop: `globalrolebindings:b-${id}` })) },
  { weight: 1, arbitrary: fc.constant({ clear: true as const }) },
);

/** Both after the same acts. */
function after(acts: readonly Act[]): { bindings: Bindings; model: Map<string, Binding> } {
  const bindings = new Bindings();
  const model = new Map<string, Binding>();
  for (const act of acts) {
    if ("put" in act) {
      bindings.put(act.put);
      model.set(act.put.id, act.put);
    } else if ("drop" in act) {
      bindings.drop(act.drop);
      model.delete(act.drop);
    } else {
      bindings.clear();
      model.clear();
    }
  }
  return { bindings, model };
}
const byId = <T extends { readonly id: string }>(list: readonly T[]): T[] => list.toSorted((a, b) => (a.id < b.id ? -1 : 1));

test("grants and subjects are those of the bindings that are there now, whatever came and went before", () => {
  fc.assert(
    fc.property(fc.array(anyAct, { maxLength: 30 }), (acts) => {
      const { bindings, model } = after(acts);
      const all = [...model.values()];
      for (let id = 0; id <= 7; id++) assert.deepEqual(bindings.get(`globalrolebindings:b-${id}`), model.get(`globalrolebindings:b-${id}`));
      for (const user of users) {
        const own = all.filter(({ holder }) => "user" in holder && holder.user === user);
        for (const cluster of clusters)
          assert.deepEqual(byId(bindings.grantsOf(cluster, user)), byId(own.filter((binding) => binding.cluster === cluster).map(grantFrom)));
      }
      const subjects = all.flatMap(({ cluster, holder }) => (cluster !== undefined && "user" in holder ? [`${cluster} ${holder.user}`] : []));
      assert.deepEqual([...bindings.subjects()].map(({ cluster, user }) => `${cluster} ${user}`).sort(), subjects.sort());
    }),
  );
});

test("candidates are the group bindings of the user's groups and the global ones, on their cluster or everywhere, and no own binding", () => {
  const held = fc.subarray([...groups, "g://none"]);
  fc.assert(
    fc.property(fc.array(anyAct, { maxLength: 30 }), held, (acts, own) => {
      const { bindings, model } = after(acts);
      const all = new Set([...BUILT_IN, ...own]);
      for (const user of users)
        for (const cluster of clusters) {
          const naive = [...model.values()].filter(({ cluster: where, holder }) => {
            if (where !== undefined && where !== cluster) return false;
            return "group" in holder ? all.has(holder.group) : where === undefined && holder.user === user;
          });
          assert.deepEqual(byId(bindings.candidatesFor(cluster, user, own)), byId(naive.map(candidateFrom)));
        }
    }),
  );
});

test("a stored candidate is what its binding says today, and none any more where that is gone, of another cluster, or a user's own", () => {
  fc.assert(
    fc.property(fc.array(anyAct, { maxLength: 30 }), (acts) => {
      const { bindings, model } = after(acts);
      for (let n = 0; n <= 7; n++)
        for (const cluster of clusters) {
          const id = `globalrolebindings:b-${n}`;
          const now = model.get(id);
          const counts = now && (now.cluster === undefined || (now.cluster === cluster && "group" in now.holder));
          assert.deepEqual(bindings.candidateOn(cluster, id), counts ? candidateFrom(now) : undefined);
        }
    }),
  );
});

test("a binding of the group of all who are authenticated makes everybody a candidate, because everybody is in it", () => {
  const binding: Binding = {
    id: "clusterroletemplatebindings:c-one/all",
    rv: "1",
    kind: "ClusterRoleTemplateBinding",
    name: "c-one/all",
    cluster: "c-one",
    holder: { group: "system:authenticated" },
  };
  const bindings = new Bindings();
  bindings.put(binding);
  assert.deepEqual(bindings.candidatesFor("c-one", "u-a", []), [candidateFrom(binding)]);
  assert.deepEqual(bindings.candidatesFor("c-two", "u-a", []), []);
});

test("what is told of a binding is its reason alone, so that a label that changes on it is no news", () => {
  const common = { id: "x:c-one/b", rv: "7", kind: "ClusterRoleTemplateBinding", name: "c-one/b" };
  assert.deepEqual(grantFrom({ ...common, cluster: "c-one", holder: { user: "u-a" } }), {
    id: "x:c-one/b",
    rv: "7",
    live: { kind: common.kind, name: common.name },
  });
  assert.deepEqual(candidateFrom({ ...common, cluster: "c-one", holder: { group: "g://1" } }).live, { kind: common.kind, name: common.name, group: "g://1" });
  assert.deepEqual(candidateFrom({ ...common, cluster: undefined, holder: { user: "u-a" } }).live, { kind: common.kind, name: common.name, global: true });
});

test("a reading whose person, group or cluster is another ends the earlier one, and any other change does not", () => {
  fc.assert(
    fc.property(anyBinding, anyBinding, (a, b) => {
      const who = ({ holder }: Binding): string => ("user" in holder ? `user ${holder.user}` : `group ${holder.group}`);
      assert.equal(sameHolder(a, b), a.cluster === b.cluster && who(a) === who(b));
      assert.equal(makesCandidates(a), a.cluster === undefined || "group" in a.holder);
    }),
  );
});

test("a binding that is not there is gone as of how far its own stream has come, because another stream may be ahead", () => {
  const bindings = new Bindings();
  assert.equal(bindings.goneAt("clusterroletemplatebindings:c-one/b"), "0", "nothing was heard yet, so nothing is known to be gone");
  bindings.versions.set("clusterroletemplatebindings", "41");
  bindings.versions.set("projectroletemplatebindings", "99");
  assert.equal(bindings.goneAt("clusterroletemplatebindings:c-one/b:with:colons"), "41");
  bindings.clear();
  assert.equal(bindings.goneAt("clusterroletemplatebindings:c-one/b"), "41", "a new list is never behind what was heard");
});

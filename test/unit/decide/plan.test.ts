// Single steps of a plan: what comes before what, with which precondition, and whose an object is.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubernetesObject } from "@kubernetes/client-node";
import type { Wanted } from "../../../shared/decide/objects.ts";
import type { Pass, Seen, Step } from "../../../shared/decide/plan.ts";
import { KINDS, nextStep } from "../../../shared/decide/plan.ts";
import { holderOf } from "../../../shared/decide/memory.ts";
import { stepsTowards } from "../../../shared/decide/steps.ts";
import { nameOf } from "../../../shared/names.ts";
import { aPass, anIdentity, wanted } from "../../support/builders.ts";
import type { ObjectOf } from "../../support/object-model.ts";
import { ObjectModel, carryOut, note, says } from "../../support/object-model.ts";
import { damages } from "./damages.ts";

const alice = wanted();
const NAME = nameOf("u-alice");

/** A whole impersonator of alice's. */
function whole(goal: Wanted = alice): ObjectModel {
  const model = new ObjectModel();
  carryOut(model, NAME, goal);
  return model;
}
/** Steps until one of this kind. */
function carryUntil(model: ObjectModel, stop: Step["do"]): Step {
  const pass = aPass();
  for (;;) {
    const seen = model.seen(NAME);
    const step = nextStep(alice, seen, pass);
    if (step.do === stop || step.do === "done") return step;
    if ("kind" in step) model.apply(step);
    note(pass, step, seen);
  }
}
const first = (model: ObjectModel, goal: Wanted | undefined, pass?: Partial<Pass>): Step => nextStep(goal, model.seen(NAME), aPass(pass));

test("a cold cluster gets role, account, Secret and, after a last check, the binding, whose presence says that all is there", () => {
  assert.deepEqual(carryOut(new ObjectModel(), NAME, alice).map(says), [
    "create ClusterRole",
    "create ServiceAccount",
    "create Secret",
    "check",
    "create ClusterRoleBinding",
  ]);
});

test("a right impersonator needs no step, so that an unchanged subject costs nothing", () => {
  assert.deepEqual(carryOut(whole(), NAME, alice), []);
});

test("a removal takes the role first, because that ends the access whatever becomes of the rest", () => {
  const model = whole();
  const [role, ...rest] = carryOut(model, NAME, undefined);
  assert.deepEqual(rest.map(says), ["delete ClusterRoleBinding", "delete Secret", "delete ServiceAccount"]);
  assert.equal(model.size, 0);
  assert.ok(role && "kind" in role && role.do === "delete");
  assert.deepEqual([role.kind, role.name, role.uid !== undefined, role.resourceVersion !== undefined], ["ClusterRole", NAME, true, true]);
});

test("nothing is made for an owner that is being deleted, because the garbage collector would take it, again and again for as long as a finalizer holds the owner", () => {
  for (const [kind, child] of [
    ["ClusterRole", "ServiceAccount"],
    ["ServiceAccount", "Secret"],
  ] as const) {
    const model = whole();
    for (const { metadata } of model.all(child)) model.drop(child, metadata!.name!);
    model.edit(kind, NAME, ({ metadata }) => (metadata!.deletionTimestamp = new Date()));
    const step = carryUntil(model, "wait");
    assert.ok(step.do === "wait" && step.until === kind, says(step));
    assert.deepEqual(model.all(child), []);
    assert.ok(
      stepsTowards(alice, model.seen(NAME)).some((write) => write.do === "create" && write.kind === kind),
      "a plan foretells what comes once it has gone",
    );
    model.drop(kind, NAME);
    carryOut(model, NAME, alice, aPass({ nonce: "n2" }));
    assert.equal(model.size, 4);
  }
});

test("a role that is being deleted is narrowed all the same, because it is in force for as long as a finalizer holds it", () => {
  const model = whole();
  model.edit("ClusterRole", NAME, (role) => {
    role.metadata!.deletionTimestamp = new Date();
    role.rules = [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }];
  });
  assert.equal(says(first(model, alice)), "change ClusterRole");
});

test("the delete of a role carries what was seen of it, so that a role that another run has just written stays", () => {
  const model = whole();
  const stale = first(model, undefined);
  model.edit("ClusterRole", NAME, () => undefined);
  assert.throws(() => model.apply(stale as Extract<Step, { do: "delete" }>), { name: "Conflict" });
});

test("a change of whatever kind carries uid and version of what was seen, because without the uid a PUT of a role that somebody has deleted makes it anew", () => {
  const changed = new Set<string>();
  for (const [what, damage] of Object.entries(damages)) {
    const model = whole();
    damage(model, NAME);
    carryOut(model, NAME, alice, aPass({ takeover: true, nonce: "n2" }), (step, { role, account, secrets, binding }) => {
      if (step.do !== "change") return;
      const { name, uid, resourceVersion } = step.object.metadata!;
      const secret = secrets.find((one) => one.metadata!.name === name);
      const seen = { ClusterRole: role, ServiceAccount: account, Secret: secret, ClusterRoleBinding: binding }[step.kind]!.metadata!;
      assert.deepEqual([uid, resourceVersion], [seen.uid!, seen.resourceVersion!], `${what}: ${says(step)}`);
      changed.add(step.kind);
    });
  }
  assert.deepEqual([...changed].sort(), [...KINDS].sort());
});

test("children are deleted by uid alone, because the version of a Secret moves when it is filled", () => {
  for (const step of carryOut(whole(), NAME, undefined).slice(1))
    assert.ok(step.do === "delete" && step.uid !== "" && step.resourceVersion === undefined, says(step));
});

test("a role that was not there is looked for once more before its children go, because a paused run may have written it since", () => {
  const model = whole();
  model.drop("ClusterRole", NAME);
  assert.equal(says(first(model, undefined)), "look-again");
  assert.equal(says(first(model, undefined, { absenceSeen: true })), "delete ClusterRoleBinding");
  assert.equal(says(nextStep(undefined, { secrets: [] }, aPass())), "look-again");
  assert.equal(says(nextStep(undefined, { secrets: [] }, aPass({ absenceSeen: true }))), "done");
});

test("children of an earlier role go before the new one comes, because with it they would be in force at once", () => {
  const model = whole();
  model.drop("ClusterRole", NAME);
  assert.deepEqual(carryOut(model, NAME, alice, aPass({ nonce: "n2" })).map(says), [
    "delete ClusterRoleBinding",
    "delete Secret",
    "delete ServiceAccount",
    "create ClusterRole",
    "create ServiceAccount",
    "create Secret",
    "check",
    "create ClusterRoleBinding",
  ]);
});

test("a change of identity is one write of the role, and none of the rest", () => {
  assert.deepEqual(carryOut(whole(), NAME, wanted({ identity: anIdentity({ groups: ["github_org://1"] }) })).map(says), ["change ClusterRole"]);
});

test("a run that takes over writes the role once more although it is equal, which voids what the dead owner has in hand", () => {
  const model = whole();
  const dead = first(model, wanted({ identity: anIdentity({ groups: ["github_org://old"] }) }));
  assert.deepEqual(carryOut(model, NAME, alice, aPass({ takeover: true, me: "run-2" })).map(says), ["change ClusterRole"]);
  assert.equal(model.seen(NAME).role!.metadata!.annotations!["understudy.io/sealed-by"], "run-2");
  assert.throws(() => model.apply(dead as Extract<Step, { do: "change" }>), { name: "Conflict" });
  assert.deepEqual(carryOut(model, NAME, alice), [], "the seal is no difference for others");
});

test("a run that takes over writes a differing or a missing role once, not twice", () => {
  const other = wanted({ identity: anIdentity({ groups: ["github_org://1"] }) });
  assert.deepEqual(carryOut(whole(), NAME, other, aPass({ takeover: true })).map(says), ["change ClusterRole"]);
  assert.deepEqual(
    carryOut(new ObjectModel(), NAME, alice, aPass({ takeover: true }))
      .map(says)
      .filter((step) => step.endsWith("ClusterRole")),
    ["create ClusterRole"],
  );
});

test("the binding is never written on a ledger read that is older than the role's write, because it completes the set-up", () => {
  const model = whole();
  model.edit("ClusterRole", NAME, (role) => void role.rules!.pop());
  model.drop("ClusterRoleBinding", NAME);
  const steps = carryOut(model, NAME, alice, aPass({ checked: true })).map(says);
  assert.deepEqual(steps, ["change ClusterRole", "check", "create ClusterRoleBinding"]);
});

test("a named Secret that is gone gets a new name, because its old one would make the revoked token valid again", () => {
  const model = whole();
  const [old] = model.all("Secret");
  model.drop("Secret", old!.metadata!.name!);
  assert.deepEqual(carryOut(model, NAME, alice, aPass({ nonce: "n2" })).map(says), ["change ServiceAccount", "create Secret"]);
  assert.deepEqual(
    model.all("Secret").map(({ metadata }) => metadata!.name),
    [`${NAME}-token-n2`],
  );
});

test("a Secret that this very pass is about to make keeps the name that the account has, so that racers make one", () => {
  const model = new ObjectModel();
  carryOut(model, NAME, alice, aPass({ nonce: "mine" }));
  assert.deepEqual(
    model.all("Secret").map(({ metadata }) => metadata!.name),
    [`${NAME}-token-mine`],
  );
});

test("a stray Secret of the account is deleted, because it holds a token that nobody would revoke", () => {
  const model = whole();
  const [own] = model.all("Secret");
  model.create("Secret", { ...own!, metadata: { ...own!.metadata, name: `${NAME}-token-stray` } });
  assert.deepEqual(
    carryOut(model, NAME, alice).map((step) => ("name" in step ? step.name : says(step))),
    [`${NAME}-token-stray`],
  );
});

test("a binding to another role is deleted and made anew after a check, because a roleRef cannot be changed", () => {
  const model = whole();
  model.edit("ClusterRoleBinding", NAME, (binding) => void (binding.roleRef.name = "cluster-admin"));
  assert.deepEqual(carryOut(model, NAME, alice).map(says), ["delete ClusterRoleBinding", "check", "create ClusterRoleBinding"]);
});

test("what other controllers wrote into the account stays when ours is put right", () => {
  const model = whole();
  model.edit("ServiceAccount", NAME, (account) =>
    Object.assign(account, {
      automountServiceAccountToken: true,
      imagePullSecrets: [{ name: "registry" }],
      metadata: { ...account.metadata, annotations: { ...account.metadata!.annotations, team: "blue" } },
    }),
  );
  assert.deepEqual(carryOut(model, NAME, alice).map(says), ["change ServiceAccount"]);
  const { account } = model.seen(NAME);
  assert.deepEqual(
    [account!.imagePullSecrets, account!.metadata!.annotations!["team"], account!.automountServiceAccountToken],
    [[{ name: "registry" }], "blue", false],
  );
});

test("every write says why, because logs and plans show it", () => {
  for (const step of [...carryOut(new ObjectModel(), NAME, alice), ...carryOut(whole(), NAME, undefined)]) if ("kind" in step) assert.match(step.reason, /\w/);
});

// Whose ------------------------------------------------------------------------------------------------------------------------------------------------------

const LABEL = { "authz.cluster.cattle.io/impersonator": "true" };
const MARKS = { "understudy.io/user": "u-alice", "understudy.io/install": "understudy" };
const object = (metadata: ObjectOf["ClusterRole"]["metadata"]): KubernetesObject => ({
  apiVersion: "v1",
  kind: "ServiceAccount",
  metadata: { name: NAME, uid: "uid-1", ...metadata },
});
const ownedBy = (uid: string) => ({ ownerReferences: [{ apiVersion: "v1", kind: "ClusterRole", name: NAME, uid }] });

const holders: readonly (readonly [why: string, object: KubernetesObject | undefined, known: readonly string[], holder: ReturnType<typeof holderOf>])[] = [
  ["nothing is nobody's", undefined, ["uid-1"], "nobody"],
  ["both of our marks make it ours", object({ annotations: MARKS, labels: LABEL }), [], "ours"],
  ["our marks without the label are still ours, because a label is easily lost", object({ annotations: MARKS }), [], "ours"],
  [
    "another installation's is foreign, although its shape is ours",
    object({ annotations: { ...MARKS, "understudy.io/install": "other" }, labels: LABEL }),
    [],
    "foreign",
  ],
  ["another user's under this name is foreign", object({ annotations: { ...MARKS, "understudy.io/user": "u-bob" }, labels: LABEL }), [], "foreign"],
  [
    "half a mark of ours is foreign, because it is not Rancher's either",
    object({ annotations: { "understudy.io/user": "u-alice" }, labels: LABEL }),
    [],
    "foreign",
  ],
  ["Rancher's label and no mark is Rancher's", object({ labels: LABEL }), [], "rancher"],
  ["Rancher's label with another value is foreign", object({ labels: { "authz.cluster.cattle.io/impersonator": "false" } }), [], "foreign"],
  ["neither label nor mark is foreign", object({}), [], "foreign"],
  ["a cut-off mark is known by the uid that was recorded", object({ labels: LABEL }), ["uid-1"], "ours"],
  ["a cut-off mark is known by the owner's uid", object({ labels: LABEL, ...ownedBy("role-1") }), ["role-1"], "ours"],
  ["an edited mark is known by the uid that was recorded", object({ annotations: { ...MARKS, "understudy.io/install": "other" } }), ["uid-1"], "ours"],
  ["another role's child is not ours", object({ labels: LABEL, ...ownedBy("role-2") }), ["role-1"], "rancher"],
];
for (const [why, held, known, holder] of holders) test(why, () => assert.equal(holderOf(held, "u-alice", "understudy", new Set(known)), holder));

test("an object without any metadata is foreign, because nothing speaks for it", () => {
  assert.equal(holderOf({ apiVersion: "v1", kind: "ClusterRole" }, "u-alice", "understudy", new Set(["uid-1"])), "foreign");
});

test("a plan never names an object of another user", () => {
  const seen: Seen = whole().seen(NAME);
  const bob = nextStep(
    wanted({ identity: anIdentity({ user: "u-bob" }) }),
    { ...seen, role: undefined, account: undefined, secrets: [], binding: undefined },
    aPass(),
  );
  assert.equal("object" in bob && bob.object.metadata!.name, nameOf("u-bob"));
});

// Whose impersonator may be taken over: Rancher's as Rancher makes it, and none that allows more, because adopting one would make its width ours.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { V1ClusterRoleBinding, V1PolicyRule } from "@kubernetes/client-node";
import { ownOnly } from "../../../shared/decide/memory.ts";
import type { Wanted } from "../../../shared/decide/objects.ts";
import { nameOf } from "../../../shared/names.ts";
import { aPass, anIdentity, wanted } from "../../support/builders.ts";
import { ObjectModel, carryOut, says } from "../../support/object-model.ts";
import { type RanchersOptions, ranchersObjects, ranchersRules } from "../../support/rancher-impersonator.ts";

const USER = "u-ada";
const NAME = nameOf(USER);
const ADOPT = { install: "understudy", adopt: true };
const goal: Wanted = wanted({
  identity: anIdentity({ user: USER, groups: ["github_org://1"], principalid: [`local://${USER}`], username: [USER] }),
  profile: "rancher",
});

function ranchers(options: RanchersOptions = {}): ObjectModel {
  const model = new ObjectModel();
  const make = ranchersObjects(USER, { groups: ["github_org://1"], ...options });
  model.create("ClusterRole", make.role());
  const [role] = model.all("ClusterRole");
  model.create("ServiceAccount", make.account(role!));
  model.create("Secret", make.secret(model.all("ServiceAccount")[0]!));
  model.create("ClusterRoleBinding", make.binding(role!));
  return model;
}
const judged = (model: ObjectModel, adopt = true) => ownOnly(model.seen(NAME), USER, { ...ADOPT, adopt }, undefined);

for (const [what, options] of Object.entries<RanchersOptions>({
  "as Rancher makes it today": {},
  "as Rancher made it until 2.12, with its creator's label": { creator: true },
  "as Rancher made it until 2.10, whose account names no Secret": { ref: false, creator: true },
  "with its rules in another order": { rules: (rules) => rules.toReversed() },
  "with fewer names than are known now": { groups: [] },
})) {
  test(`an impersonator ${what} is adopted with the Secret that it has, so that nobody's token changes`, () => {
    const model = ranchers(options);
    const before = model.seen(NAME);
    assert.deepEqual(judged(model), { own: before, inTheWay: undefined });
    assert.deepEqual(judged(model, false).inTheWay, { kind: "ClusterRole", holder: "rancher" });
    const steps = carryOut(model, NAME, goal, aPass());
    assert.deepEqual(steps.map(says), ["change ClusterRole", "change ServiceAccount", "change Secret", "check", "change ClusterRoleBinding"]);
    const after = model.seen(NAME);
    const uids = ({ role, account, secrets, binding }: typeof after) => [role, account, ...secrets, binding].map((object) => object!.metadata!.uid);
    assert.deepEqual(uids(after), uids(before));
    assert.equal(after.account!.metadata!.annotations!["rancher.io/service-account.secret-ref"]!.split("/")[1], after.secrets[0]!.metadata!.name);
    if (options.groups === undefined)
      assert.deepEqual(after.role!.rules, before.role!.rules, "in the order that it had: who compares lists would write them back");
    assert.deepEqual(carryOut(model, NAME, goal, aPass({ nonce: "n2" })), []);
  });
}

test("an account that names none of its several Secrets gets a new one and loses the others, because nobody can know which token is in use", () => {
  const model = ranchers({ ref: false });
  const { account, secrets } = model.seen(NAME);
  const second = ranchersObjects(USER).secret(account!);
  model.create("Secret", { ...second, metadata: { ...second.metadata, name: `${NAME}-token-second` } });
  carryOut(model, NAME, goal, aPass());
  const after = model.seen(NAME);
  assert.equal(after.secrets.length, 1);
  assert.ok(![secrets[0]!.metadata!.name, `${NAME}-token-second`].includes(after.secrets[0]!.metadata!.name));
});

test("in profile rancher a role that we make is Rancher's to the letter, in its order, because Rancher compares lists and would write its own back", () => {
  const model = new ObjectModel();
  carryOut(model, NAME, goal, aPass());
  assert.deepEqual(model.seen(NAME).role!.rules, ranchersRules(USER, ["github_org://1"]));
});

const rule = (about: Partial<V1PolicyRule>): V1PolicyRule => ({ verbs: ["impersonate"], apiGroups: [""], ...about });
const AUTHENTICATION = ["authentication.k8s.io"];
const bound = (change: (binding: V1ClusterRoleBinding) => void): RanchersOptions => ({ binding: change });
const more = (about: Partial<V1PolicyRule>): RanchersOptions => ({ rules: (rules) => [...rules, rule(about)] });
const wider: Readonly<Record<string, readonly [RanchersOptions, RegExp]>> = {
  "another verb": [more({ verbs: ["get"], resources: ["secrets"] }), /allows get {2}secrets any name/],
  "every verb": [more({ verbs: ["*"], resources: ["users"], resourceNames: [USER] }), /allows \*/],
  "a second user": [more({ resources: ["users"], resourceNames: ["u-eve"] }), /u-eve/],
  "every user": [more({ resources: ["users"] }), /users any name/],
  "every resource": [more({ apiGroups: ["*"], resources: ["*"] }), /\* \* any name/],
  "every group, because the rule has no names": [more({ resources: ["groups"] }), /groups any name/],
  "every group, because the list of names is empty": [more({ resources: ["groups"], resourceNames: [] }), /groups any name/],
  "service accounts": [more({ resources: ["serviceaccounts"], resourceNames: ["default"] }), /serviceaccounts default/],
  "a uid": [more({ apiGroups: AUTHENTICATION, resources: ["uids"], resourceNames: ["1"] }), /uids 1/],
  "another extra": [more({ apiGroups: AUTHENTICATION, resources: ["userextras/scopes"], resourceNames: ["x"] }), /userextras\/scopes x/],
  "every principalid": [more({ apiGroups: AUTHENTICATION, resources: ["userextras/principalid"] }), /principalid any name/],
  "a path": [more({ apiGroups: [], nonResourceURLs: ["/metrics"] }), /url \/metrics/],
  "nobody, because the user's own rule is missing": [{ rules: (rules) => rules.slice(1) }, /does not allow the user u-ada/],
  "the account of somebody else": [
    bound(({ subjects }) => void subjects!.push({ kind: "ServiceAccount", name: "default", namespace: "default" })),
    /binds ServiceAccount default too/,
  ],
  "a user by the binding": [bound(({ subjects }) => void subjects!.push({ kind: "User", name: "u-eve", apiGroup: "rbac.authorization.k8s.io" })), /User u-eve/],
  "another role by the binding": [bound((binding) => void (binding.roleRef.name = "cluster-admin")), /binds ClusterRole cluster-admin/],
};
for (const [what, [options, why]] of Object.entries(wider)) {
  test(`an impersonator with Rancher's label that allows ${what} is not adopted, and what is wrong with it is said`, () => {
    const { own, inTheWay } = judged(ranchers(options));
    assert.equal(inTheWay?.holder, "rancher");
    assert.match(inTheWay?.why ?? "", why);
    assert.deepEqual([own.role, own.account, own.binding, own.secrets], [undefined, undefined, undefined, []]);
  });
}

test("a role that aggregates is not adopted, because others write its rules", () => {
  const model = ranchers();
  model.edit("ClusterRole", NAME, (role) => void (role.aggregationRule = { clusterRoleSelectors: [{}] }));
  assert.match(judged(model).inTheWay?.why ?? "", /aggregationRule/);
});

test("an object with Rancher's label under a name that Rancher would not give it is not adopted, because Rancher did not make it", () => {
  const user = "Ada@example.com";
  const model = new ObjectModel();
  model.create("ClusterRole", ranchersObjects(user, { name: nameOf(user) }).role());
  assert.match(ownOnly(model.seen(nameOf(user)), user, ADOPT, undefined).inTheWay?.why ?? "", /would be called cattle-impersonation-Ada@example\.com/);
});

test("what is left to adopt is judged alone, because our own role is put right whatever somebody wrote into it", () => {
  const model = ranchers();
  const children = model.seen(NAME);
  carryOut(model, NAME, goal, aPass());
  model.edit("ClusterRole", NAME, (role) => void role.rules!.push(rule({ resources: ["groups"] })));
  const { role } = model.seen(NAME);
  const binding = { ...children.binding!, metadata: { ...children.binding!.metadata, ownerReferences: [] } };
  assert.equal(ownOnly({ role, binding, secrets: [] }, USER, ADOPT, undefined).inTheWay, undefined);
});

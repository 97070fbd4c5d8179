// What an administrator or another program did to an impersonator's objects is put right when the subject is looked at; what is not ours is never touched.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { auditEnd, callsOf, writesIn } from "../support/audit.ts";
import { House } from "../support/house.ts";
import { actAs, assertActsAsExactly, NAMESPACE, objectsOf, tokenOf } from "../support/impersonator.ts";
import { loggedIn, settledAfter } from "../support/evidence.ts";
import { putCrtb, putUser } from "../support/rancher-objects.ts";
import { firstResync } from "../support/traps.ts";
import { Vandal } from "../support/vandal.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 60_000 };
const GROUPS = ["github_team://1"];
let house: House;
before(async () => {
  house = await House.open({ clusters: [CLUSTER] });
  // It would find the first damages before anybody looks.
  await firstResync(house, [CLUSTER]);
});
after(() => house?.[Symbol.asyncDispose]());

const nameOf = (user: string): string => `cattle-impersonation-${user}`;

/** Damage → what is done to the objects, and the writes that put it right. `newToken`: the old one is dead afterwards. */
interface Damage {
  readonly hurt: (vandal: Vandal) => Promise<void>;
  readonly writes: readonly string[];
  readonly newToken?: boolean;
}
const USER = "understudy.io/user";
const INSTALL = "understudy.io/install";
const LABEL = "authz.cluster.cattle.io/impersonator";
const REF = "rancher.io/service-account.secret-ref";
const all = ["create clusterroles", "create serviceaccounts", "create secrets", "create clusterrolebindings"];
const rotation = ["update serviceaccounts", "create secrets"];
const role = (hurt: Damage["hurt"]): Damage => ({ hurt, writes: ["update clusterroles"] });
const account = (hurt: Damage["hurt"], writes = ["update serviceaccounts"]): Damage => ({ hurt, writes, newToken: writes.length > 1 });
const secret = (hurt: Damage["hurt"], writes = ["update secrets"]): Damage => ({ hurt, writes, newToken: writes.length > 1 });
const binding = (hurt: Damage["hurt"], writes = ["update clusterrolebindings"]): Damage => ({ hurt, writes });

const damages: Readonly<Record<string, Damage>> = {
  "the role has a rule for everything": role((v) => v.edit("clusterroles", ({ rules }) => rules.push({ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }))),
  "the role has a rule for every path": role((v) => v.edit("clusterroles", ({ rules }) => rules.push({ verbs: ["get"], nonResourceURLs: ["*"] }))),
  "the role allows system:masters": role((v) => v.edit("clusterroles", ({ rules }) => rules[1].resourceNames.push("system:masters"))),
  "the role allows every user": role((v) => v.edit("clusterroles", ({ rules }) => delete rules[0].resourceNames)),
  "the role allows less": role((v) => v.edit("clusterroles", (object) => (object.rules = object.rules.slice(0, 1)))),
  "the role lost its label": role((v) => v.label("clusterroles", LABEL, undefined)),
  "the role has an aggregation label": role((v) => v.label("clusterroles", "rbac.authorization.k8s.io/aggregate-to-view", "true")),
  "the role has an aggregationRule": role(async (v) => {
    await v.edit(
      "clusterroles",
      (object) => (object.aggregationRule = { clusterRoleSelectors: [{ matchLabels: { "rbac.authorization.k8s.io/aggregate-to-view": "true" } }] }),
    );
    await waitUntil("other roles' rules are in it", async () => (await v.get("clusterroles")).rules.length > 10, DEADLINE);
  }),
  "the role lost the mark of its user": role((v) => v.annotate("clusterroles", USER, undefined)),
  "the role has another install's mark": role((v) => v.annotate("clusterroles", INSTALL, "other")),
  "the role would remember the login too long": role((v) => v.annotate("clusterroles", "understudy.io/login-ends", "2099-01-01T00:00:00.000Z")),
  "the role has a second owner": role((v) => v.addOwner("clusterroles")),
  "the role is gone, and all with it": {
    hurt: (v) => v.remove("clusterroles", ["clusterrolebindings", "serviceaccounts", "secrets"]),
    writes: all,
    newToken: true,
  },
  "the role alone is gone": {
    hurt: (v) => v.remove("clusterroles", [], "Orphan"),
    writes: ["delete clusterrolebindings", "delete secrets", "delete serviceaccounts", ...all],
    newToken: true,
  },
  "the account lost its label": account((v) => v.label("serviceaccounts", LABEL, undefined)),
  "the account lost the mark of its user": account((v) => v.annotate("serviceaccounts", USER, undefined)),
  "the account's token would be mounted": account((v) => v.edit("serviceaccounts", (object) => (object.automountServiceAccountToken = true))),
  "the account has a second owner": account((v) => v.addOwner("serviceaccounts")),
  "the account names no Secret": account((v) => v.annotate("serviceaccounts", REF, undefined), [...rotation, "delete secrets"]),
  "the account names a foreign Secret": account((v) => v.annotate("serviceaccounts", REF, `${NAMESPACE}/stranger`), [...rotation, "delete secrets"]),
  "the account has no owner": account(
    (v) => v.disown("serviceaccounts"),
    ["delete secrets", "delete serviceaccounts", "create serviceaccounts", "create secrets"],
  ),
  "the account is gone": account((v) => v.remove("serviceaccounts", ["secrets"]), ["create serviceaccounts", "create secrets"]),
  "the Secret lost its label": secret((v) => v.label("secrets", LABEL, undefined)),
  "the Secret lost the label of its account": secret((v) => v.label("secrets", "cattle.io/service-account.name", undefined)),
  "the Secret lost the mark of its user": secret((v) => v.annotate("secrets", USER, undefined)),
  "the Secret has a second owner": secret((v) => v.addOwner("secrets")),
  "the Secret has no owner": secret((v) => v.disown("secrets"), ["delete secrets", ...rotation]),
  "the Secret is gone": secret((v) => v.remove("secrets"), rotation),
  "the binding is gone": binding((v) => v.remove("clusterrolebindings"), ["create clusterrolebindings"]),
  "the binding has no subject": binding((v) => v.edit("clusterrolebindings", (object) => (object.subjects = []))),
  "the binding has another subject": binding((v) => v.edit("clusterrolebindings", ({ subjects }) => (subjects[0].name = "default"))),
  "the binding has one subject more": binding((v) =>
    v.edit("clusterrolebindings", ({ subjects }) => subjects.push({ kind: "User", name: "eve", apiGroup: "rbac.authorization.k8s.io" })),
  ),
  "the binding lost its label": binding((v) => v.label("clusterrolebindings", LABEL, undefined)),
  "the binding lost the mark of its user": binding((v) => v.annotate("clusterrolebindings", USER, undefined)),
  "the binding has a second owner": binding((v) => v.addOwner("clusterrolebindings")),
  "the binding has no owner": binding((v) => v.disown("clusterrolebindings"), ["delete clusterrolebindings", "create clusterrolebindings"]),
  "the binding leads to another role": binding(
    async (v) => {
      const { apiVersion, kind, metadata, subjects, roleRef } = await v.get("clusterrolebindings");
      await v.remove("clusterrolebindings");
      const { name, labels, annotations, ownerReferences } = metadata;
      const elsewhere = { ...roleRef, name: "view" };
      await v.create("clusterrolebindings", { apiVersion, kind, metadata: { name, labels, annotations, ownerReferences }, subjects, roleRef: elsewhere });
    },
    ["delete clusterrolebindings", "create clusterrolebindings"],
  ),
  "Secret and binding are gone": {
    hurt: async (v) => {
      await v.remove("secrets");
      await v.remove("clusterrolebindings");
    },
    writes: [...rotation, "create clusterrolebindings"],
    newToken: true,
  },
};

const who = (user: string) => ({ user, groups: GROUPS, extras: { principalid: [`github_user://${user}`], username: [user] } });

/** Bound, logged in, and ready. */
async function readyUser(user: string): Promise<void> {
  await putUser(house.management!, user);
  await putCrtb(house.management!, CLUSTER, user, { userName: user });
  const { groups, extras } = who(user);
  await loggedIn(house, user, CLUSTER, { groups, extras });
}

/** `understudy enqueue`, as an administrator types it. */
async function lookedAt(user: string): Promise<void> {
  await settledAfter(house, { clusters: [CLUSTER], user }, async () => {
    const { code, stderr } = await house.command(["enqueue", "--cluster", CLUSTER, "--user", user]);
    assert.equal(code, 0, stderr);
  });
}

async function assertDead(user: string, token: string): Promise<void> {
  await waitUntil(`the old token of ${user} is dead`, async () => (await actAs(house.cluster(CLUSTER), token, who(user))).status === 401, DEADLINE);
}

describe("M24 a damage is put right when it is looked at", { concurrency: 4 }, () => {
  for (const [i, [what, { hurt, writes, newToken = false }]] of Object.entries(damages).entries()) {
    test(`M24 ${what}: ${writes.length} ${writes.length === 1 ? "write puts" : "writes put"} it right`, async () => {
      const user = `u-hurt-${i}`;
      const server = house.cluster(CLUSTER);
      await readyUser(user);
      const token = await tokenOf(server, user);
      const name = String((await objectsOf(server, user)).secrets[0].metadata.name);
      await hurt(new Vandal(server, nameOf(user), name));
      const since = await auditEnd(server);
      await lookedAt(user);
      assert.deepEqual(writesIn((await callsOf(server, [user], since)).get(user)!), writes);
      await assertActsAsExactly(server, who(user));
      const { secrets } = await objectsOf(server, user);
      assert.equal(secrets.length, 1);
      assert.equal(secrets[0].metadata.name !== name, newToken, newToken ? "a new token has a new name" : "the token stays");
      if (newToken) await assertDead(user, token);
      else assert.equal(await tokenOf(server, user), token);
    });
  }
});

test("M24 a second token Secret of the account is deleted, and its token is dead", async () => {
  const user = "u-stray";
  const server = house.cluster(CLUSTER);
  await readyUser(user);
  const token = await tokenOf(server, user);
  const name = nameOf(user);
  const stray = new Vandal(server, name, `${name}-token-0123456789`);
  const metadata = { name: stray.secret, labels: { "cattle.io/service-account.name": name }, annotations: { "kubernetes.io/service-account.name": name } };
  await stray.create("secrets", { type: "kubernetes.io/service-account-token", metadata });
  const second = await waitUntil("it is filled", async () => (await stray.get("secrets")).data?.token as string | undefined, DEADLINE);
  const other = Buffer.from(second, "base64").toString();
  await waitUntil("it is as good as the first", async () => (await actAs(server, other, who(user))).status === 201);
  const since = await auditEnd(server);
  await lookedAt(user);
  assert.deepEqual(writesIn((await callsOf(server, [user], since)).get(user)!), ["delete secrets"]);
  await assertActsAsExactly(server, who(user));
  assert.equal(await tokenOf(server, user), token);
  await assertDead(user, other);
});

test("M24 a change of a role that somebody has deleted is refused where it carries the uid, because Kubernetes makes the role anew where it does not", async () => {
  const path = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
  const server = house.cluster(CLUSTER);
  for (const [withUid, status] of [
    [true, 409],
    [false, 201],
  ] as const) {
    const { body } = await server.call("POST", path, { metadata: { name: "put-of-a-deleted-role" }, rules: [] });
    const { name, uid, resourceVersion } = body.metadata;
    assert.equal((await server.call("DELETE", `${path}/${name}`)).status, 200);
    const metadata = { name, resourceVersion, ...(withUid ? { uid } : {}) };
    assert.equal((await server.call("PUT", `${path}/${name}`, { metadata, rules: [] })).status, status);
    assert.equal((await server.call("GET", `${path}/${name}`)).status, withUid ? 404 : 200);
  }
});

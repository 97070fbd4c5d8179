// What stands under an impersonator's name and is not ours is never touched: neither an administrator's object, nor another installation's, nor Rancher's.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { auditEnd, callsOf, writesIn } from "../support/audit.ts";
import { linesOf, loggedIn, settledAfter, whyItWaits } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { actAs, assertActsAsExactly, NAMESPACE, objectsOf, tokenOf } from "../support/impersonator.ts";
import { deleteCrtb, putCrtb, putUser } from "../support/rancher-objects.ts";
import { type Kind, Vandal } from "../support/vandal.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 60_000 };
const RBAC = "rbac.authorization.k8s.io";
const LABELS = { "authz.cluster.cattle.io/impersonator": "true" };
let house: House;
before(async () => (house = await House.open({ clusters: [CLUSTER] })));
after(() => house?.[Symbol.asyncDispose]());

const nameOf = (user: string): string => `cattle-impersonation-${user}`;
const vandal = (user: string, secret = "") => new Vandal(house.cluster(CLUSTER), nameOf(user), secret);
const who = (user: string) => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });

async function bind(user: string): Promise<void> {
  await putUser(house.management!, user);
  await putCrtb(house.management!, CLUSTER, user, { userName: user });
}
async function enqueue(user: string): Promise<void> {
  const { code, stderr } = await house.command(["enqueue", "--cluster", CLUSTER, "--user", user]);
  assert.equal(code, 0, stderr);
}
/** The accepted writes of the workers for this user. */
const writes = async (user: string, since: number) => writesIn((await callsOf(house.cluster(CLUSTER), [user], since)).get(user)!);

const marks = {
  "without marks": () => ({ annotations: { team: "blue" } }),
  "with another installation's marks": (user: string) => ({ labels: LABELS, annotations: { "understudy.io/user": user, "understudy.io/install": "other" } }),
};
const objects: Readonly<Record<string, (user: string) => object>> = {
  clusterroles: () => ({ rules: [{ verbs: ["get"], apiGroups: [""], resources: ["pods"] }] }),
  serviceaccounts: () => ({}),
  clusterrolebindings: () => ({ roleRef: { apiGroup: RBAC, kind: "ClusterRole", name: "view" }, subjects: [{ kind: "User", name: "eve", apiGroup: RBAC }] }),
};
/** What is there when the foreign object is met; a role without a binding allows nothing. */
const before409: Readonly<Record<string, string[]>> = { clusterroles: [], serviceaccounts: ["create clusterroles"], clusterrolebindings: [] };

describe("M24 foreign objects", { concurrency: 3 }, () => {
  let number = 0;
  for (const [kind, body] of Object.entries(objects)) {
    for (const [marked, metadata] of Object.entries(marks)) {
      const user = `u-foreign-${++number}`;
      test(`M24 ${kind} ${marked} under our name are never touched: failed, until they have gone`, async () => {
        const hand = vandal(user);
        const made = await hand.create(kind as Kind, { ...body(user), metadata: { name: nameOf(user), ...metadata(user) } });
        const since = await auditEnd(house.cluster(CLUSTER));
        await bind(user);
        assert.match((await house.waitFor(CLUSTER, user, "failed", DEADLINE)).reason, /foreign object/);
        const looked = await auditEnd(house.cluster(CLUSTER));
        await enqueue(user);
        await waitUntil("it is looked at again", async () => (await callsOf(house.cluster(CLUSTER), [user], looked)).get(user)!.length > 0, DEADLINE);
        await house.waitFor(CLUSTER, user, "failed", DEADLINE);
        // Whoever is not set up for the first time is looked at first, and then nothing is made at all.
        const made409 = await writes(user, since);
        assert.deepEqual(made409, made409.length === 0 ? [] : before409[kind]);
        assert.deepEqual(await hand.get(kind as Kind), made, "the object is as it was made");
        const { binding, secrets } = await objectsOf(house.cluster(CLUSTER), user);
        assert.equal(kind === "clusterrolebindings" ? undefined : binding, undefined);
        assert.deepEqual(secrets, []);
        await hand.remove(kind as Kind);
        await settledAfter(house, { clusters: [CLUSTER], user }, () => enqueue(user));
        await assertActsAsExactly(house.cluster(CLUSTER), who(user));
      });
    }
  }
});

/** As Rancher's own code makes them: its label, no annotation of ours, a Secret that is named by the account. */
async function likeRancher(user: string, kinds: readonly Kind[]): Promise<Vandal> {
  const name = nameOf(user);
  const hand = vandal(user, `${name}-token-abcde`);
  const own = (kind: string, owner: { metadata: { name: string; uid: string } }, apiVersion: string) => [
    { apiVersion, kind, name: owner.metadata.name, uid: owner.metadata.uid },
  ];
  const rule = (resource: string, names: string[]) => ({ verbs: ["impersonate"], apiGroups: [""], resources: [resource], resourceNames: names });
  const role = await hand.create("clusterroles", {
    metadata: { name, labels: LABELS },
    rules: [rule("users", [user]), rule("groups", ["system:authenticated"])],
  });
  const ownerReferences = own("ClusterRole", role, `${RBAC}/v1`);
  if (kinds.includes("serviceaccounts")) {
    const annotations = { "rancher.io/service-account.secret-ref": `${NAMESPACE}/${hand.secret}` };
    const account = await hand.create("serviceaccounts", { metadata: { name, labels: LABELS, annotations, ownerReferences } });
    const metadata = {
      name: hand.secret,
      labels: { "cattle.io/service-account.name": name },
      annotations: { "kubernetes.io/service-account.name": name },
      ownerReferences: own("ServiceAccount", account, "v1"),
    };
    await hand.create("secrets", { type: "kubernetes.io/service-account-token", metadata });
    await waitUntil("Rancher's Secret is filled", async () => Boolean((await hand.get("secrets")).data?.token));
  }
  const subjects = [{ kind: "ServiceAccount", name, namespace: NAMESPACE }];
  if (kinds.includes("clusterrolebindings")) {
    await hand.create("clusterrolebindings", {
      metadata: { name, labels: LABELS, ownerReferences },
      subjects,
      roleRef: { apiGroup: RBAC, kind: "ClusterRole", name },
    });
  }
  return hand;
}

test("M24 an impersonator that Rancher manages stays as it is: waiting, also when it is looked at, and when the binding goes", async () => {
  const user = "u-rancher";
  const kinds: readonly Kind[] = ["clusterroles", "serviceaccounts", "secrets", "clusterrolebindings"];
  const hand = await likeRancher(user, kinds);
  const made = await Promise.all(kinds.map((kind) => hand.get(kind)));
  const since = await auditEnd(house.cluster(CLUSTER));
  await bind(user);
  assert.equal(await whyItWaits(house, CLUSTER, user), "managed by Rancher");
  await settledAfter(house, { clusters: [CLUSTER], user, state: "waiting" }, () => enqueue(user));
  await settledAfter(house, { clusters: [CLUSTER], user, state: "removed" }, () => deleteCrtb(house.management!, CLUSTER, user));
  assert.deepEqual(await writes(user, since), []);
  assert.deepEqual(await Promise.all(kinds.map((kind) => hand.get(kind))), made);
  const { status, username } = await actAs(house.cluster(CLUSTER), await tokenOf(house.cluster(CLUSTER), user), { user });
  assert.deepEqual([status, username], [201, user], "Rancher's impersonator goes on working");
});

test("M24 a lone role that Rancher is about to complete stays as it is, and once it has gone the user gets an impersonator", async () => {
  const user = "u-half";
  const hand = await likeRancher(user, ["clusterroles"]);
  const made = await hand.get("clusterroles");
  const since = await auditEnd(house.cluster(CLUSTER));
  await bind(user);
  assert.equal(await whyItWaits(house, CLUSTER, user), "managed by Rancher");
  assert.deepEqual(await writes(user, since), []);
  assert.deepEqual(await hand.get("clusterroles"), made);
  await hand.remove("clusterroles");
  await settledAfter(house, { clusters: [CLUSTER], user }, () => enqueue(user));
  await assertActsAsExactly(house.cluster(CLUSTER), who(user));
});

test("M24 a foreign binding in the place of ours stays a failure when the person logs in with other groups, because a login says nothing of what stands there", async () => {
  const user = "u-swapped";
  const server = house.cluster(CLUSTER);
  await bind(user);
  await loggedIn(house, user, CLUSTER, { groups: ["github_team://1"] });
  const hand = vandal(user);
  const terminal = (): number => house.workers.reduce((sum, worker) => sum + linesOf(worker, "subject failed until a person acts", user).length, 0);
  // Ours again and again, until the foreign one is faster.
  await waitUntil("a foreign one stands there", async () => {
    await server.call("DELETE", hand.path("clusterrolebindings"));
    const { status } = await server.call("POST", `/apis/${RBAC}/v1/clusterrolebindings`, {
      metadata: { name: nameOf(user) },
      ...objects["clusterrolebindings"]!(user),
    });
    return status === 201;
  });
  await house.waitFor(CLUSTER, user, "failed", DEADLINE);
  const since = await auditEnd(server);
  const earlier = terminal();
  await house.hook("POST", "/v1/logins", { user, cluster: CLUSTER, provider: "github", groups: ["github_team://2"] });
  await waitUntil("it was tried again", () => terminal() > earlier, DEADLINE);
  assert.match((await house.waitFor(CLUSTER, user, "failed", DEADLINE)).reason, /foreign object/);
  assert.deepEqual(await writes(user, since), []);
});

// What the drift watch hears besides single damages: our own writes and a token's use are none, a paused process' late write is, and so is what only a list can attribute.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { nameOf } from "../../shared/names.ts";
import { auditEnd, callsOf, writesIn } from "../support/audit.ts";
import { linesOf, loggedIn, metricOf, settledAfter, watched } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { actAs, assertActsAsExactly, assertGone, NAMESPACE, objectsOf, tokenOf } from "../support/impersonator.ts";
import { deleteCrtb, putCrtb, putUser } from "../support/rancher-objects.ts";
import { Vandal } from "../support/vandal.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 60_000 };
const DRIFT = "object changed by another hand";
let house: House;
before(async () => {
  // The worker's rights are its own in any namespace: the one of the impersonators is deleted below, and a Role in it would go along.
  house = await House.open({
    clusters: [CLUSTER],
    settings: { UNDERSTUDY_RESYNC: "30d" },
    kubeconfig: (server) => server.workerKubeconfig(undefined, { createsNamespace: true }),
  });
  await bound("u-probe");
  await watched(house, CLUSTER, "u-probe");
});
after(() => house?.[Symbol.asyncDispose]());

async function bound(user: string): Promise<void> {
  await putUser(house.management!, user);
  await putCrtb(house.management!, CLUSTER, `crtb-${nameOf(user)}`, { userName: user });
}
async function readyUser(user: string): Promise<Vandal> {
  await bound(user);
  await loggedIn(house, user, CLUSTER, { groups: ["github_team://1"], extras: { username: [user] } });
  const { secrets } = await objectsOf(house.cluster(CLUSTER), user);
  return new Vandal(house.cluster(CLUSTER), nameOf(user), secrets[0].metadata.name);
}
const who = (user: string, group = "github_team://1") => ({ user, groups: [group], extras: { username: [user] } });
const drifts = (): Promise<number> => metricOf([house.producer], "understudy_drift_total", { cluster: CLUSTER });
/** An event that comes after all those before it, on each of the five watches: what was no drift by then is none. */
async function heard(): Promise<void> {
  const user = "u-probe";
  const server = house.cluster(CLUSTER);
  const secret = String((await objectsOf(server, user)).secrets[0].metadata.name);
  const vandal = new Vandal(server, nameOf(user), secret);
  for (const kind of ["clusterroles", "serviceaccounts", "secrets", "clusterrolebindings"] as const) {
    await settledAfter(house, { clusters: [CLUSTER], user }, () => vandal.annotate(kind, "understudy.io/install", undefined));
  }
}

test("M24 thirty logins that change facts, and their tokens' first use, are no drift and cost the documented calls, because our own writes are no reason to look", async (t) => {
  const server = house.cluster(CLUSTER);
  const user = "u-own";
  await readyUser(user);
  const since = await auditEnd(server);
  for (let i = 0; i < 30; i++) {
    await loggedIn(house, user, CLUSTER, { groups: [`github_team://${i}`] });
    if (i % 10 === 0) assert.equal((await actAs(server, await tokenOf(server, user), who(user, `github_team://${i}`))).status, 201);
  }
  const secret = await waitUntil("the token's use is noted", async () =>
    (await objectsOf(server, user)).secrets.find(({ metadata }) => metadata.labels["kubernetes.io/legacy-token-last-used"]),
  );
  const vandal = new Vandal(server, nameOf(user), secret.metadata.name);
  await vandal.label("secrets", "kubernetes.io/legacy-token-last-used", "2001-01-01");
  await vandal.annotate("secrets", "team", "blue");
  const own = (await callsOf(server, [user], since)).get(user)!.map(({ verb, resource }) => `${verb} ${resource}`);
  const counted = Object.fromEntries([...new Set(own)].map((call) => [call, own.filter((one) => one === call).length]));
  t.diagnostic(JSON.stringify(counted));
  // A change costs a PUT, the Secret with the token for the proof, and the review; which is asked again where the API server lags.
  const { "create selfsubjectreviews": reviews, ...calls } = counted;
  assert.deepEqual(calls, { "update clusterroles": 30, "get secrets": 30 });
  assert.ok(reviews! >= 30);
  await heard();
  assert.deepEqual(
    linesOf(house.producer, DRIFT).filter((line) => line["user"] !== "u-probe"),
    [],
  );
  assert.equal(await drifts(), linesOf(house.producer, DRIFT, "u-probe").length);
  await assertActsAsExactly(server, who(user, "github_team://29"));
});

test("a role that is posted late, by a process that had been paused, for somebody removed is removed within seconds, because nobody may be left who was taken away", async (t) => {
  const server = house.cluster(CLUSTER);
  const user = "u-late";
  const vandal = await readyUser(user);
  const { metadata, ...role } = await vandal.get("clusterroles");
  const { name, labels, annotations } = metadata;
  await settledAfter(house, { clusters: [CLUSTER], user, state: "removed" }, () => deleteCrtb(house.management!, CLUSTER, `crtb-${nameOf(user)}`));
  await assertGone(server, user);
  const since = await auditEnd(server);
  const began = Date.now();
  await vandal.create("clusterroles", { ...role, metadata: { name, labels, annotations } });
  await waitUntil("the late role has gone", async () => (await objectsOf(server, user)).role === undefined, { deadlineMs: 10_000 });
  const calls = (await callsOf(server, [user], since)).get(user)!;
  assert.deepEqual(writesIn(calls), ["delete clusterroles"]);
  t.diagnostic(`${Date.parse(calls.find(({ verb }) => verb === "delete")!.to) - began} ms`);
  assert.equal((await house.waitFor(CLUSTER, user, "removed", DEADLINE)).state, "removed");
  assert.equal(linesOf(house.producer, DRIFT, user).length, 1);
});

test("a name that does not say whose it is, once the mark is cut off, is found by a resync that is asked for at once", async (t) => {
  const user = `u-${"long-".repeat(12)}name`;
  const server = house.cluster(CLUSTER);
  const vandal = await readyUser(user);
  const began = Date.now();
  await settledAfter(house, { clusters: [CLUSTER], user }, () =>
    vandal.edit("clusterroles", (object) => {
      delete object.metadata.annotations["understudy.io/user"];
      object.rules.push({ verbs: ["*"], apiGroups: ["*"], resources: ["*"] });
    }),
  );
  await assertActsAsExactly(server, who(user));
  t.diagnostic(`role ${Date.now() - began} ms`);
  const stray = { name: "not-named-like-one", annotations: { "kubernetes.io/service-account.name": vandal.name } };
  await settledAfter(house, { clusters: [CLUSTER], user }, () => vandal.create("secrets", { type: "kubernetes.io/service-account-token", metadata: stray }));
  assert.equal(
    (await server.call("GET", `/api/v1/namespaces/${NAMESPACE}/secrets/${stray.name}`)).status,
    404,
    "a Secret that only its annotation ties to the account",
  );
  await assertActsAsExactly(server, who(user));
});

test("the namespace that is deleted with all accounts and tokens is made anew, and everybody in it, because each child's end is an event", async (t) => {
  const server = house.cluster(CLUSTER);
  const users = ["u-home-1", "u-home-2", "u-home-3"];
  const old = new Map<string, string>();
  for (const user of users) {
    await readyUser(user);
    old.set(user, await tokenOf(server, user));
  }
  const since = await auditEnd(server);
  const began = Date.now();
  const places = users.map((user) => ({ clusters: [CLUSTER], user }));
  await settledAfter(house, places, () => server.call("DELETE", `/api/v1/namespaces/${NAMESPACE}`));
  await waitUntil(
    "everybody is made anew",
    async () =>
      (await Promise.all(users.map(async (user) => [await house.row(CLUSTER, user), await tokenOf(server, user)] as const))).every(
        ([row, token], i) => row?.state === "ready" && token !== "" && token !== old.get(users[i]!),
      ),
    DEADLINE,
  );
  t.diagnostic(`${Date.now() - began} ms`);
  const calls = await callsOf(server, users, since);
  for (const user of users) {
    t.diagnostic(writesIn(calls.get(user)!).join(", "));
    await assertActsAsExactly(server, who(user));
    // An API server may know a token for ten seconds after its Secret, and all was anew before that.
    await waitUntil("the old token is dead", async () => (await actAs(server, old.get(user)!, who(user))).status === 401, DEADLINE);
  }
  assert.equal(await metricOf([house.producer], "understudy_drift_total", { cluster: CLUSTER, kind: "Namespace" }), 1);
});

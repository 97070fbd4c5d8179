// The drift table: what an administrator or another program does to an impersonator's objects is put right by its own event. The resync is off, nobody asks.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { nameOf } from "../../shared/names.ts";
import { auditEnd, callsOf, isWrite, writesIn } from "../support/audit.ts";
import { controllersCaughtUp } from "../support/controllers.ts";
import { damages, isRepair } from "../support/drift-table.ts";
import { linesOf, loggedIn, median, metricOf, settledAfter, watched } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { actAs, assertActsAsExactly, objectsOf, tokenOf } from "../support/impersonator.ts";
import { putCrtb, putUser } from "../support/rancher-objects.ts";
import { Vandal } from "../support/vandal.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 60_000 };
const GROUPS = ["github_team://1", "github_team://2"];
const KINDS = ["ClusterRole", "ServiceAccount", "Secret", "ClusterRoleBinding"];
const DRIFT = "object changed by another hand";
const TAMPERING = "object widened by another hand";
let house: House;
before(async () => {
  house = await House.open({ clusters: [CLUSTER], settings: { UNDERSTUDY_RESYNC: "30d" } });
  await bound("u-probe");
  // A watch begins by asking for a resync, which would find the first damages before their events.
  await watched(house, CLUSTER, "u-probe");
});
after(() => house?.[Symbol.asyncDispose]());

const who = (user: string) => ({ user, groups: GROUPS, extras: { principalid: [`github_user://${user}`], username: [user] } });

async function bound(user: string): Promise<void> {
  await putUser(house.management!, user);
  await putCrtb(house.management!, CLUSTER, user, { userName: user });
}
/** Bound, logged in, and ready. */
async function readyUser(user: string): Promise<void> {
  await bound(user);
  const { groups, extras } = who(user);
  await loggedIn(house, user, CLUSTER, { groups, extras });
}

async function assertDead(user: string, token: string): Promise<void> {
  await waitUntil(`the old token of ${user} is dead`, async () => (await actAs(house.cluster(CLUSTER), token, who(user))).status === 401, DEADLINE);
}

const times: number[] = [];
describe("M24 a damage is put right by its own event", { concurrency: 3 }, () => {
  for (const [i, [what, damage]] of Object.entries(damages).entries()) {
    const { hurt, writes, newToken, also, again, tampers } = damage;
    test(`M24 ${what}: ${writes.length} ${writes.length === 1 ? "write puts" : "writes put"} it right, because nobody asks for a look`, async (t) => {
      const user = `u-hurt-${i}`;
      const server = house.cluster(CLUSTER);
      await readyUser(user);
      const token = await tokenOf(server, user);
      const name = String((await objectsOf(server, user)).secrets[0].metadata.name);
      const since = await auditEnd(server);
      const began = Date.now();
      await settledAfter(house, { clusters: [CLUSTER], user }, () => hurt(new Vandal(server, nameOf(user), name)));
      if (also) {
        await controllersCaughtUp(server);
        await house.waitFor(CLUSTER, user, "ready", DEADLINE);
      }
      const calls = (await callsOf(server, [user], since)).get(user)!;
      const done = writesIn(calls);
      const ms = Date.parse(calls.findLast((call) => isWrite(call) && call.code < 300)?.to ?? "") - began;
      times.push(ms);
      t.diagnostic(`${ms} ms, ${done.length} writes: ${done.join(", ")}`);
      assert.ok(isRepair(damage, done), `${done.join(", ")}; expected ${writes.join(", ")}`);
      const exactly = async (): Promise<true> => (await assertActsAsExactly(server, who(user)), true);
      await (again ? waitUntil("a controller that came late is put right too", exactly, DEADLINE) : exactly());
      const { secrets } = await objectsOf(server, user);
      assert.equal(secrets.length, 1);
      assert.equal(secrets[0].metadata.name !== name, newToken === true, newToken ? "a new token has a new name" : "the token stays");
      if (newToken) await assertDead(user, token);
      else assert.equal(await tokenOf(server, user), token);
      assert.ok(linesOf(house.producer, DRIFT, user).length > 0, "it was an event that told of it");
      assert.equal(linesOf(house.producer, TAMPERING, user).length > 0, tampers === true, "tampering is what gives somebody more, and nothing else");
    });
  }
});

test("M24 each of these counts in understudy_drift_total, and in understudy_tampering_total where somebody got more, because alerts rest on them", async (t) => {
  t.diagnostic(`from the damage to the last write: ${median(times)} ms in the middle, ${Math.max(...times)} ms at most`);
  for (const [metric, msg] of [
    ["understudy_drift_total", DRIFT],
    ["understudy_tampering_total", TAMPERING],
  ] as const) {
    for (const kind of KINDS) {
      const lines = linesOf(house.producer, msg).filter((line) => line["kind"] === kind);
      assert.ok(lines.length > 0 || (kind === "ServiceAccount" && msg === TAMPERING));
      assert.equal(await metricOf([house.producer], metric, { cluster: CLUSTER, kind }), lines.length, `${metric} ${kind}`);
    }
  }
});

test("M24 a second token Secret of the account is deleted, and its token is dead, because it would let somebody act as the user", async () => {
  const user = "u-stray";
  const server = house.cluster(CLUSTER);
  await readyUser(user);
  const token = await tokenOf(server, user);
  const name = nameOf(user);
  const stray = new Vandal(server, name, `${name}-token-0123456789`);
  const metadata = { name: stray.secret, labels: { "cattle.io/service-account.name": name }, annotations: { "kubernetes.io/service-account.name": name } };
  // Held for so long that the token comes into being at all.
  for (const { child } of house.workers) child.kill("SIGSTOP");
  const since = await auditEnd(server);
  let other: string;
  try {
    await stray.create("secrets", { type: "kubernetes.io/service-account-token", metadata });
    const second = await waitUntil("it is filled", async () => (await stray.get("secrets")).data?.token as string | undefined, DEADLINE);
    other = Buffer.from(second, "base64").toString();
    await waitUntil("it is as good as the first", async () => (await actAs(server, other, who(user))).status === 201);
  } finally {
    for (const { child } of house.workers) child.kill("SIGCONT");
  }
  await assertDead(user, other);
  await house.waitFor(CLUSTER, user, "ready", DEADLINE);
  assert.deepEqual(writesIn((await callsOf(server, [user], since)).get(user)!), ["delete secrets"]);
  await assertActsAsExactly(server, who(user));
  assert.equal(await tokenOf(server, user), token);
});

test("M24 while a finalizer holds a role that somebody has deleted nothing is made for it, and everything anew once it has gone", async () => {
  const user = "u-held";
  const server = house.cluster(CLUSTER);
  await readyUser(user);
  const token = await tokenOf(server, user);
  const vandal = new Vandal(server, nameOf(user), "");
  await vandal.edit("clusterroles", ({ metadata }) => (metadata.finalizers = ["test.understudy.io/hold"]));
  const since = await auditEnd(server);
  await vandal.call("DELETE", vandal.path("clusterroles"));
  await vandal.call("DELETE", vandal.path("clusterrolebindings"));
  const reason = `the ClusterRole ${nameOf(user)} is being deleted on cluster ${CLUSTER}`;
  const handedBack = () => house.workers.flatMap((worker) => linesOf(worker, "subject handed back", user)).filter((line) => line["reason"] === reason).length;
  await waitUntil("a worker has waited for it twice", () => handedBack() >= 2, DEADLINE);
  assert.deepEqual(writesIn((await callsOf(server, [user], since)).get(user)!), [], "nothing is written meanwhile");
  assert.equal((await house.row(CLUSTER, user))?.state, "pending");
  // A worker that looks just then needs no further word.
  await vandal.edit("clusterroles", ({ metadata }) => (metadata.finalizers = []));
  await house.waitFor(CLUSTER, user, "ready", DEADLINE);
  await assertActsAsExactly(server, who(user));
  await assertDead(user, token);
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

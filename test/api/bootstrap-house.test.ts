// A whole installation behind the fence: workers and producers with no other account than the one that `bootstrap` prints, in both profiles and token modes; and what becomes of it without the fence.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { ApiServer } from "../apiserver/start.ts";
import { auditEnd, callsOf, isWrite } from "../support/audit.ts";
import { apply, bootstrapped, fenceStands, manifestOf } from "../support/bootstrapped.ts";
import { loggedIn, openQuiet, settledAfter } from "../support/evidence.ts";
import type { House, HouseOptions } from "../support/house.ts";
import { actAs, assertActsAsExactly, assertGone, objectsOf } from "../support/impersonator.ts";
import { deleteCrtb, putAttribute, putCrtb, putUser } from "../support/rancher-objects.ts";
import { Vandal } from "../support/vandal.ts";
import { waitUntil } from "../support/wait-until.ts";

const ONE = "c-one";
const DEADLINE = { deadlineMs: 90_000 };
const BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const OFF = "the fence is not on";
const LOGINS = { UNDERSTUDY_PROFILE: "rancher", UNDERSTUDY_TOKEN_MODE: "request", UNDERSTUDY_REQUIRE_FENCE: "true" };
const RANCHER = { UNDERSTUDY_PROFILE: "strict", UNDERSTUDY_REQUIRE_FENCE: "true" };
let rancher: House;
let logins: House;
let manifest: string;
let token: string;

/** On a cluster that an administrator has set up for just these settings. */
const open = (settings: Readonly<Record<string, string>>, options: HouseOptions): Promise<House> =>
  openQuiet({ clusters: [ONE], workers: 1, settings, ...options, kubeconfig: async (server) => kubeconfigOn(server, settings, options.management !== false) });
async function kubeconfigOn(server: ApiServer, settings: Readonly<Record<string, string>>, management: boolean): Promise<string> {
  const printed = await manifestOf({ ...settings, ...(management ? { UNDERSTUDY_MANAGEMENT_KUBECONFIG: "not-read.yaml" } : {}) });
  const worker = await bootstrapped(server, printed);
  if (!management) [manifest, token] = [printed, worker.token];
  return worker.kubeconfig;
}
before(async () => {
  rancher = await open(RANCHER, {});
  logins = await open(LOGINS, { management: false });
});
after(async () => {
  await rancher?.[Symbol.asyncDispose]();
  await logins?.[Symbol.asyncDispose]();
});

interface Checked {
  readonly ok: boolean;
  readonly clusters: readonly { readonly fence: string; readonly missing: readonly string[] }[];
  readonly problems: readonly string[];
}
async function check(house: House): Promise<Checked> {
  const { stdout } = await house.command(["check", "--output", "json"]);
  return JSON.parse(stdout) as Checked;
}

test("with Rancher: set-up, login, change, another hand's damage and removal all pass the fence, in profile strict with token Secrets", async () => {
  const user = "u-ada";
  const cluster = rancher.cluster(ONE);
  const management = rancher.management!;
  await putUser(management, user);
  await settledAfter(rancher, { clusters: [ONE], user }, () => putCrtb(management, ONE, "b-ada", { userName: user }));
  const extras = { principalid: ["github_user://7"], username: ["ada"] };
  await loggedIn(rancher, user, ONE, { groups: ["github_org://1", "github_org://2"], extras });
  await assertActsAsExactly(cluster, { user, groups: ["github_org://1", "github_org://2"], extras });
  const asRancher = { groups: { github: ["github_org://2"] }, extras: { github: extras } };
  await settledAfter(rancher, { clusters: [ONE], user }, () => putAttribute(management, user, asRancher));
  await assertActsAsExactly(cluster, { user, groups: ["github_org://2"], extras });
  const { account, secrets } = await objectsOf(cluster, user);
  const vandal = new Vandal(cluster, account.metadata.name, secrets[0].metadata.name);
  await vandal.edit("clusterroles", ({ rules }) => rules[1].resourceNames.push("system:masters"));
  await repaired("the role", async () => !JSON.stringify((await objectsOf(cluster, user)).role).includes("system:masters"));
  await vandal.label("clusterrolebindings", "authz.cluster.cattle.io/impersonator", undefined);
  await repaired("the binding's label", async () => (await objectsOf(cluster, user)).binding?.metadata.labels !== undefined);
  await vandal.remove("secrets");
  await repaired("the Secret", async () => (await objectsOf(cluster, user)).secrets.length === 1);
  await rancher.waitFor(ONE, user, "ready", DEADLINE);
  await assertActsAsExactly(cluster, { user, groups: ["github_org://2"], extras });
  await settledAfter(rancher, { clusters: [ONE], user, state: "removed" }, () => deleteCrtb(management, ONE, "b-ada"));
  await assertGone(cluster, user);
});
const repaired = (what: string, so: () => Promise<boolean>): Promise<true> => waitUntil(`${what} is put right`, so, DEADLINE);

test("without Rancher: the same by logins, with groups of any form, in profile rancher with requested tokens, and slugs for names", async () => {
  const user = "ada@example.org";
  const cluster = logins.cluster(ONE);
  await loggedIn(logins, user, ONE, { groups: ["admins", "ops"] });
  const { role, secrets } = await objectsOf(cluster, user);
  assert.ok(JSON.stringify(role.rules).includes("userextras/requesthost"));
  assert.deepEqual(secrets, []);
  const path = `/api/v1/namespaces/cattle-impersonation-system/serviceaccounts/${role.metadata.name}/token`;
  const { body } = await cluster.call("POST", path, { spec: {} });
  const act = async (group: string): Promise<number> => (await actAs(cluster, body.status.token, { user, groups: [group] })).status;
  assert.deepEqual([await act("ops"), await act("others")], [201, 403]);
  await loggedIn(logins, user, ONE, { groups: ["admins"] });
  assert.deepEqual([await act("admins"), await act("ops")], [201, 403]);
  await settledAfter(logins, { clusters: [ONE], user, state: "removed" }, () => logins.hook("DELETE", `/v1/logins/${encodeURIComponent(user)}`));
  await assertGone(cluster, user);
});

test("check finds no right missing and the fence on, and off once the policy's binding has gone", async () => {
  for (const house of [rancher, logins]) {
    const { ok, clusters, problems } = await check(house);
    assert.deepEqual([ok, clusters.map(({ fence, missing }) => [fence, missing]), problems], [true, [["on", []]], []]);
  }
  const cluster = logins.cluster(ONE);
  await cluster.call("DELETE", `${BINDINGS}/understudy-worker-fence`);
  const off = await waitUntil("check sees it", async () => {
    const checked = await check(logins);
    return checked.clusters[0]?.fence === "off" && checked;
  });
  assert.equal(off.ok, false);
  assert.deepEqual(off.problems, [
    `cluster ${ONE}: UNDERSTUDY_REQUIRE_FENCE, and its fence is not on: understudy bootstrap --cluster ${ONE} | kubectl apply -f -`,
  ]);
  const { stdout } = await logins.command(["check", "--output", "json"], { UNDERSTUDY_REQUIRE_FENCE: "false" });
  assert.equal((JSON.parse(stdout) as Checked).ok, true, "it is a problem only where it is required");
  await apply(cluster, manifest);
  await fenceStands(cluster, token);
});

test("where the fence is required and not on nothing is written: subjects wait and say why, and go on once it is on again", async () => {
  const cluster = logins.cluster(ONE);
  await loggedIn(logins, "u-before", ONE, { groups: ["a"] });
  await cluster.call("DELETE", `${BINDINGS}/understudy-worker-fence`);
  await waitUntil("the fence is not in force", async () => (await check(logins)).clusters[0]?.fence === "off");
  // What a worker has found out holds for minutes; a new one asks.
  await logins.workers[0]!.stop();
  const worker = await logins.start("worker");
  const position = await auditEnd(cluster);
  for (const user of ["u-before", "u-after"]) {
    const { status, body } = await logins.login(user, ONE, { groups: ["b"] });
    assert.deepEqual([status, body["state"], body["reason"]], [202, "waiting", OFF]);
    await logins.waitFor(ONE, user, "waiting");
  }
  assert.deepEqual(
    worker.lines.filter(({ level, msg }) => msg === "cluster left alone: its fence is not on" && level === 50).map((line) => line["cluster"]),
    [ONE],
    "said once",
  );
  const calls = await callsOf(cluster, ["u-before", "u-after"], position);
  assert.deepEqual([...calls.values()].flat().filter(isWrite), []);
  await apply(cluster, manifest);
  for (const user of ["u-before", "u-after"]) {
    await logins.waitFor(ONE, user, "ready", DEADLINE);
    const { role } = await objectsOf(cluster, user);
    assert.ok(JSON.stringify(role.rules).includes('"b"'));
  }
});

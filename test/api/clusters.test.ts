// The folder of kubeconfigs while everything runs: a file that appears, changes, breaks, goes and comes back; and the impersonators' namespace that is missing or terminating.
import assert from "node:assert/strict";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { kubeconfigText } from "../apiserver/files.ts";
import { auditEnd, callsOf, isWrite } from "../support/audit.ts";
import { loggedIn, metricOf, settledAfter } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { NAMESPACE, actAs, assertActsAsExactly, assertGone, tokenOf } from "../support/impersonator.ts";
import { deleteCrtb, putCrtb, putUser } from "../support/rancher-objects.ts";
import { startRelay } from "../support/relay.ts";
import { waitUntil } from "../support/wait-until.ts";

const ONE = "c-one";
const TWO = "c-two";
const TEAM = "github_team://clusters";
const DEADLINE = { deadlineMs: 60_000 };
const MISSING = "cluster not configured";
let house: House;
before(async () => {
  house = await House.open({
    workers: 2,
    settings: { UNDERSTUDY_LOGIN_GRANT: "10s" },
    kubeconfig: (server) => server.workerKubeconfig(server.url, { createsNamespace: server.name === TWO }),
  });
});
after(() => house?.[Symbol.asyncDispose]());

const file = (cluster: string): string => join(house.clustersDir, `${cluster}.yaml`);
/** At once, as a mounted Secret changes. */
async function put(cluster: string, text: string): Promise<void> {
  const hidden = join(house.clustersDir, ".next");
  await writeFile(hidden, text);
  await rename(hidden, file(cluster));
}
const who = (user: string) => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });
async function bind(cluster: string, user: string): Promise<void> {
  await putUser(house.management!, user);
  await putCrtb(house.management!, cluster, user, { userName: user });
}
const ready = (cluster: string, user: string) => settledAfter(house, { clusters: [cluster], user }, () => bind(cluster, user));
/** How often all running processes of a kind have said this. */
const said = (processes: readonly { readonly lines: readonly Record<string, unknown>[] }[], msg: string, about: Record<string, unknown>): number[] =>
  processes.map(({ lines }) => lines.filter((line) => line["msg"] === msg && Object.entries(about).every(([key, value]) => line[key] === value)).length);
/** Changes a file, and waits until every process of these has said so once more. */
async function heard(act: () => Promise<unknown>, msg: string, about: Record<string, unknown>, processes = house.workers): Promise<void> {
  const earlier = said(processes, msg, about);
  await act();
  await waitUntil(`everybody says: ${msg}`, () => said(processes, msg, about).every((count, i) => count > earlier[i]!), DEADLINE);
}
async function goes(cluster: string): Promise<string> {
  const text = await readFile(file(cluster), "utf8");
  await heard(() => rm(file(cluster)), "cluster is no longer configured", { cluster });
  await waitUntil("the producer knows", async () => (await house.login("u-nobody", cluster)).status === 404, DEADLINE);
  return text;
}
const appears = (cluster: string, text: string) => heard(() => put(cluster, text), "cluster appeared", { cluster });
const waitsForCluster = async (cluster: string, user: string): Promise<void> =>
  assert.equal((await house.waitFor(cluster, user, "waiting", DEADLINE)).reason, MISSING);
const openJobs = async (): Promise<number> => {
  const counts = ["waiting", "active", "delayed", "prioritized", "paused"].map((state) => metricOf([house.producer], "bullmq_job_count", { state }));
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
};

test("a cluster whose file goes is left as it is: its subjects wait, no job stays open, and all is right again when the file comes back", async () => {
  const server = house.cluster(ONE);
  await ready(ONE, "u-stays");
  await ready(ONE, "u-leaves");
  const token = await tokenOf(server, "u-stays");
  const since = await auditEnd(server);
  const text = await goes(ONE);
  for (const user of ["u-stays", "u-leaves"]) await waitsForCluster(ONE, user);
  await bind(ONE, "u-comes");
  await deleteCrtb(house.management!, ONE, "u-leaves");
  await waitsForCluster(ONE, "u-comes");
  await waitUntil("no job is open", async () => (await openJobs()) === 0, DEADLINE);
  assert.equal((await actAs(server, token, who("u-stays"))).status, 201, "whoever has an impersonator there keeps it");
  await assertActsAsExactly(server, who("u-leaves"));
  const away = await callsOf(server, ["u-stays", "u-leaves", "u-comes"], since);
  assert.deepEqual([...away.values()].flat().filter(isWrite), []);
  await appears(ONE, text);
  for (const user of ["u-stays", "u-comes"]) await house.waitFor(ONE, user, "ready", DEADLINE);
  await house.waitFor(ONE, "u-leaves", "removed", DEADLINE);
  await assertActsAsExactly(server, who("u-comes"));
  await assertGone(server, "u-leaves");
  assert.equal(await tokenOf(server, "u-stays"), token);
  assert.deepEqual((await callsOf(server, ["u-stays"], since)).get("u-stays")!.filter(isWrite), [], "what had not changed is not written again");
});

test("a login grant that ends while its cluster is away is not forgotten: the impersonator goes when the cluster comes back", async () => {
  const user = "u-grant";
  await putUser(house.management!, user);
  await putCrtb(house.management!, ONE, "team", { groupPrincipalName: TEAM });
  await loggedIn(house, user, ONE, { groups: [TEAM] });
  const end = Date.parse((await house.row(ONE, user))!.loginEnds!);
  const text = await goes(ONE);
  await waitUntil("the grant has ended, and a sweep has passed", () => Date.now() > end + 6_000, DEADLINE);
  await waitsForCluster(ONE, user);
  await assertActsAsExactly(house.cluster(ONE), { user, groups: [TEAM] });
  await appears(ONE, text);
  await house.waitFor(ONE, user, "removed", DEADLINE);
  await assertGone(house.cluster(ONE), user);
});

test("a file that appears serves those who waited for it, by itself", async () => {
  const text = await goes(TWO);
  await bind(TWO, "u-early");
  await waitsForCluster(TWO, "u-early");
  await appears(TWO, text);
  await house.waitFor(TWO, "u-early", "ready", DEADLINE);
  await assertActsAsExactly(house.cluster(TWO), who("u-early"));
});

test("with a changed file the new credentials are used at once and the old connections are closed, so that the old token can be deleted", async () => {
  const server = house.cluster(ONE);
  const system = "/api/v1/namespaces/understudy-system";
  await using relay = await startRelay(server.url);
  await server.call("POST", `${system}/secrets`, { metadata: { name: "holds-the-old-token" } });
  const { body: bound } = await server.call("GET", `${system}/secrets/holds-the-old-token`);
  const boundObjectRef = { apiVersion: "v1", kind: "Secret", name: bound.metadata.name, uid: bound.metadata.uid };
  const { body: made } = await server.call("POST", `${system}/serviceaccounts/understudy-worker/token`, { spec: { expirationSeconds: 3600, boundObjectRef } });
  const old: string = made.status.token;
  const good = await readFile(file(ONE), "utf8");
  await heard(() => put(ONE, kubeconfigText(relay.url, server.ca, old)), "cluster credentials changed", { cluster: ONE });
  await ready(ONE, "u-old-token");
  assert.ok(relay.open() > 0);
  await heard(() => put(ONE, good), "cluster credentials changed", { cluster: ONE });
  await waitUntil("the old connections are closed", () => relay.open() === 0, DEADLINE);
  await server.call("DELETE", `${system}/secrets/holds-the-old-token`);
  await waitUntil(
    "the old token is dead",
    async () => (await server.call("GET", "/version", undefined, { authorization: `Bearer ${old}` })).status === 401,
    DEADLINE,
  );
  await ready(ONE, "u-new-token");
  await assertActsAsExactly(server, who("u-new-token"));
  await settledAfter(house, { clusters: [ONE], user: "u-old-token" }, () => house.command(["enqueue", "--cluster", ONE, "--user", "u-old-token"]));
  assert.equal(relay.open(), 0);
  assert.deepEqual(said(house.workers, "subject failed and is tried again", { cluster: ONE }), [0, 0], "nobody was refused meanwhile");
});

test("a file that breaks changes nothing but says so, each time that it breaks: the old client goes on", async () => {
  const good = await readFile(file(ONE), "utf8");
  const everybody = [...house.workers, house.producer];
  const problem = "it cannot be read as a kubeconfig: it is not YAML";
  for (const user of ["u-broken-1", "u-broken-2"]) {
    await heard(() => put(ONE, "{ half a"), "kubeconfig cannot be used", { file: `${ONE}.yaml`, problem }, everybody);
    await ready(ONE, user);
    await assertActsAsExactly(house.cluster(ONE), who(user));
    await put(ONE, good);
    // A file that comes later is read in a look that has read this one too.
    await heard(() => writeFile(join(house.clustersDir, `Marker-${user}.yaml`), ""), "kubeconfig cannot be used", { file: `Marker-${user}.yaml` }, everybody);
  }
});

const homeOf = (cluster: string) => house.cluster(cluster).call("GET", `/api/v1/namespaces/${NAMESPACE}`);
const deleteHome = (cluster: string) => house.cluster(cluster).call("DELETE", `/api/v1/namespaces/${NAMESPACE}`);
const hasGone = (cluster: string) => waitUntil("the namespace has gone", async () => (await homeOf(cluster)).status === 404, DEADLINE);

test("a namespace that is terminating is waited for without an attempt, and made again with everything in it", async () => {
  const server = house.cluster(TWO);
  await ready(TWO, "u-home");
  assert.equal((await homeOf(TWO)).body.metadata.labels["authz.cluster.cattle.io/impersonator"], "true", "made by the worker, with Rancher's label");
  const guard = `/api/v1/namespaces/${NAMESPACE}/configmaps`;
  await server.call("POST", guard, { metadata: { name: "guard", finalizers: ["test.understudy.io/guard"] } });
  const failed = said(house.workers, "subject failed and is tried again", { cluster: TWO });
  await deleteHome(TWO);
  await waitUntil(
    "only the guard is left",
    async () =>
      (await homeOf(TWO)).body.status?.conditions?.some(
        (one: { type: string; status: string }) => one.type === "NamespaceFinalizersRemaining" && one.status === "True",
      ),
    DEADLINE,
  );
  await bind(TWO, "u-homeless");
  const reason = `the namespace on cluster ${TWO} is terminating`;
  await waitUntil(
    "a worker waits for it",
    () => said(house.workers, "subject handed back", { user: "u-homeless", reason }).some((times) => times > 0),
    DEADLINE,
  );
  assert.equal((await house.row(TWO, "u-homeless"))?.state, "pending");
  await server.call("PATCH", `${guard}/guard`, { metadata: { finalizers: null } });
  await house.waitFor(TWO, "u-homeless", "ready", DEADLINE);
  await assertActsAsExactly(server, who("u-homeless"));
  assert.deepEqual(said(house.workers, "subject failed and is tried again", { cluster: TWO }), failed, "waiting is no failure");
  await settledAfter(house, { clusters: [TWO], user: "u-home" }, () => house.command(["enqueue", "--cluster", TWO, "--user", "u-home"]));
  await assertActsAsExactly(server, who("u-home"));
});

test("a namespace that is missing and may not be made is the reason that the row names, until somebody makes it", async () => {
  const server = house.cluster(TWO);
  const home = "/apis/rbac.authorization.k8s.io/v1/clusterroles/understudy-worker-home";
  const { body: role } = await server.call("GET", home);
  const rules = role.rules.filter(({ resources }: { resources: string[] }) => !resources.includes("namespaces"));
  await server.call("PATCH", home, { rules });
  await deleteHome(TWO);
  await hasGone(TWO);
  await bind(TWO, "u-nowhere");
  await deleteHome(ONE);
  await hasGone(ONE);
  await bind(ONE, "u-nowhere");
  for (const [cluster, reason] of [
    [TWO, new RegExp(`namespace ${NAMESPACE} is missing on cluster ${TWO}, and may not be made`)],
    [ONE, new RegExp(`${NAMESPACE}/\\w+ on cluster ${ONE}: 403 Forbidden`)],
  ] as const) {
    const row = await waitUntil(
      "the row names it",
      async () => {
        const found = await house.row(cluster, "u-nowhere");
        return found && reason.test(found.reason) ? found : undefined;
      },
      DEADLINE,
    );
    assert.equal(row.state, "pending");
  }
  await server.call("POST", "/api/v1/namespaces", { metadata: { name: NAMESPACE } });
  await house.cluster(ONE).workerKubeconfig();
  for (const cluster of [ONE, TWO]) {
    await house.waitFor(cluster, "u-nowhere", "ready", { deadlineMs: 90_000 });
    await assertActsAsExactly(house.cluster(cluster), who("u-nowhere"));
  }
});

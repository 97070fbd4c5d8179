// Clusters from Secrets of the management cluster while everything runs: one that appears, whose credentials are revoked and replaced, that breaks, goes and comes back; and a management cluster that is away.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { kubeconfigText } from "../apiserver/files.ts";
import type { ApiServer } from "../apiserver/start.ts";
import { auditEnd, callsOf, isWrite } from "../support/audit.ts";
import { putClusterSecret, takeClusterSecret } from "../support/cluster-secrets.ts";
import { settledAfter } from "../support/evidence.ts";
import { type FaultProxy, startFaultProxy } from "../support/fault-proxy.ts";
import { House, type Process } from "../support/house.ts";
import { assertActsAsExactly, tokenOf } from "../support/impersonator.ts";
import { putCrtb, putUser } from "../support/rancher-objects.ts";
import { startRelay } from "../support/relay.ts";
import { waitUntil } from "../support/wait-until.ts";

const [ONE, TWO, FLEET] = ["c-one", "c-two", "fleet"];
const SOURCE = `UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE (${FLEET})`;
const DEADLINE = { deadlineMs: 60_000 };
const MISSING = "cluster not configured";
const RBAC = "/apis/rbac.authorization.k8s.io/v1";
let house: House;
let management: ApiServer;
/** What all processes reach the management cluster through. */
let proxy: FaultProxy;
before(async () => {
  house = await House.open({ workers: 2, clusterSecrets: FLEET, managementKubeconfig: throughProxy });
  management = house.management!;
});
after(async () => {
  await house?.[Symbol.asyncDispose]();
  await proxy?.stop();
});

/** An account that may read Rancher's kinds, and list and watch Secrets in that one namespace: the rights that docs/reference.md names, and no more. */
async function throughProxy(server: ApiServer): Promise<string> {
  proxy = await startFaultProxy({ url: server.url, ca: server.ca, tls: server.serving });
  const subjects = [{ kind: "ServiceAccount", name: "reader", namespace: FLEET }];
  const roleRef = (kind: string) => ({ apiGroup: "rbac.authorization.k8s.io", kind, name: "reader" });
  const sources = ["clusterroletemplatebindings", "projectroletemplatebindings", "globalrolebindings", "users", "userattributes"];
  const verbs = ["list", "watch"];
  await server.call("POST", "/api/v1/namespaces", { metadata: { name: FLEET } });
  await server.call("POST", `/api/v1/namespaces/${FLEET}/serviceaccounts`, { metadata: { name: "reader" } });
  const metadata = { name: "reader" };
  await server.call("POST", `${RBAC}/clusterroles`, { metadata, rules: [{ apiGroups: ["management.cattle.io"], resources: sources, verbs }] });
  await server.call("POST", `${RBAC}/clusterrolebindings`, { metadata, roleRef: roleRef("ClusterRole"), subjects });
  await server.call("POST", `${RBAC}/namespaces/${FLEET}/roles`, { metadata, rules: [{ apiGroups: [""], resources: ["secrets"], verbs }] });
  await server.call("POST", `${RBAC}/namespaces/${FLEET}/rolebindings`, { metadata, roleRef: roleRef("Role"), subjects });
  const token = await tokenFor(server, "reader", FLEET);
  const asReader = { authorization: `Bearer ${token}` };
  for (const path of [`/api/v1/namespaces/${FLEET}/secrets`, "/apis/management.cattle.io/v3/users"])
    await waitUntil("its rights are in force", async () => (await server.call("GET", path, undefined, asReader)).status === 200, DEADLINE);
  return kubeconfigText(proxy.url, server.ca, token);
}
/** Of an account that is there; dead as soon as the Secret that holds it, if one does, has gone. */
async function tokenFor(server: ApiServer, account: string, namespace: string, holder?: string): Promise<string> {
  const secrets = `/api/v1/namespaces/${namespace}/secrets`;
  const held = holder === undefined ? undefined : await server.call("POST", secrets, { metadata: { name: holder } });
  const boundObjectRef = held && { apiVersion: "v1", kind: "Secret", name: holder, uid: held.body.metadata.uid };
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`;
  const { status, body } = await server.call("POST", path, { spec: { expirationSeconds: 3600, boundObjectRef } });
  assert.equal(status, 201);
  return body.status.token;
}

const put = (cluster: string, kubeconfig: string) => putClusterSecret(management, FLEET, cluster, { kubeconfig });
const who = (user: string) => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });
async function bind(cluster: string, user: string): Promise<void> {
  await putUser(management, user);
  await putCrtb(management, cluster, user, { userName: user });
}
const ready = (cluster: string, user: string) => settledAfter(house, { clusters: [cluster], user }, () => bind(cluster, user));
const enqueue = (cluster: string, user: string) => house.command(["enqueue", "--cluster", cluster, "--user", user]);
/** How often each of these processes has said this. */
const said = (processes: readonly Process[], msg: string, about: Record<string, unknown> = {}): number[] =>
  processes.map(({ lines }) => lines.filter((line) => line["msg"] === msg && Object.entries(about).every(([key, value]) => line[key] === value)).length);
/** Does something, and waits until each of these processes has said so once more. */
async function heard(act: () => Promise<unknown>, msg: string, about: Record<string, unknown>, processes: readonly Process[] = house.workers): Promise<void> {
  const earlier = said(processes, msg, about);
  await act();
  await waitUntil(`everybody says: ${msg}`, () => said(processes, msg, about).every((count, i) => count > earlier[i]!), DEADLINE);
}

test("clusters from Secrets are served with list and watch on Secrets of that namespace alone, and every command finds them", async () => {
  for (const cluster of [ONE, TWO]) await ready(cluster, "u-first");
  await assertActsAsExactly(house.cluster(ONE), who("u-first"));
  const checked = JSON.parse((await house.command(["check", "--output", "json"])).stdout) as {
    ok: boolean;
    problems: string[];
    clusters: { cluster: string }[];
  };
  assert.deepEqual([checked.problems, checked.ok, checked.clusters.map(({ cluster }) => cluster)], [[], true, [ONE, TWO]]);
  for (const command of [["verify", "--all"], ["status"], ["enqueue", "--cluster", ONE, "--user", "u-first"]]) {
    const { code, stderr } = await house.command([...command, "--output", "json"]);
    assert.equal(code, 0, stderr);
  }
  await house.waitFor(ONE, "u-first", "ready", DEADLINE);
  const once = await house.command(["dev", "--once", "--output", "json"]);
  assert.equal(once.code, 0, once.stderr);
  const { clusters, subjects, ready: prepared } = JSON.parse(once.stdout) as Record<string, number>;
  assert.deepEqual([clusters, subjects, prepared], [2, 2, 2]);
  const unknown = await house.command(["verify", "--cluster", "c-none", "--user", "u-first"]);
  assert.deepEqual([unknown.code, unknown.stderr], [2, `understudy: --cluster: c-none is not in ${SOURCE}\n`]);
  const none = await house.command(["worker"], { UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE: "" });
  assert.equal(none.code, 2);
  assert.match(none.stderr, /^understudy: UNDERSTUDY_CLUSTERS_DIR: set it to .*, or UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE to .*\n$/);
});

test("check says what to grant where a right on the Secrets is missing, and which kubeconfig is used where a file is of the same cluster", async () => {
  const role = `${RBAC}/namespaces/${FLEET}/roles/reader`;
  const rules = (verbs: readonly string[]) => management.call("PATCH", role, { rules: [{ apiGroups: [""], resources: ["secrets"], verbs }] });
  const problems = async (settings: Readonly<Record<string, string>> = {}): Promise<string[]> =>
    (JSON.parse((await house.command(["check", "--output", "json"], settings)).stdout) as { problems: string[] }).problems;
  const grant = `${SOURCE}: grant the account of UNDERSTUDY_MANAGEMENT_KUBECONFIG list and watch on secrets in namespace ${FLEET} of the management cluster`;
  for (const verbs of [["list"], ["get"]]) {
    await rules(verbs);
    await waitUntil(`with ${verbs.join()} alone the rest is missed`, async () => (await problems()).includes(grant), DEADLINE);
    assert.deepEqual(await problems(), [grant], "said once, whatever it keeps from being done");
  }
  await rules(["list", "watch"]);
  await waitUntil("nothing is missing", async () => (await problems()).length === 0, DEADLINE);
  await writeFile(join(house.clustersDir, `${ONE}.yaml`), await house.cluster(ONE).workerKubeconfig());
  assert.deepEqual(await problems({ UNDERSTUDY_CLUSTERS_DIR: house.clustersDir }), [
    `kubeconfig Secret ${FLEET}/${ONE}, key kubeconfig: ${ONE}.yaml is of cluster ${ONE} too, and comes first; remove one`,
  ]);
});

test("a cluster whose Secret goes is left as it is: its subjects wait, and all is right again when the Secret comes back", async () => {
  const server = house.cluster(TWO);
  await ready(TWO, "u-stays");
  const token = await tokenOf(server, "u-stays");
  const since = await auditEnd(server);
  let text = "";
  await heard(async () => (text = await takeClusterSecret(management, FLEET, TWO)), "cluster is no longer configured", { cluster: TWO });
  await bind(TWO, "u-early");
  for (const user of ["u-stays", "u-early"]) assert.equal((await house.waitFor(TWO, user, "waiting", DEADLINE)).reason, MISSING);
  await assertActsAsExactly(server, who("u-stays"));
  assert.deepEqual([...(await callsOf(server, ["u-stays", "u-early"], since)).values()].flat().filter(isWrite), []);
  const resyncs = said([house.producer], "cluster resynced", { cluster: TWO })[0]!;
  await heard(() => put(TWO, text), "cluster appeared", { cluster: TWO });
  for (const user of ["u-stays", "u-early"]) await house.waitFor(TWO, user, "ready", DEADLINE);
  await waitUntil("the producer has compared it anew", () => said([house.producer], "cluster resynced", { cluster: TWO })[0]! > resyncs, DEADLINE);
  await assertActsAsExactly(server, who("u-early"));
  assert.equal(await tokenOf(server, "u-stays"), token);
});

/** When a subject that these credentials fail is tried next; undefined unless that is far off. */
async function lateTry(cluster: string, user: string, status: number): Promise<number | undefined> {
  const [, at = "", reason = ""] = /^tried \d+ times, next at (\S+): (.*)$/.exec((await house.row(cluster, user))?.reason ?? "") ?? [];
  return reason.includes(` ${status} `) && Date.parse(at) - Date.now() > 30_000 ? Date.parse(at) : undefined;
}
/** Its state by the command, which needs no producer. */
async function stateOf(cluster: string, user: string): Promise<string | undefined> {
  const { stdout } = await house.command(["status", "--cluster", cluster, "--user", user, "--output", "json"]);
  return (JSON.parse(stdout) as { subjects: { state: string }[] }).subjects[0]?.state;
}
/** Worker credentials with a way of their own, which shows who is connected by them, and can keep every answer back. */
async function onOwnWay(cluster: string, token: string): Promise<AsyncDisposable & { open(): number; hold(): { waiting(): number } }> {
  const server = house.cluster(cluster);
  await using opened = new AsyncDisposableStack();
  const faults = opened.adopt(await startFaultProxy({ url: server.url, ca: server.ca, tls: server.serving }), (started) => started.stop());
  const relay = opened.use(await startRelay(faults.url));
  await heard(() => put(cluster, kubeconfigText(relay.url, server.ca, token)), "cluster credentials changed", { cluster });
  const held = Promise.withResolvers<void>();
  opened.defer(held.resolve);
  const all = opened.move();
  return {
    open: () => relay.open(),
    hold() {
      faults.clear();
      faults.setRule(() => ({ hold: held.promise }));
      return { waiting: () => faults.seen.length };
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

test("credentials that were revoked or lack rights are replaced without a restart: the old connections are closed, and workers serve at once who failed by them", async () => {
  const [one, two] = [house.cluster(ONE), house.cluster(TWO)];
  const old = await tokenFor(one, "understudy-worker", "understudy-system", "holds-the-old-token");
  await using revoked = await onOwnWay(ONE, old);
  await ready(ONE, "u-before");
  await one.call("DELETE", "/api/v1/namespaces/understudy-system/secrets/holds-the-old-token");
  const asOld = { authorization: `Bearer ${old}` };
  await waitUntil("the old token is dead", async () => (await one.call("GET", "/version", undefined, asOld)).status === 401, DEADLINE);
  await two.call("POST", "/api/v1/namespaces/default/serviceaccounts", { metadata: { name: "powerless" } });
  await using powerless = await onOwnWay(TWO, await tokenFor(two, "powerless", "default"));
  await Promise.all([bind(ONE, "u-revoked"), bind(TWO, "u-powerless")]);
  const lateTries = async (): Promise<number[] | undefined> => {
    const next = [await lateTry(ONE, "u-revoked", 401), await lateTry(TWO, "u-powerless", 403)].filter((at) => at !== undefined);
    return next.length === 2 ? next : undefined;
  };
  const next = await waitUntil("both are refused, and tried again late", lateTries, { deadlineMs: 240_000 });
  // A resync would wake them too.
  await house.producer.stop();
  for (const [cluster, user, way, nextTry] of [
    [ONE, "u-revoked", revoked, next[0]],
    [TWO, "u-powerless", powerless, next[1]],
  ] as const) {
    const good = await house.cluster(cluster).workerKubeconfig();
    const { waiting } = way.hold();
    await enqueue(cluster, "u-first");
    await waitUntil("a call waits on an old connection", () => waiting() > 0, DEADLINE);
    await heard(() => put(cluster, good), "cluster credentials changed", { cluster });
    await waitUntil("the old connections are closed, sooner than a call or an idle one would end", () => way.open() === 0, { deadlineMs: 3_000 });
    await waitUntil(`${user} is ready`, async () => (await stateOf(cluster, user)) === "ready", DEADLINE);
    assert.ok(Date.now() < nextTry!, "it was woken: its next try would not have come yet");
  }
  await house.start("producer");
  for (const [cluster, user] of [
    [ONE, "u-revoked"],
    [TWO, "u-powerless"],
  ] as const) {
    await house.waitFor(cluster, "u-first", "ready", DEADLINE);
    await assertActsAsExactly(house.cluster(cluster), who(user));
    await waitUntil("the sources are read", async () => (await fetch(`${house.producer.started["ops"]}/readyz`)).ok, DEADLINE);
    await ready(cluster, `${user}-next`);
    await assertActsAsExactly(house.cluster(cluster), who(`${user}-next`));
  }
  assert.deepEqual([revoked.open(), powerless.open()], [0, 0], "by new credentials alone");
});

test("a Secret that breaks, loses its key or asks for more than is allowed changes nothing but says so: the old client goes on", async () => {
  const good = await house.cluster(ONE).workerKubeconfig();
  const everybody = [...house.workers, house.producer];
  const file = `Secret ${FLEET}/${ONE}, key kubeconfig`;
  const plugin = good.replace(/token: .*/, "exec: {apiVersion: client.authentication.k8s.io/v1, command: make-token, interactiveMode: Never}");
  const wrong: readonly (readonly [keys: Record<string, string>, problem: string])[] = [
    [{ kubeconfig: "{ half a" }, "it cannot be read as a kubeconfig: it is not YAML"],
    [{ value: good }, "the Secret has no such key, or nothing in it"],
    [{ kubeconfig: plugin }, "an exec plugin is refused (UNDERSTUDY_KUBECONFIG_ALLOW=exec would allow it)"],
  ];
  for (const [i, [keys, problem]] of wrong.entries()) {
    await heard(() => putClusterSecret(management, FLEET, ONE, keys), "kubeconfig cannot be used", { file, problem }, everybody);
    await ready(ONE, `u-broken-${i}`);
  }
  await assertActsAsExactly(house.cluster(ONE), who("u-broken-0"));
  await heard(() => put(ONE, good), "cluster credentials changed", { cluster: ONE });
});

test("a management cluster that is away takes no cluster away; a worker that starts meanwhile gives its jobs back until it knows the clusters", async () => {
  const gone = said(house.workers, "cluster is no longer configured");
  const old = house.workers;
  await heard(
    async () => {
      proxy.setRule(() => ({ answer: 500 }));
      proxy.cut();
    },
    "kubeconfig cannot be used",
    { file: SOURCE },
    [...old, house.producer],
  );
  await settledAfter(house, { clusters: [ONE], user: "u-first" }, () => enqueue(ONE, "u-first"));
  assert.deepEqual(said(old, "cluster is no longer configured"), gone);
  const newcomer = await house.start("worker");
  assert.deepEqual([newcomer.started["clusters"], said([newcomer], "kubeconfig cannot be used", { file: SOURCE })], [[], [1]]);
  for (const worker of old) assert.equal(await worker.stop(), 0);
  await enqueue(ONE, "u-first");
  await waitUntil("the newcomer has given it back", () => said([newcomer], "subject handed back", { user: "u-first" })[0]! > 1, DEADLINE);
  assert.equal((await house.row(ONE, "u-first"))?.state, "pending", "nobody is told that a configured cluster is not");
  await heard(async () => proxy.setRule(undefined), "cluster appeared", { cluster: ONE }, [newcomer]);
  await house.waitFor(ONE, "u-first", "ready", DEADLINE);
});

// Others' bindings that name an impersonator's account: seen by the resync, shown to people, and left alone, because they are not ours to delete.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { ApiServer } from "../apiserver/start.ts";
import { nameOf } from "../../shared/names.ts";
import { linesOf, loggedIn, metricOf } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { assertActsAsExactly, callsSince, NAMESPACE, writesOf } from "../support/impersonator.ts";
import { putCrtb, putUser } from "../support/rancher-objects.ts";
import { waitUntil } from "../support/wait-until.ts";

const ONE = "c-one";
/** Its worker account may not list RoleBindings. */
const BLIND = "c-blind";
const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const CLUSTER_BINDINGS = `${RBAC}/clusterrolebindings`;
const BINDINGS = `${RBAC}/namespaces/default/rolebindings`;
const DEADLINE = { deadlineMs: 60_000 };
const view = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "view" };
let house: House;
before(async () => {
  house = await House.open({
    clusters: [ONE, BLIND],
    workers: 1,
    settings: { UNDERSTUDY_RESYNC: "2s" },
    kubeconfig: async (server) => {
      const kubeconfig = await server.workerKubeconfig();
      if (server.name === BLIND) await withoutRoleBindings(server);
      return kubeconfig;
    },
  });
});
after(() => house?.[Symbol.asyncDispose]());

async function withoutRoleBindings(server: ApiServer): Promise<void> {
  const path = `${RBAC}/clusterroles/understudy-worker`;
  const { body } = await server.call("GET", path);
  const rules = body.rules.filter(({ resources }: { resources: string[] }) => !resources.includes("rolebindings"));
  assert.equal(rules.length, body.rules.length - 1);
  assert.equal((await server.call("PUT", path, { ...body, rules })).status, 200);
}
async function made(server: ApiServer, path: string, name: string, subject: object): Promise<object> {
  const { status, body } = await server.call("POST", path, { metadata: { name }, roleRef: view, subjects: [subject] });
  assert.equal(status, 201);
  return body;
}
async function readyUser(user: string, cluster: string): Promise<void> {
  await putUser(house.management!, user);
  await putCrtb(house.management!, cluster, user, { userName: user });
  await loggedIn(house, user, cluster);
}
const reasonIs = (cluster: string, user: string, reason: string): Promise<unknown> =>
  waitUntil(
    `the reason is "${reason}"`,
    async () => {
      const row = await house.row(cluster, user);
      if (row?.reason !== reason) throw new Error(`it is ${JSON.stringify(row)}`);
      return row;
    },
    DEADLINE,
  );
const tampering = (cluster: string, kind: string): Promise<number> => metricOf([house.producer], "understudy_tampering_total", { cluster, kind });
const who = (user: string) => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });

test("bindings by hand that give an impersonator's account something are named in its reason and counted once, and are neither deleted nor a reason for it not to be ready", async () => {
  const server = house.cluster(ONE);
  const user = "u-alien";
  await readyUser(user, ONE);
  await readyUser("u-neighbour", ONE);
  const { generation } = (await house.row(ONE, user))!;
  const { position } = await callsSince(server, 0);
  const account = { kind: "ServiceAccount", name: nameOf(user), namespace: NAMESPACE };
  const first = await made(server, CLUSTER_BINDINGS, "by-hand", account);
  await reasonIs(ONE, user, "tampering: bound by ClusterRoleBinding by-hand too");
  assert.deepEqual([await tampering(ONE, "ClusterRoleBinding"), await tampering(ONE, "RoleBinding")], [1, 0]);
  const asUser = { kind: "User", name: `system:serviceaccount:${NAMESPACE}:${nameOf(user)}`, apiGroup: "rbac.authorization.k8s.io" };
  const second = await made(server, BINDINGS, "as-a-user", asUser);
  await reasonIs(ONE, user, "tampering: bound by ClusterRoleBinding by-hand, RoleBinding default/as-a-user too");
  assert.equal(await tampering(ONE, "RoleBinding"), 1);
  const { stdout } = await house.command(["status", "--cluster", ONE, "--user", user, "--output", "json"]);
  const [row] = (JSON.parse(stdout) as { subjects: { state: string; reason: string }[] }).subjects;
  assert.deepEqual([row?.state, row?.reason], ["ready", "tampering: bound by ClusterRoleBinding by-hand, RoleBinding default/as-a-user too"]);
  assert.deepEqual(
    linesOf(house.producer, "impersonator bound by another hand", user).map(({ alien }) => alien),
    ["ClusterRoleBinding by-hand", "ClusterRoleBinding by-hand, RoleBinding default/as-a-user"],
  );
  // The account of the same name in another namespace is another account.
  await made(server, CLUSTER_BINDINGS, "elsewhere", { ...account, namespace: "default" });
  for (const [path, object] of [
    [`${CLUSTER_BINDINGS}/by-hand`, first],
    [`${BINDINGS}/as-a-user`, second],
  ] as const) {
    assert.deepEqual((await server.call("GET", path)).body, object, "it stands as it was made");
    assert.equal((await server.call("DELETE", path)).status, 200);
  }
  await reasonIs(ONE, user, "");
  assert.deepEqual(writesOf((await callsSince(server, position)).calls), []);
  assert.equal((await house.row(ONE, user))?.generation, generation, "nobody was woken by it");
  assert.equal((await house.row(ONE, "u-neighbour"))?.reason, "");
  await assertActsAsExactly(server, who(user));
});

test("an impersonator's own binding that names another's account counts against that one, because it lets that account act as somebody else", async () => {
  const server = house.cluster(BLIND);
  await readyUser("u-giver", BLIND);
  await readyUser("u-taker", BLIND);
  const subject = { kind: "ServiceAccount", name: nameOf("u-taker"), namespace: NAMESPACE };
  await server.call("POST", CLUSTER_BINDINGS, { metadata: { name: "taken" }, roleRef: { ...view, name: nameOf("u-giver") }, subjects: [subject] });
  await reasonIs(BLIND, "u-taker", "tampering: bound by ClusterRoleBinding taken too");
  assert.equal((await house.row(BLIND, "u-giver"))?.reason, "");
  assert.equal((await server.call("DELETE", `${CLUSTER_BINDINGS}/taken`)).status, 200);
  await reasonIs(BLIND, "u-taker", "");
});

test("a cluster whose RoleBindings may not be listed is resynced all the same, and the log says what stays unseen", async () => {
  const server = house.cluster(BLIND);
  const user = "u-blind";
  await readyUser(user, BLIND);
  await made(server, BINDINGS, "unseen", { kind: "ServiceAccount", name: nameOf(user), namespace: NAMESPACE });
  await made(server, CLUSTER_BINDINGS, "seen", { kind: "ServiceAccount", name: nameOf(user), namespace: NAMESPACE });
  await reasonIs(BLIND, user, "tampering: bound by ClusterRoleBinding seen too");
  const unseen = linesOf(house.producer, "RoleBindings cannot be listed; others that bind an impersonator stay unseen");
  assert.ok(unseen.length > 0);
  assert.deepEqual([...new Set(unseen.map(({ cluster }) => cluster))], [BLIND]);
  assert.equal(await tampering(BLIND, "RoleBinding"), 0);
});

// The example proxy in earnest: the real kubectl in front of it, a whole installation and real API servers behind. What a person may is what the person's
// own RBAC and groups allow, from the first request to the last.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import type { ApiServer } from "../apiserver/start.ts";
import { openQuiet } from "../support/evidence.ts";
import { CREDENTIALS_SECRET, ExampleProxy, type Ran, type Running } from "../support/example-proxy.ts";
import { HOOK_SECRET, type House } from "../support/house.ts";
import { actAs, assertGone, tokenOf } from "../support/impersonator.ts";
import { ProxyClient } from "../support/proxy-client.ts";
import { deleteCrtb, putCrtb, putUser } from "../support/rancher-objects.ts";
import { waitUntil } from "../support/wait-until.ts";

const ONE = "c-one";
const GROUP = "github_org://1";
const [BOB, BOB_LATER, CLEO, EVE] = ["a-token-of-bob", "a-later-token-of-bob", "a-token-of-cleo", "a-token-of-eve"];
const extras = { principalid: ["github_user://7"], username: ["bob"] };
const people = {
  [BOB]: { user: "u-bob", provider: "github", groups: [GROUP, "github_team://Größe"], extras },
  // As an ID token says it that was made after Bob had left the group.
  [BOB_LATER]: { user: "u-bob", provider: "github", groups: ["github_team://Größe"], extras },
  [CLEO]: { user: "u-cleo", provider: "github", groups: [] },
  [EVE]: { user: "u-eve", provider: "github", groups: [] },
};
const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const SLOW = { deadlineMs: 60_000 };

let house: House;
let server: ApiServer;
let proxy: ExampleProxy;
let client: ProxyClient;
before(async () => {
  const settings = { UNDERSTUDY_CREDENTIALS_LISTEN: "127.0.0.1:0", UNDERSTUDY_CREDENTIALS_SECRETS: CREDENTIALS_SECRET };
  house = await openQuiet({ clusters: [ONE], workers: 2, settings });
  server = house.cluster(ONE);
  await allow("team-bob", "User", "u-bob", ["pods", "pods/exec", "pods/portforward", "configmaps"]);
  await allow("team-org", "Group", GROUP, ["configmaps"]);
  await allow("team-bob", "User", "u-cleo", ["configmaps"]);
  for (const user of ["u-bob", "u-cleo"]) {
    await putUser(house.management!, user);
    await putCrtb(house.management!, ONE, user, { userName: user });
    await house.waitFor(ONE, user, "ready", SLOW);
  }
  await putUser(house.management!, "u-eve");
  const { hook, credentials } = house.producer.started;
  proxy = await ExampleProxy.start({ people, hook: hook!, hookSecret: HOOK_SECRET, credentials: credentials!, tls: server.serving });
  client = new ProxyClient(proxy, server.serving.cert);
});
after(async () => {
  await proxy?.[Symbol.asyncDispose]();
  await house?.[Symbol.asyncDispose]();
});

/** A namespace where this subject may do everything with these resources. */
async function allow(namespace: string, kind: "User" | "Group", name: string, resources: string[]): Promise<void> {
  const apiGroup = "rbac.authorization.k8s.io";
  const metadata = { name: name.replaceAll(/[^a-z]/g, "") };
  await server.call("POST", "/api/v1/namespaces", { metadata: { name: namespace } });
  const path = `${RBAC}/namespaces/${namespace}`;
  const rules = [{ apiGroups: [""], resources, verbs: ["get", "list", "watch", "create", "update", "patch", "delete"] }];
  assert.equal((await server.call("POST", `${path}/roles`, { metadata, rules })).status, 201);
  const roleRef = { apiGroup, kind: "Role", name: metadata.name };
  assert.equal((await server.call("POST", `${path}/rolebindings`, { metadata, roleRef, subjects: [{ apiGroup, kind, name }] })).status, 201);
}
const kubectl = (token: string, line: string, input?: string): Promise<Ran> => proxy.kubectl(ONE, token, line.split(" "), input);
async function assertForbidden(ran: Promise<Ran>, message: RegExp): Promise<void> {
  const { code, stderr, stdout } = await ran;
  assert.equal(code, 1, stdout);
  assert.match(stderr, /\(Forbidden\)/);
  assert.match(stderr, message);
}
async function whoami(token: string, ...args: string[]): Promise<{ username: string; groups: string[]; extra: Record<string, string[]> }> {
  const { code, stdout, stderr } = await proxy.kubectl(ONE, token, ["auth", "whoami", "--output", "json", ...args]);
  assert.equal(code, 0, stderr);
  return (JSON.parse(stdout) as { status: { userInfo: Awaited<ReturnType<typeof whoami>> } }).status.userInfo;
}
async function addConfigMap(namespace: string, name: string): Promise<void> {
  assert.equal((await server.call("POST", `/api/v1/namespaces/${namespace}/configmaps`, { metadata: { name } })).status, 201);
}
/** `kubectl get -w`, which has heard of a new object. */
async function startWatch(token: string, namespace: string, name: string): Promise<Running> {
  const watch = await proxy.startKubectl(ONE, token, ["get", "configmaps", "--namespace", namespace, "--watch", "--output", "name"]);
  await waitUntil("the watch says what is there", () => watch.out.stdout.includes("configmap/kube-root-ca.crt"), SLOW);
  await addConfigMap(namespace, name);
  await waitUntil("the watch hears of the new object", () => watch.out.stdout.includes(`configmap/${name}`));
  return watch;
}

/** By itself kubectl would watch for half an hour. */
const over = ({ ended }: Running): Promise<true> => waitUntil("the open watch ends", async () => (await ended, true), SLOW);

test("kubectl does what the person may and what the person's group may, and nothing else", async () => {
  const { code, stderr } = await kubectl(BOB, "get pods,configmaps --namespace team-bob");
  assert.equal(code, 0, stderr);
  const own = await kubectl(BOB, "apply --namespace team-bob --filename -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: b}\n");
  assert.deepEqual([own.code, own.stdout], [0, "configmap/applied created\n"], own.stderr);
  const groups = await kubectl(BOB, "create configmap made --namespace team-org");
  assert.deepEqual([groups.code, groups.stdout], [0, "configmap/made created\n"], groups.stderr);
  await assertForbidden(kubectl(BOB, "get pods --namespace default"), /User "u-bob" cannot list resource "pods"/);
  await assertForbidden(kubectl(BOB, "get secrets --namespace team-bob"), /User "u-bob" cannot list resource "secrets"/);
  await assertForbidden(kubectl(CLEO, "get configmaps --namespace team-org"), /User "u-cleo" cannot list resource "configmaps"/);
  await assertForbidden(kubectl(BOB, "get clusterroles"), /User "u-bob" cannot list/);
});

test("the API server sees the person with groups and extras, whatever kubectl says of who it is", async () => {
  for (const args of [[], ["--as", "u-cleo", "--as-group", "system:masters", "--as-uid", "1", "--as-user-extra", "scopes=x"]]) {
    const { username, groups, extra } = await whoami(BOB, ...args);
    assert.equal(username, "u-bob");
    assert.deepEqual(groups.toSorted(), [...people[BOB]!.groups, "system:authenticated", "system:cattle:authenticated"].toSorted());
    assert.deepEqual({ ...extra }, extras);
  }
  const headers = ["Impersonate-Group", "system:masters", "Connection", "close, impersonate-user, authorization, impersonate-group"];
  const answer = await client.ask("/clusters/c-one/api/v1/namespaces/team-bob/secrets", BOB, { headers });
  assert.deepEqual([answer.status, /u-bob/.test(answer.body)], [403, true], answer.body);
});

test("who is not known, or not entitled, is told so, and a token that was stolen from a cluster does nothing there by itself", async () => {
  const unknown = await kubectl("a-token-of-nobody", "get pods");
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /You must be logged in to the server/);
  await assertForbidden(kubectl(EVE, "get pods"), /no binding of the user or its groups/);
  const elsewhere = await client.ask("/clusters/c-nowhere/api", BOB);
  assert.deepEqual([elsewhere.status, /cluster c-nowhere is not configured/.test(elsewhere.body)], [404, true], elsewhere.body);
  const token = await tokenOf(server, "u-bob");
  for (const path of ["/api/v1/namespaces/team-bob/configmaps", "/api/v1/pods", "/apis/rbac.authorization.k8s.io/v1/clusterroles"])
    assert.equal((await server.call("GET", path, undefined, { authorization: `Bearer ${token}` })).status, 403, path);
  assert.equal((await actAs(server, token, { user: "u-cleo" })).status, 403);
  assert.equal((await actAs(server, token, { user: "u-bob", groups: ["system:masters"] })).status, 403);
});

test("kubectl exec and port-forward get the API server's own answer through the upgrade, by WebSocket and by SPDY", async () => {
  const metadata = { name: "nowhere" };
  const pod = { metadata, spec: { nodeName: "nowhere", containers: [{ name: "main", image: "none" }] } };
  assert.equal((await server.call("POST", "/api/v1/namespaces/team-bob/pods", pod)).status, 201);
  await server.call("PATCH", "/api/v1/namespaces/team-bob/pods/nowhere/status", { status: { phase: "Running" } });
  const cases = [
    ["exec", "KUBECTL_REMOTE_COMMAND_WEBSOCKETS", ["exec", "nowhere", "--namespace", "team-bob", "--", "true"]],
    ["portforward", "KUBECTL_PORT_FORWARD_WEBSOCKETS", ["port-forward", "nowhere", ":80", "--namespace", "team-bob"]],
  ] as const;
  for (const [subresource, setting, args] of cases)
    for (const websockets of ["true", "false"]) {
      const { ended, out } = await proxy.startKubectl(ONE, BOB, args, "", { [setting]: websockets });
      assert.equal(await ended, 1, out.stdout);
      // The pod is there; what is not is a kubelet, and this is how the API server says so.
      assert.match(out.stderr, /unable to upgrade connection: pods "nowhere" not found/, `${subresource} ${websockets}`);
    }
  const verbs = new Set((await execEvents()).map(({ verb, user }) => `${verb} ${user}`));
  assert.deepEqual(verbs, new Set(["get u-bob", "create u-bob"]), "WebSocket is a get, SPDY a create");
});
/** What the API server noted of exec and portforward: as whom. */
async function execEvents(): Promise<{ verb: string; user: string }[]> {
  interface Event {
    readonly verb: string;
    readonly impersonatedUser?: { readonly username: string };
    readonly objectRef?: { readonly subresource?: string };
  }
  const events = (await readFile(server.auditLog, "utf8")).trimEnd().split("\n");
  const parsed = events.filter((line) => line.includes("nowhere/")).map((line) => JSON.parse(line) as Event);
  return parsed
    .filter(({ objectRef }) => ["exec", "portforward"].includes(objectRef?.subresource ?? ""))
    .map(({ verb, impersonatedUser }) => ({ verb, user: impersonatedUser?.username ?? "" }));
}

test("who has left a group is refused what was the group's from the first request with the new login on, and an open watch ends", async (t) => {
  const watch = await startWatch(BOB, "team-org", "before-leaving");
  const path = "/clusters/c-one/api/v1/namespaces/team-org/configmaps";
  assert.equal((await client.ask(path, BOB)).status, 200);
  const began = performance.now();
  const refused = await client.ask(path, BOB_LATER);
  const refusedMs = performance.now() - began;
  assert.equal(refused.status, 403, refused.body);
  assert.match(refused.body, /User \\"u-bob\\" cannot list/);
  await over(watch);
  const endedMs = performance.now() - began;
  t.diagnostic(`left the group: refused after ${refusedMs.toFixed(0)} ms, the open watch ended after ${endedMs.toFixed(0)} ms`);
  assert.deepEqual((await whoami(BOB_LATER)).groups.includes(GROUP), false);
  assert.equal((await kubectl(BOB_LATER, "get configmaps --namespace team-bob")).code, 0, "what is the person's own stays");
});

test("who is removed from the cluster is refused, and the watch that was open ends; somebody else's goes on", async (t) => {
  const [watch, others] = [await startWatch(BOB_LATER, "team-bob", "before-removal"), await startWatch(CLEO, "team-bob", "for-cleo")];
  const began = performance.now();
  await deleteCrtb(house.management!, ONE, "u-bob");
  await over(watch);
  const endedMs = performance.now() - began;
  await assertForbidden(kubectl(BOB_LATER, "get configmaps --namespace team-bob"), /no binding of the user or its groups/);
  t.diagnostic(`removed from the cluster: the open watch ended after ${endedMs.toFixed(0)} ms`);
  await house.waitFor(ONE, "u-bob", "removed", SLOW);
  await assertGone(server, "u-bob");
  await addConfigMap("team-bob", "after-removal");
  await waitUntil("Cleo hears of it", () => others.out.stdout.includes("configmap/after-removal"));
  assert.ok(!watch.out.stdout.includes("after-removal"));
  others.child.kill("SIGTERM");
  await others.ended;
});

test("on one API server no request had to be sent twice, and nothing that was printed is a token", () => {
  assert.deepEqual(proxy.retries, []);
  assert.equal(proxy.out.stderr, "");
  for (const token of Object.keys(people)) assert.ok(!proxy.out.stdout.includes(token));
});

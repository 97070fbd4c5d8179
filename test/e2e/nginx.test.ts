// nginx with the example's configuration in earnest: the real nginx between the real kubectl and a real API server, with a whole installation to ask. What
// goes on is the person, or it does not go on.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { rootCertificates } from "node:tls";
import type { ApiServer } from "../apiserver/start.ts";
import { loggedIn, openQuiet } from "../support/evidence.ts";
import type { House } from "../support/house.ts";
import { hunt } from "../support/hunt.ts";
import { tokenOf } from "../support/impersonator.ts";
import type { Ran, Running } from "../support/kubectl.ts";
import { Nginx } from "../support/nginx.ts";
import { ProxyClient, Upgraded, statusIn } from "../support/proxy-client.ts";
import { allow } from "../support/rbac-objects.ts";
import { ClusterStandIn, valuesOf } from "../support/stand-ins.ts";
import { waitUntil } from "../support/wait-until.ts";

const ONE = "c-one";
const SECRET = "a-secret-for-credentials-0123456789";
const [ADA, BOB, EVE] = ["aaaa1111aaaa1111aaaa1111", "bbbb2222bbbb2222bbbb2222", "eeee3333eeee3333eeee3333"];
const NOBODY = "ffff0000ffff0000ffff0000";
const people = { [ADA]: "u-ada", [BOB]: "u-bob", [EVE]: "u-eve" };
const GROUPS = ["github_org://1", "github_team://Größe, 名前"];
const extras = { principalid: ["github_user://7"], username: ["ada"] };
const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());
let house: House;
let server: ApiServer;
/** Notes what reaches it; Understudy is asked about it as c-one. */
let echo: ClusterStandIn;
let nginx: Nginx;
let client: ProxyClient;

const startNginx = (credentials: string): Promise<Nginx> =>
  Nginx.start({
    people,
    credentials,
    secret: SECRET,
    tls: server.serving,
    clusters: { [ONE]: server, "c-echo": { url: echo.url, ca: echo.ca, as: ONE }, "c-strange": { url: server.url, ca: rootCertificates[0]!, as: ONE } },
  });
before(async () => {
  const settings = {
    UNDERSTUDY_CREDENTIALS_LISTEN: "127.0.0.1:0",
    UNDERSTUDY_CREDENTIALS_SECRETS: SECRET,
    UNDERSTUDY_FORWARD_AUTH_USER_HEADER: "X-Forwarded-User",
  };
  house = cleanup.use(await openQuiet({ clusters: [ONE], management: false, workers: 1, settings }));
  server = house.cluster(ONE);
  echo = cleanup.use(await new ClusterStandIn(server.serving).listen());
  await allow(server, "team", { kind: "User", name: "u-ada" }, ["configmaps"]);
  await allow(server, "many", { kind: "Group", name: GROUPS[1]! }, ["configmaps"]);
  for (const [user, login] of [
    ["u-ada", { groups: GROUPS, extras }],
    ["u-bob", {}],
  ] as const)
    await loggedIn(house, user, ONE, login);
  await waitUntil("the controller manager has put its ConfigMap there", async () => {
    const { status } = await server.call("GET", "/api/v1/namespaces/team/configmaps/kube-root-ca.crt");
    return status === 200;
  });
  nginx = cleanup.use(await startNginx(house.producer.started["credentials"]!));
  client = new ProxyClient(nginx, server.serving.cert);
});

const kubectl = (token: string, line: string, input?: string): Promise<Ran> => nginx.kubectl(ONE, token, line.split(" "), input);
async function assertForbidden(ran: Promise<Ran>, message: RegExp): Promise<void> {
  const { code, stderr, stdout } = await ran;
  assert.equal(code, 1, stdout);
  assert.match(stderr, /\(Forbidden\)/);
  assert.match(stderr, message);
}
const addConfigMap = async (name: string): Promise<unknown> =>
  assert.equal((await server.call("POST", "/api/v1/namespaces/team/configmaps", { metadata: { name } })).status, 201);
/** `kubectl get -w`, which has heard of a new object. */
async function startWatch(name: string): Promise<Running> {
  const watch = await nginx.startKubectl(ONE, ADA, ["get", "configmaps", "--namespace", "team", "--watch", "--output", "name"]);
  await waitUntil("the watch says what is there", () => watch.out.stdout.includes("configmap/kube-root-ca.crt"));
  await addConfigMap(name);
  await waitUntil("the watch hears of the new object", () => watch.out.stdout.includes(`configmap/${name}`));
  return watch;
}

test("kubectl does what the person may and what the person's group may, and nothing else, because nginx has no right of its own", async () => {
  const read = await kubectl(ADA, "get configmaps --namespace team --output name");
  assert.deepEqual([read.code, read.stdout], [0, "configmap/kube-root-ca.crt\n"], read.stderr);
  const applied = await kubectl(ADA, "apply --namespace many --filename -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: b}\n");
  assert.deepEqual([applied.code, applied.stdout], [0, "configmap/applied created\n"], applied.stderr);
  await assertForbidden(kubectl(ADA, "get secrets --namespace team"), /User "u-ada" cannot list resource "secrets"/);
  await assertForbidden(kubectl(BOB, "get configmaps --namespace team"), /User "u-bob" cannot list resource "configmaps"/);
});

test("the API server sees the person with each group as one, commas and all, whatever kubectl says of who it is", async () => {
  for (const args of [[], ["--as", "u-bob", "--as-group", "system:masters", "--as-uid", "1", "--as-user-extra", "scopes=x"]]) {
    const { code, stdout, stderr } = await nginx.kubectl(ONE, ADA, ["auth", "whoami", "--output", "json", ...args]);
    assert.equal(code, 0, stderr);
    const { userInfo } = (JSON.parse(stdout) as { status: { userInfo: { username: string; groups: string[]; extra: object } } }).status;
    assert.equal(userInfo.username, "u-ada");
    assert.deepEqual(userInfo.groups.toSorted(), [...GROUPS, "system:authenticated", "system:cattle:authenticated"].toSorted());
    assert.deepEqual({ ...userInfo.extra }, extras);
  }
});

test("what a client says of who it is reaches no cluster, in any spelling, number or connection header; what else it says does", async () => {
  const lines = [
    "Impersonate-User: admin, impersonate-USER: admin, IMPERSONATE-GROUP: system:masters, Impersonate-Uid: 1, Impersonate-Extra-scopes: x",
    "X-Understudy-User: u-bob, x-understudy-cluster: c-two, X-Understudy-Secret: x, X-Forwarded-User: u-bob, Impersonate_User: admin",
    "X-Hop: 1, Proxy-Authorization: Basic eDp5, TE: trailers, Accept: a, Accept: b",
    ...Array.from({ length: 300 }, (_, i) => `X-Many-${i}: 1`),
    "Impersonate-Group: after-many",
  ];
  const named = ["Connection", "close, X-Hop , impersonate-user,authorization", "Connection", "Impersonate-Group, content-length"];
  const tricks = [...lines.join(", ").split(/: |, /), ...named];
  const body = "p".repeat(200_000);
  const answer = await client.ask("/clusters/c-echo/api/v1/pods?a=%2F..%2F&a=b", ADA, { method: "POST", headers: tricks, body });
  assert.equal(answer.status, 200, answer.body);
  const [seen, ...more] = echo.seen.splice(0);
  assert.equal(more.length, 0);
  assert.deepEqual([seen!.method, seen!.url, seen!.body], ["POST", "/api/v1/pods?a=%2F..%2F&a=b", body]);
  assert.deepEqual(valuesOf(seen!, "authorization"), [`Bearer ${await tokenOf(server, "u-ada")}`]);
  const wanted = [
    "impersonate-user: u-ada",
    ...[...GROUPS, "system:authenticated", "system:cattle:authenticated"].map((group) => `impersonate-group: ${group}`),
  ];
  wanted.push("impersonate-extra-principalid: github_user://7", "impersonate-extra-username: ada");
  const said = seen!.headers.filter(([name]) => /^impersonate|^x-understudy|^x-forwarded-user/.test(name)).map((pair) => pair.join(": "));
  assert.deepEqual(said.toSorted(), wanted.toSorted());
  for (const name of ["x-hop", "proxy-authorization", "te", "connection"]) assert.deepEqual(valuesOf(seen!, name), [], name);
  assert.deepEqual([valuesOf(seen!, "accept"), valuesOf(seen!, "x-many-299")], [["a", "b"], ["1"]]);
});

test("an upgraded connection goes through as the person, and a browser's token among its protocols does not", async () => {
  const headers = ["Sec-WebSocket-Protocol", `base64url.bearer.authorization.k8s.io.${Buffer.from(ADA).toString("base64url")}, v5.channel.k8s.io`];
  const upgraded = await client.upgrade("/clusters/c-echo/exec?command=a&command=b", ADA, "websocket", { headers });
  assert.ok(upgraded instanceof Upgraded, JSON.stringify(upgraded));
  await upgraded.says("a word");
  upgraded.socket.destroy();
  const [seen] = echo.seen.splice(0);
  assert.equal(seen!.url, "/exec?command=a&command=b");
  assert.deepEqual([valuesOf(seen!, "impersonate-user"), valuesOf(seen!, "sec-websocket-protocol")], [["u-ada"], ["v5.channel.k8s.io"]]);
});

test("a watch says what happens at once, and ends within seconds of the removal, because the loop of the configuration hears of it", async (t) => {
  await using loops = new AsyncDisposableStack();
  loops.use(await nginx.followRevocations());
  const watch = await startWatch("while-in");
  const began = performance.now();
  assert.equal((await house.hook("DELETE", "/v1/logins/u-ada")).status, 202);
  await house.waitFor(ONE, "u-ada", "removed");
  await assertForbidden(kubectl(ADA, "get configmaps --namespace team"), /removed/);
  await waitUntil("the watch ends", () => watch.child.exitCode !== null, { deadlineMs: 30_000 });
  t.diagnostic(`removed: the open watch ended after ${(performance.now() - began).toFixed(0)} ms`);
  await addConfigMap("after-removal");
  await loggedIn(house, "u-ada", ONE, { groups: GROUPS, extras });
  assert.equal((await kubectl(ADA, "get configmaps --namespace team")).code, 0);
});

test("who is not known gets 401, who has no access 403 or 404, each as a Status that says why", async () => {
  const unknown = await kubectl(NOBODY, "get pods");
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /You must be logged in to the server/);
  const cases: [number, string, string, RegExp][] = [
    [401, "/clusters/c-one/api", NOBODY, /does not know your token/],
    [401, "/clusters/c-one/api", "", /does not know your token/],
    [401, "/", NOBODY, /does not know your token/],
    [404, "/clusters/c-one/api", EVE, /no such subject/],
    [404, "/clusters/c-nowhere/api", ADA, /clusters that it is told/],
    [404, "/clusters/c-one/../c-nowhere/api", ADA, /clusters that it is told/],
    [404, "/", ADA, /clusters that it is told/],
  ];
  for (const [code, path, token, message] of cases) {
    const answer = await client.ask(path, token);
    assert.deepEqual([answer.status, statusIn(answer).kind, statusIn(answer).code], [code, "Status", code], `${path} ${answer.body}`);
    assert.match(statusIn(answer).message, message);
  }
  assert.equal((await client.ask("/understudy", ADA)).status, 404, "the question is not for clients");
  assert.equal((await client.ask("/clusters/c-one/api", ADA, { headers: ["Authorization", `Bearer ${BOB}`] })).status, 400, "two tokens are nobody's");
});

test("a cluster whose certificate another CA signed gets no credential", async () => {
  assert.equal((await client.ask("/clusters/c-strange/api", ADA)).status, 502);
  assert.match(await nginx.logs(), /certificate verify error/);
});

test("nothing goes on without Impersonate-User of the very person, whatever is answered instead", async () => {
  const answers: [number, Record<string, string>][] = [
    [200, {}],
    [200, { authorization: "Bearer x" }],
    [200, { authorization: "Bearer x", "impersonate-user": "u-bob" }],
    [200, { "impersonate-user": "u-ada" }],
    [204, { authorization: "Bearer x", "impersonate-user": "u-ada" }],
    [302, { location: "/" }],
    [500, {}],
  ];
  let next = answers[0]!;
  const understudy = createServer((_request, response) => void response.writeHead(...next).end()).listen(0, "127.0.0.1");
  cleanup.defer(() => understudy.close().closeAllConnections());
  await waitUntil("it listens", () => understudy.listening);
  await using other = await startNginx(`http://127.0.0.1:${(understudy.address() as AddressInfo).port}`);
  const through = new ProxyClient(other, server.serving.cert);
  echo.seen.splice(0);
  for (next of answers) {
    const answer = await through.ask("/clusters/c-echo/api", ADA, { headers: ["Impersonate-User", "u-ada"] });
    assert.deepEqual([answer.status, answer.headers["retry-after"]], [503, "1"], `${JSON.stringify(next)}: ${answer.body}`);
  }
  assert.deepEqual(echo.seen, []);
});

test("while Understudy is away nothing goes on, and when it is back all does", async () => {
  const { pid } = house.producer.child;
  echo.seen.splice(0);
  process.kill(pid!, "SIGSTOP");
  try {
    const answer = await client.ask("/clusters/c-echo/api", ADA);
    assert.deepEqual([answer.status, answer.headers["retry-after"], echo.seen], [503, "1", []], answer.body);
    assert.match(statusIn(answer).message, /Understudy does not answer/);
  } finally {
    process.kill(pid!, "SIGCONT");
  }
  assert.equal((await client.ask("/clusters/c-echo/api", ADA)).status, 200);
  assert.equal(await house.producer.stop(), 0);
  const answer = await client.ask("/clusters/c-echo/api", ADA, { headers: ["Impersonate-User", "u-ada"] });
  assert.deepEqual([answer.status, echo.seen.length], [503, 1], answer.body);
});

test("no token and no secret is in what nginx writes down", async () => {
  const secrets = new Map([ADA, BOB, EVE, SECRET, await tokenOf(server, "u-ada")].map((secret, i) => [`secret ${i}`, secret]));
  const logs = await nginx.logs();
  assert.match(logs, /u-ada "POST \/clusters\/c-echo/);
  assert.deepEqual(hunt(secrets, new Map([["nginx", logs]])), []);
});

// What goes over the example proxy's wires, request by request: a stand-in for the cluster notes what reaches it, one for Understudy says what it may use.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { after, before, beforeEach, test } from "node:test";
import { type ExampleProxy, PROXY } from "../support/example-proxy.ts";
import { type ProxyBench, openProxyBench } from "../support/proxy-bench.ts";
import { Upgraded, type ProxyClient, statusIn } from "../support/proxy-client.ts";
import { type ClusterStandIn, type UnderstudyStandIn, aCredential, echo, valuesOf } from "../support/stand-ins.ts";
import { waitUntil } from "../support/wait-until.ts";

const [BOB, ADA] = ["token-of-the-client-bob", "token-of-the-client-ada"];
const people = {
  [BOB]: { user: "u-bob", provider: "github", groups: ["github_org://1"], extras: { username: ["bob"] } },
  [ADA]: { user: "u-ada", provider: "github", groups: [] },
};
const GROUPS = [
  ["Impersonate-Group", "github_org://1"],
  ["Impersonate-Group", "github_team://Größe, 名前"],
  ["Impersonate-Extra-username", "bob"],
] as const;
const SECRETS = [BOB, ADA, "token-of-u-bob", "token-of-u-ada"];

const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());
let bench: ProxyBench;
let cluster: ClusterStandIn;
let understudy: UnderstudyStandIn;
let proxy: ExampleProxy;
let client: ProxyClient;

before(async () => {
  bench = await openProxyBench(cleanup, people);
  ({ cluster, understudy } = bench);
  ({ proxy, client } = await bench.start());
});
beforeEach(async () => {
  cluster.answer = (_request, response) => void response.end("{}");
  cluster.upgrade = echo;
  understudy.credential = async (user) => ({ status: 200, body: aCredential(cluster, user, user === "u-bob" ? GROUPS : []) });
  understudy.login = async () => ({ status: 200, body: { state: "ready" } });
  // Everything is asked anew: a reset ends what the test before has left.
  await waitUntil("the proxy follows", () => understudy.followers.length > 0);
  // There has to be a session that the reset ends.
  await client.ask("/clusters/c-one/before", ADA);
  understudy.logins.splice(0);
  understudy.tell("id: 9-9\nevent: reset\ndata: {}\n\n");
  await waitUntil("the reset is heard", async () => {
    await client.ask("/clusters/c-one/anew", ADA);
    return understudy.logins.length > 0;
  });
  understudy.logins.splice(0);
  cluster.seen.splice(0);
});

test("a request goes on as the person: the credential's headers repeated and in UTF-8, and nothing that the client says of who it is", async () => {
  const tricks = [
    ["impersonate-user", "admin", "IMPERSONATE-GROUP", "system:masters", "Impersonate-Uid", "1", "Impersonate-Extra-scopes", "x"],
    ["Connection", "close, X-Secret , impersonate-user,authorization", "Connection", "Impersonate-Group", "X-Secret", "1"],
    ["Proxy-Authorization", "Basic eDp5", "TE", "trailers", "Accept", "a", "Accept", "b"],
  ].flat();
  const answer = await client.ask("/clusters/c-one/api/v1/pods?a=%2F..%2F&a=b", BOB, { headers: tricks });
  assert.equal(answer.status, 200);
  const [seen, ...more] = cluster.seen;
  assert.equal(more.length, 0);
  assert.equal(seen!.url, "/api/v1/pods?a=%2F..%2F&a=b");
  assert.deepEqual(valuesOf(seen!, "authorization"), ["Bearer token-of-u-bob"]);
  assert.deepEqual(
    seen!.headers.filter(([name]) => name.startsWith("impersonate-")),
    ([["Impersonate-User", "u-bob"], ...GROUPS] as const).map(([name, value]) => [name.toLowerCase(), value]),
  );
  for (const name of ["x-secret", "proxy-authorization", "te"]) assert.deepEqual(valuesOf(seen!, name), [], name);
  assert.deepEqual(valuesOf(seen!, "accept"), ["a", "b"]);
  assert.deepEqual(valuesOf(seen!, "host"), [new URL(cluster.url).host]);
  assert.deepEqual(understudy.logins, [{ cluster: "c-one", ...people[BOB] }]);
});

test("a body reaches the cluster whole and as one request, whatever the client says of where it ends", async () => {
  const hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
  const bodies: [string, string, string[]][] = [
    ["POST", "p".repeat(200_000), []],
    ["DELETE", `{"kind":"DeleteOptions"}`, []],
    ["GET", hidden, ["Connection", "content-length"]],
    ["DELETE", hidden, ["Connection", "Content-Length, transfer-encoding"]],
  ];
  for (const [method, body, headers] of bodies) await client.ask("/clusters/c-one/x", BOB, { method, body, headers });
  const chunked = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`;
  const head = `GET /clusters/c-one/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${BOB}\r\nTransfer-Encoding: chunked\r\nConnection: close, transfer-encoding\r\n\r\n`;
  assert.match(await client.raw(head + chunked), /^HTTP\/1\.1 200 /);
  assert.deepEqual(
    cluster.seen.map(({ method, url, body }) => [method, url, body]),
    [...bodies.map(([method, body]) => [method, "/x", body]), ["GET", "/x", hidden]],
  );
});

test("what cannot be done is answered as a Kubernetes Status that says why, and no word of it is a token", async () => {
  const refused = async (status: number, reason: string | undefined, message: RegExp, path = "/clusters/c-one/api", token = BOB): Promise<void> => {
    const answer = await client.ask(path, token);
    const said = statusIn(answer);
    assert.deepEqual([answer.status, said.code, said.kind, said.status, said.reason], [status, status, "Status", "Failure", reason], answer.body);
    assert.match(said.message, message);
    assert.equal(answer.headers["retry-after"], status === 503 ? "7" : undefined);
    for (const secret of SECRETS) assert.ok(!answer.body.includes(secret) && !JSON.stringify(answer.headers).includes(secret));
  };
  await refused(401, "Unauthorized", /does not know your token/, undefined, "nonsense");
  await refused(401, "Unauthorized", /does not know your token/, undefined, "constructor");
  for (const path of ["/", "/clusters/", "/clusters/C/x", "/c/c-one", "/clusters/c-one/../c-two", "/clusters/c-one/a/%2E./b", "/clusters/c-one/."])
    await refused(404, "NotFound", /clusters\/<cluster>/, path);
  understudy.login = async () => ({ status: 403, body: { detail: "no binding of the user or its groups" } });
  await refused(403, "Forbidden", /no binding of the user/);
  understudy.login = async () => ({ status: 422, body: { detail: "groups[0] has the reserved prefix system:" } });
  await refused(403, "Forbidden", /reserved prefix/);
  understudy.login = async () => ({ status: 404, body: { detail: "cluster c-one is not configured" } });
  await refused(404, "NotFound", /not configured/);
  understudy.login = async () => ({ status: 202, body: { state: "pending" } });
  understudy.credential = async () => ({ status: 503, body: { detail: "pending" }, headers: { "retry-after": "7" } });
  await refused(503, "ServiceUnavailable", /pending/);
  understudy.credential = async () => ({ status: 200, body: { ...aCredential(cluster, "u-bob"), headers: [["Impersonate-Group", "a"]] } });
  const unnamed = await client.ask("/clusters/c-one/api", BOB);
  assert.deepEqual([unnamed.status, cluster.seen], [503, []], "without Impersonate-User nothing is sent at all");
});

test("a cluster that cannot be reached, or whose certificate is another's, is a 502", async () => {
  const other = { url: cluster.url, ca: "" };
  understudy.credential = async () => ({ status: 200, body: aCredential(other, "u-bob") });
  const untrusted = await client.ask("/clusters/c-one/api", BOB);
  assert.deepEqual([untrusted.status, cluster.seen], [502, []], untrusted.body);
  assert.match(statusIn(untrusted).message, /SELF_SIGNED|UNABLE_TO|CERT/);
  understudy.credential = async () => ({ status: 200, body: aCredential({ url: "https://127.0.0.1:1", ca: cluster.ca }, "u-ada") });
  understudy.revoke("u-ada", "10-1");
  await waitUntil("the port without a server is asked", async () => {
    const answer = await client.ask("/clusters/c-one/api", ADA);
    return answer.status === 502 && /ECONNREFUSED/.test(answer.body);
  });
});

test("after a 401 the person is logged in anew and the request sent once more, and whatever comes then is the answer", async () => {
  const answers = [401, 200, 401, 401, 401];
  cluster.answer = (_request, response) => void response.writeHead(answers.shift()!).end("{}");
  const known = proxy.retries.length;
  const first = await client.ask("/clusters/c-one/a", BOB, { method: "POST", body: "{}" });
  assert.deepEqual([first.status, cluster.seen.map(({ body }) => body), understudy.logins.length], [200, ["{}", "{}"], 2]);
  const second = await client.ask("/clusters/c-one/b", BOB);
  assert.deepEqual([second.status, cluster.seen.length, understudy.logins.length], [401, 4, 3]);
  assert.deepEqual(proxy.retries.slice(known), ["retry: POST as c-one/u-bob after 401", "retry: GET as c-one/u-bob after 401"]);
  const third = await client.ask("/clusters/c-one/c", BOB, { method: "POST", body: "p".repeat(100_000) });
  assert.deepEqual([third.status, cluster.seen.length], [401, 5], "a body that has gone by cannot be sent again");
});

test("a 403 is an answer; one from before flow control, where impersonation is judged, makes the next request log in anew", async () => {
  const flow = { "x-kubernetes-pf-flowschema-uid": "1" };
  const answers: Record<string, string>[] = [flow, {}, flow];
  cluster.answer = (_request, response) => void response.writeHead(403, answers.shift()).end("{}");
  const known = proxy.retries.length;
  for (const logins of [1, 1, 2]) {
    assert.equal((await client.ask("/clusters/c-one/a", BOB)).status, 403);
    assert.equal(understudy.logins.length, logins);
  }
  assert.deepEqual([cluster.seen.length, proxy.retries.length], [3, known]);
});

test("many first requests at once make one login", async () => {
  const answers = await Promise.all(Array.from({ length: 50 }, () => client.ask("/clusters/c-one/a", BOB)));
  assert.deepEqual([new Set(answers.map(({ status }) => status)), cluster.seen.length, understudy.logins.length], [new Set([200]), 50, 1]);
});

test("a client that leaves takes its request to the cluster along", async () => {
  let left = false;
  cluster.answer = (request, response) => {
    request.socket.once("close", () => (left = true));
    response.write("first ");
  };
  const open = await client.open("/clusters/c-one/watch", BOB);
  await open.hears("first ");
  open.message.destroy();
  await waitUntil("the cluster is left too", () => left);
});

for (const protocol of ["websocket", "SPDY/3.1"]) {
  test(`an upgraded connection (${protocol}) speaks in both directions, and ends on both sides with either`, async () => {
    const bearer = `v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.${Buffer.from(BOB).toString("base64url")}`;
    const headers = ["Sec-WebSocket-Protocol", bearer, "Impersonate-User", "admin"];
    const path = "/clusters/c-one/api/v1/namespaces/a/pods/b/exec?command=sh";
    const up = await client.upgrade(path, BOB, protocol, { method: protocol === "websocket" ? "GET" : "POST", headers });
    assert.ok(up instanceof Upgraded, JSON.stringify(up));
    assert.deepEqual([up.message.headers.upgrade, up.message.headers["x-kept"]], [protocol, "yes"]);
    await up.says("a word");
    assert.equal(up.heard, "hello a word");
    await up.says("x".repeat(2_000_000));
    const [seen] = cluster.seen;
    assert.deepEqual(valuesOf(seen!, "upgrade"), [protocol]);
    assert.deepEqual(valuesOf(seen!, "impersonate-user"), ["u-bob"]);
    assert.ok(!JSON.stringify(seen).includes(Buffer.from(BOB).toString("base64url")), "the client's token among the protocols");
    up.socket.destroy();
    await waitUntil("the cluster's side is gone", () => cluster.sockets.size === 0);
    cluster.upgrade = (_request, socket) =>
      void socket.end(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n${"y".repeat(2_000_000)}`);
    const last = (await client.upgrade(path, BOB, protocol)) as Upgraded;
    await last.end();
    assert.equal(last.heard.length, 2_000_000, "nothing of what was said last is lost");
  });
}

test("what the cluster says instead of an upgrade is the answer, and other protocols are no upgrade", async () => {
  cluster.upgrade = (_request, socket) => void socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone");
  const path = "/clusters/c-one/exec";
  const refused = await client.upgrade(path, BOB, "websocket");
  assert.ok(!(refused instanceof Upgraded));
  assert.deepEqual([refused.status, refused.body], [404, "none"]);
  const unknown = await client.upgrade(path, "nonsense", "websocket");
  assert.ok(!(unknown instanceof Upgraded));
  assert.deepEqual([unknown.status, statusIn(unknown).reason], [401, "Unauthorized"]);
  cluster.seen.splice(0);
  const h2c = await client.upgrade(path, BOB, "h2c");
  assert.ok(!(h2c instanceof Upgraded));
  assert.deepEqual([h2c.status, valuesOf(cluster.seen[0]!, "upgrade")], [200, []]);
});

test("without its settings it says which there are, and SIGTERM ends it with 0 although a stream is open", async () => {
  const runIt = async (args: string[]): Promise<[number, string]> => {
    const child = spawn(process.execPath, [PROXY, ...args], { env: {}, stdio: ["ignore", "ignore", "pipe"] });
    const [said, [code]] = await Promise.all([text(child.stderr), once(child, "close")]);
    return [code as number, said];
  };
  for (const [args, expected] of [[[], 2] as const, [["--help"], 0] as const]) {
    const [code, said] = await runIt([...args]);
    assert.equal(code, expected);
    assert.match(said, /PROXY_PEOPLE .*\n[\s\S]*PROXY_CREDENTIALS_SECRET/);
    assert.ok(!said.includes("import "));
  }
  const { proxy: own, client: ownClient } = await bench.start();
  cluster.answer = (_request, response) => void response.write("first ");
  const open = await ownClient.open("/clusters/c-one/watch", BOB);
  await open.hears("first ");
  own.child.kill("SIGTERM");
  assert.equal(await own.ended, 0, own.out.stderr);
  await open.end();
  for (const secret of SECRETS) assert.ok(!JSON.stringify([own.out, proxy.out]).includes(secret));
});

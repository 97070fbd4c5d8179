// The credentials listener as proxies use it: what it gives really acts as the person and as nobody else, costs no call twice, and shows in no log.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type Forwarded, type Given, forwardAuth, reviewWith } from "../support/credentials.ts";
import { openStream } from "../support/event-stream.ts";
import { callsDuring, loggedIn, metricOf, watched } from "../support/evidence.ts";
import { HOOK_SECRET, House, type Process } from "../support/house.ts";
import { dumpOf, hunt } from "../support/hunt.ts";
import { type Called, NAMESPACE, actAs, objectsOf, tokenOf } from "../support/impersonator.ts";
import { waitUntil } from "../support/wait-until.ts";

const ONE = "c-one";
const SECRET = "a-secret-for-credentials-0123456789";
const NEXT_SECRET = "the-next-secret-for-credentials-0123";
const LOGIN = { groups: ["github_org://1", "github_team://Größe, 名前"], extras: { principalid: ["github_user://7"], username: ["ada"] } };
let house: House;
/** Gives tokens of TokenRequests; has no forward authentication. */
let requesting: Process;
const tokens = new Map<string, string>();
before(async () => {
  house = await House.open({
    clusters: [ONE],
    workers: 1,
    management: false,
    settings: {
      UNDERSTUDY_CREDENTIALS_LISTEN: "127.0.0.1:0",
      UNDERSTUDY_CREDENTIALS_SECRETS: `${SECRET},${NEXT_SECRET}`,
      UNDERSTUDY_FORWARD_AUTH_USER_HEADER: "X-Forwarded-User",
      LOG_LEVEL: "trace",
    },
  });
  requesting = await house.start("producer", { UNDERSTUDY_TOKEN_MODE: "request", UNDERSTUDY_FORWARD_AUTH_USER_HEADER: "" });
  // Its resync takes each Secret of the other mode for a difference, and a watch begins by asking for one.
  for (const from of [house.producer, requesting]) await watched(house, ONE, "u-probe", from);
});
after(() => house?.[Symbol.asyncDispose]());

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly headers: Headers;
}
async function ask(body: unknown, { query = "", secret = SECRET, from = house.producer } = {}): Promise<Answer> {
  const response = await fetch(`${from.started["credentials"]}/v1/credentials${query}`, {
    method: "POST",
    headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  assert.equal(response.headers.get("cache-control"), "no-store");
  return { status: response.status, body: (await response.json()) as Record<string, unknown>, headers: response.headers };
}
async function given(user: string, how: Parameters<typeof ask>[1] = {}): Promise<Given> {
  const { status, body } = await ask({ cluster: ONE, user }, how);
  assert.equal(status, 200, JSON.stringify(body["detail"]));
  const credential = body as unknown as Given;
  tokens.set(`${user} ${tokens.size}`, credential.token);
  return credential;
}
async function assertRefused(asked: Promise<Answer>, expected: number, detail: RegExp): Promise<Answer> {
  const answer = await asked;
  assert.equal(answer.status, expected, JSON.stringify(answer.body));
  assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/);
  assert.match(String(answer.body["detail"]), detail);
  if (expected === 503) assert.match(answer.headers.get("retry-after") ?? "", /^[12]$/);
  return answer;
}

async function assertActsAsThePerson(user: string, credential: Given): Promise<void> {
  const { status, user: seen } = await reviewWith(credential);
  assert.equal(status, 201);
  assert.equal(seen["username"], user);
  assert.deepEqual([...(seen["groups"] as string[])].sort(), [...LOGIN.groups, "system:authenticated", "system:cattle:authenticated"].sort());
  assert.deepEqual(seen["extra"], LOGIN.extras);
  const { token } = credential;
  const cluster = house.cluster(ONE);
  for (const other of [
    { user: "u-stranger" },
    { user, groups: ["system:masters"] },
    { user, groups: ["github_org://2"] },
    { user, extras: { username: ["eve"] } },
  ])
    assert.equal((await actAs(cluster, token, other)).status, 403, JSON.stringify(other));
}
const secretReads = (calls: readonly Called[]): Called[] => calls.filter(({ agent, uri }) => agent.includes(" producer ") && /\/secrets\/|\/token/.test(uri));

test("the credential that is given acts as the person with every name of the role, and as nobody else, from a Secret and from a TokenRequest", async () => {
  const user = "u-ada";
  await loggedIn(house, user, ONE, LOGIN);
  const credential = await given(user);
  assert.equal(credential.server, house.cluster(ONE).url);
  assert.deepEqual(credential.headers[0], ["Impersonate-User", user]);
  assert.equal(credential.expiresAt, null);
  assert.equal(credential.token, await tokenOf(house.cluster(ONE), user));
  await assertActsAsThePerson(user, credential);
  const requested = await given(user, { from: requesting, secret: NEXT_SECRET });
  const lifeMs = Date.parse(String(requested.expiresAt)) - Date.now();
  assert.ok(lifeMs > 50 * 60_000 && lifeMs <= 61 * 60_000, `${lifeMs} ms`);
  assert.notEqual(requested.token, credential.token);
  await assertActsAsThePerson(user, requested);
});

test("many who ask at once cost one call, and the next nothing at all, because a proxy asks for every request", async () => {
  const user = "u-many";
  await loggedIn(house, user, ONE);
  for (const from of [house.producer, requesting]) {
    const cold = await callsDuring(house.cluster(ONE), () => Promise.all(Array.from({ length: 30 }, () => given(user, { from }))));
    assert.equal(secretReads(cold).length, 1, JSON.stringify(cold));
    const warm = await callsDuring(house.cluster(ONE), async () => {
      for (let i = 0; i < 20; i++) await given(user, { from });
    });
    // Lists are a producer's own looks at the cluster; nothing given needs one.
    assert.deepEqual(
      warm.filter(({ verb }) => verb !== "list"),
      [],
    );
  }
});

test("after a cold login `?wait` gives the credential in one step, and without it a pending subject is 503 with Retry-After", async () => {
  const user = "u-cold";
  house.cluster(ONE).pauseControllerManager();
  try {
    assert.equal((await house.hook("POST", "/v1/logins", { user, cluster: ONE, provider: "github" })).status, 202);
    await assertRefused(ask({ cluster: ONE, user }), 503, /^pending/);
    const held = given(user, { query: "?wait=5" });
    house.cluster(ONE).resumeControllerManager();
    assert.equal((await reviewWith(await held)).status, 201);
  } finally {
    house.cluster(ONE).resumeControllerManager();
  }
  for (const query of ["?wait=6", "?wait=", "?wait=1&wait=2"]) await assertRefused(ask({ cluster: ONE, user }, { query }), 400, /^wait: 0 to 5 seconds$/);
});

test("whoever was removed is refused by name of the reason, and whoever was never there is unknown", async () => {
  const user = "u-gone";
  await loggedIn(house, user, ONE);
  const { token } = await given(user);
  await house.hook("DELETE", `/v1/logins/${user}`);
  await house.waitFor(ONE, user, "removed");
  await assertRefused(ask({ cluster: ONE, user }), 403, /^removed/);
  await waitUntil("what was given is worth nothing", async () => (await actAs(house.cluster(ONE), token, { user })).status !== 201);
  await assertRefused(ask({ cluster: ONE, user: "u-nobody" }), 404, /no such subject/);
  await assertRefused(ask({ cluster: "c-nowhere", user }), 404, /cluster c-nowhere is not configured/);
});

test("a narrowed person gets the narrower headers at once, and a wider set is never given", async () => {
  const user = "u-narrow";
  await loggedIn(house, user, ONE, { groups: ["github_org://1", "github_org://2"] });
  const groupsIn = ({ headers }: Given): string[] =>
    headers.flatMap(([name, value]) => (name === "Impersonate-Group" && value.startsWith("github") ? [value] : []));
  assert.deepEqual(groupsIn(await given(user)), ["github_org://1", "github_org://2"]);
  await loggedIn(house, user, ONE, { groups: ["github_org://2"] });
  const credential = await given(user, { query: "?wait=5" });
  assert.deepEqual(groupsIn(credential), ["github_org://2"]);
  assert.equal((await reviewWith(credential)).status, 201);
});

test("a proxy hears of a narrowing and of a removal, because what the person has open goes on until the proxy cuts it", async () => {
  const user = "u-heard";
  await loggedIn(house, user, ONE, { groups: ["github_org://1", "github_org://2"] });
  const stream = await openStream(`${house.producer.started["credentials"]}/v1/revocations`, { authorization: `Bearer ${SECRET}` });
  try {
    const heard = (): unknown[] => stream.events().filter(({ data }) => (data as { user?: string }).user === user);
    await loggedIn(house, user, ONE, { groups: ["github_org://2"] });
    const narrowed = await house.waitFor(ONE, user, "ready");
    await waitUntil("the narrowing is heard", () => heard().length > 0);
    await house.hook("DELETE", `/v1/logins/${user}`);
    const removed = await house.waitFor(ONE, user, "removed");
    await waitUntil("the removal is heard", () => heard().length > 1);
    assert.deepEqual(
      stream.events().flatMap(({ event, data }) => ((data as { user?: string }).user === user ? [[event, data]] : [])),
      [
        ["revoked", { cluster: ONE, user, generation: narrowed.generation, kind: "narrowed" }],
        ["revoked", { cluster: ONE, user, generation: removed.generation, kind: "removed" }],
      ],
    );
  } finally {
    stream.close();
  }
});

test("only the listener's own secrets count, and nothing wrong is guessed at", async () => {
  for (const secret of ["not-a-secret-of-this-listener", HOOK_SECRET, ""]) {
    const answer = await assertRefused(ask({ cluster: ONE, user: "u-ada" }, { secret }), 401, /send Authorization: Bearer/);
    assert.equal(answer.headers.get("www-authenticate"), "Bearer");
  }
  await assertRefused(ask("{"), 400, /not JSON/);
  await assertRefused(ask({ cluster: ONE }), 400, /^user: /);
  await assertRefused(ask({ cluster: "C One", user: "u-ada" }), 400, /^cluster: /);
  await assertRefused(ask({ cluster: ONE, user: "u-ada", groups: [] }), 400, /groups/);
  await assertRefused(ask(`{"cluster":"${ONE}","user":"u-ada","user":"u-many"}`), 400, /"user" twice/);
});

test("a Secret that was replaced is not given: the subject is put right, and then its new token is", async () => {
  const user = "u-replaced";
  await loggedIn(house, user, ONE);
  const { secrets } = await objectsOf(house.cluster(ONE), user);
  const old = await tokenOf(house.cluster(ONE), user);
  await house.cluster(ONE).call("DELETE", `/api/v1/namespaces/${NAMESPACE}/secrets/${secrets[0].metadata.name}`);
  const credential = await waitUntil("the new token is given", async () => {
    const { status, body } = await ask({ cluster: ONE, user }, { query: "?wait=5" });
    return status === 200 ? (body as unknown as Given) : undefined;
  });
  assert.notEqual(credential.token, old);
  assert.equal((await reviewWith(credential)).status, 201);
});

const forward = (headers: readonly string[], from = house.producer): Promise<Forwarded> => forwardAuth(from.started["credentials"]!, headers);

test("forward authentication answers with the same as headers, each group in a line of its own, and an empty body", async () => {
  const user = "u-forward-ü";
  await loggedIn(house, user, ONE, LOGIN);
  const { headers, token } = await given(user);
  const named = ["x-understudy-secret", SECRET, "x-forwarded-user", Buffer.from(user).toString("latin1")];
  const ways = [
    ["x-understudy-cluster", ONE],
    ["x-forwarded-uri", `/${ONE}/api/v1/pods?watch=1`],
    ["x-forwarded-uri", `/k8s/clusters/${ONE}/api`],
    ["x-forwarded-uri", `/clusters/${ONE}`],
  ];
  for (const way of ways) {
    const { status, raw, text } = await forward([...named, ...way]);
    assert.deepEqual([status, text], [200, ""], way.join());
    const sorted = (pairs: readonly (readonly [string, string])[]): string[] => pairs.map(([name, value]) => `${name.toLowerCase()}: ${value}`).sort();
    assert.deepEqual(
      sorted(raw.filter(([name]) => name.startsWith("impersonate-") || name === "authorization")),
      sorted([...headers, ["authorization", `Bearer ${token}`]]),
    );
    assert.ok(raw.some(([name, value]) => name === "cache-control" && value === "no-store"));
  }
  const cluster = ["x-understudy-cluster", ONE];
  const refusals: readonly (readonly [status: number, headers: readonly string[], from?: Process])[] = [
    [401, [...named.slice(2), ...cluster]],
    [401, ["x-understudy-secret", HOOK_SECRET, ...named.slice(2), ...cluster]],
    [401, ["x-understudy-secret", SECRET, ...named, ...cluster]],
    [401, ["authorization", `Bearer ${SECRET}`, ...named.slice(2), ...cluster]],
    [401, [...named.slice(0, 2), ...cluster]],
    [400, [...named, ...named.slice(2), ...cluster]],
    [400, [...named, ...cluster, ...cluster]],
    [400, named],
    [400, [...named, "x-forwarded-uri", `/${ONE}/../c-two/api`]],
    [404, [...named, "x-understudy-cluster", "c-nowhere"]],
    [404, ["x-understudy-secret", SECRET, "x-forwarded-user", "u-nobody", ...cluster]],
    [404, [...named, ...cluster], requesting],
  ];
  for (const [expected, sent, from] of refusals)
    assert.equal((await forward(sent, from)).status, expected, JSON.stringify(sent.filter((text) => text !== SECRET)));
  assert.match((await forward([...named, ...cluster], requesting)).text, /UNDERSTUDY_FORWARD_AUTH_USER_HEADER/);
});

test("while Redis does not answer it is 503, although the token is in memory: whether it may be given is not", async (t) => {
  await given("u-ada");
  await house.redis.kill("SIGSTOP");
  try {
    const began = performance.now();
    await assertRefused(ask({ cluster: ONE, user: "u-ada" }), 503, /ledger does not answer/);
    t.diagnostic(`${Math.round(performance.now() - began)} ms`);
  } finally {
    await house.redis.kill("SIGCONT");
  }
  await waitUntil("it is given again", async () => (await ask({ cluster: ONE, user: "u-ada" })).status === 200);
});

test("no token is in a log line, in Redis or in a metric, and every result is counted", async () => {
  const texts = await dumpOf(house.redis);
  for (const { name, lines, started } of house.processes) texts.set(`log of ${name} ${started["id"]}`, lines.map((line) => JSON.stringify(line)).join("\n"));
  for (const { started } of house.processes) texts.set(`metrics of ${started["id"]}`, await (await fetch(`${started["ops"]}/metrics`)).text());
  const secrets = new Map([...tokens, ["the secret", SECRET], ["the next secret", NEXT_SECRET]]);
  assert.ok(tokens.size > 100);
  assert.deepEqual(hunt(secrets, texts), []);
  const said = (msg: string): boolean => house.processes.some(({ lines }) => lines.some((line) => line["msg"] === msg));
  assert.ok(said("credential given") && said("credential refused"));
  const results: readonly string[] = ["given", "unauthenticated", "refused", "unknown", "unavailable", "wrong"];
  for (const result of results) assert.ok((await metricOf([house.producer], "understudy_credentials_total", { result })) > 0, result);
  assert.ok((await metricOf([requesting], "understudy_token_age_seconds_count")) > 0);
});

test("a producer that is told to stop ends within seconds although proxies listen, and they see the end", async () => {
  const stream = await openStream(`${requesting.started["credentials"]}/v1/revocations`, { authorization: `Bearer ${SECRET}` });
  const began = performance.now();
  assert.equal(await requesting.stop(), 0);
  assert.ok(performance.now() - began < 5_000, `${performance.now() - began} ms`);
  await waitUntil("the stream has ended", () => stream.ended());
});

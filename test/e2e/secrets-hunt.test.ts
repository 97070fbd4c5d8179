// After a whole run of all that gives tokens away, in both token modes and with faults whose answers carry more of them, no place that people or machines
// read holds a secret: logs, Redis with its jobs, metrics, the dashboard, what is refused. What a hook and a worker do is test/api/secrets.test.ts's.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { forwardAuth, reviewWith } from "../support/credentials.ts";
import { openStream } from "../support/event-stream.ts";
import { loggedIn, watched } from "../support/evidence.ts";
import type { RequestSeen, Verdict } from "../support/fault-proxy.ts";
import { HOOK_SECRET, type House, type Process } from "../support/house.ts";
import { dumpOf, hunt, logsOf, metricsOf, pagesOf } from "../support/hunt.ts";
import { deleteCrtb, putCrtb, putUser } from "../support/rancher-objects.ts";
import { type TrappedHouse, openTrappedHouse } from "../support/traps.ts";
import { waitUntil } from "../support/wait-until.ts";

/** The cluster's id is what is planted: it is no secret, and may be anywhere. */
const CLUSTER = "c-planted-4730";
const [SECRET, NEXT_SECRET, PASSWORD] = ["canary-of-the-credentials-4731", "canary-of-credentials-to-come-4732", "canary-password-4733"];
const [BODY, WRONG, BEARER] = ["canary in a cluster's answer 4734", "canary-in-a-wrong-body-4735", "canary-guessed-secret-4736"];
const DEADLINE = { deadlineMs: 60_000 };
let trapped: TrappedHouse;
let house: House;
let modes: Process[];
const secrets = new Map([HOOK_SECRET, SECRET, NEXT_SECRET, PASSWORD, BODY, WRONG, BEARER].map((secret) => [secret.slice(0, 24), secret]));
/** Place → all that was read there. */
const heard = new Map<string, string>();
const keep = (place: string, ...said: unknown[]): void => void heard.set(place, `${heard.get(place) ?? ""}\n${JSON.stringify(said)}`);
const learn = (name: string, token: string): void => void secrets.set(`${name} ${secrets.size}`, token);

interface Answer {
  readonly status: number;
  readonly text: string;
}
/** What a listener says. A given credential is learnt; everything else is kept, to be searched. */
async function ask(from: Process, body: unknown, secret = SECRET, query = "?wait=5"): Promise<Answer> {
  const response = await fetch(`${from.started["credentials"]}/v1/credentials${query}`, {
    method: "POST",
    headers: { authorization: `Bearer ${secret}` },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  const [status, text] = [response.status, await response.text()];
  if (status === 200) learn("a token that was given", (JSON.parse(text) as { token: string }).token);
  else keep("refused by the credentials", status, text, ...response.headers);
  return { status, text };
}
async function askForward(from: Process, user: string, secret = SECRET, more: string[] = []): Promise<number> {
  const named = ["x-understudy-secret", secret, "x-forwarded-user", user, "x-understudy-cluster", CLUSTER, ...more];
  const { status, raw, text } = await forwardAuth(from.started["credentials"]!, named);
  if (status === 200) learn("a token in a header", raw.find(([name]) => name === "authorization")![1].slice("Bearer ".length));
  else keep("refused by forward-auth", status, text, raw);
  return status;
}
async function bind(user: string): Promise<void> {
  await putUser(house.management!, user);
  await putCrtb(house.management!, CLUSTER, user, { userName: user });
  await house.waitFor(CLUSTER, user, "ready", DEADLINE);
}

/** Access that comes, changes and goes, and everybody who may gets a token by every way there is. */
async function live(): Promise<void> {
  for (const user of ["u-ada", "u-bob"]) await bind(user);
  // A producer's first resyncs take each Secret of the other mode for a difference.
  for (const from of modes) await watched(house, CLUSTER, "u-ada", from);
  const stream = await openStream(`${house.producer.started["credentials"]}/v1/revocations`, { authorization: `Bearer ${SECRET}` });
  await loggedIn(house, "u-ada", CLUSTER, { groups: ["github_org://1", "github_org://2"], extras: { username: ["ada"] } });
  for (const from of modes) {
    for (const user of ["u-ada", "u-bob"]) {
      const { status, text } = await ask(from, { cluster: CLUSTER, user });
      assert.equal(status, 200, text);
      assert.equal((await reviewWith(JSON.parse(text))).status, 201);
      assert.equal(await askForward(from, user, NEXT_SECRET), 200);
    }
  }
  await loggedIn(house, "u-ada", CLUSTER, { groups: ["github_org://1"] });
  await deleteCrtb(house.management!, CLUSTER, "u-bob");
  await house.waitFor(CLUSTER, "u-bob", "removed", DEADLINE);
  for (const user of ["u-ada", "u-bob"]) await waitUntil(`a stream says what ${user} lost`, () => stream.text().includes(`"user":"${user}"`));
  stream.close();
  keep("the stream of revocations", stream.text(), stream.response.headers);
  for (const from of modes) assert.equal((await ask(from, { cluster: CLUSTER, user: "u-bob" })).status, 403);
}

/** The cluster answers whoever asks for a token with errors, and with successes that are none; each body has a secret. */
async function failToGiveTokens(): Promise<void> {
  const status = JSON.stringify({ kind: "Status", status: "Failure", code: 500, reason: BODY, message: BODY, details: { causes: [{ message: BODY }] } });
  const wrongs: { answer: number; body: string }[] = [
    { answer: 500, body: status },
    { answer: 403, body: status },
    { answer: 503, body: `<html>${BODY}</html>` },
    { answer: 200, body: `{"data": {"token": "${BODY}"` },
    { answer: 200, body: JSON.stringify({ data: { other: BODY }, status: { token: BODY, expirationTimestamp: BODY } }) },
    { answer: 200, body: JSON.stringify(BODY) },
  ];
  await bind("u-cleo");
  for (const wrong of wrongs) {
    const told = new Set<string>();
    const tokenCall = ({ userAgent, path }: RequestSeen): Verdict => {
      if (!userAgent.includes(" producer ") || !/\/secrets\/|\/token$/.test(path)) return undefined;
      told.add(userAgent);
      return wrong;
    };
    trapped.at(CLUSTER).giveAll(tokenCall);
    const undo = trapped.at(CLUSTER).give("u-cleo", "GET Secret", (request) => tokenCall(request));
    for (const from of modes) {
      // A Secret without a token is looked at, and meanwhile nobody asks the cluster.
      await house.waitFor(CLUSTER, "u-cleo", "ready", DEADLINE);
      assert.equal((await ask(from, { cluster: CLUSTER, user: "u-cleo" }, SECRET, "")).status, 503, wrong.body);
      assert.equal(await askForward(from, "u-cleo"), 503, wrong.body);
    }
    assert.equal(told.size, modes.length, `each of them was told ${wrong.body}`);
    undo();
  }
  trapped.at(CLUSTER).giveAll(undefined);
  for (const from of modes)
    await waitUntil("tokens are given again", async () => (await ask(from, { cluster: CLUSTER, user: "u-cleo" })).status === 200, DEADLINE);
}

/** New credentials in the cluster's kubeconfig, then a broken one with them inside, then the good one again. */
async function rotate(): Promise<void> {
  const path = join(house.clustersDir, `${CLUSTER}.yaml`);
  const tokenIn = (text: string): string => /token: "?([^"\s]+)/.exec(text)![1]!;
  const said = (msg: string): number => house.processes.filter(({ lines }) => lines.some((line) => line["msg"] === msg)).length;
  learn("the first kubeconfig's token", tokenIn(await readFile(path, "utf8")));
  const next = await house.cluster(CLUSTER).workerKubeconfig(trapped.at(CLUSTER).proxy.url);
  learn("the next kubeconfig's token", tokenIn(next));
  assert.notEqual(tokenIn(next), secrets.get([...secrets.keys()].at(-2)!));
  await writeFile(path, next);
  const { seen } = trapped.at(CLUSTER).proxy;
  const uses = ({ started }: Process): boolean =>
    seen.some(({ userAgent, authorization }) => userAgent.endsWith(` ${started["id"]}`) && authorization.endsWith(tokenIn(next)));
  await waitUntil("all use the new credentials", () => [...modes, ...house.workers].every(uses), DEADLINE);
  await writeFile(path, next.replace(/token: (\S+)/, "token: [$1, {$1: $1"));
  await waitUntil("all say that it is broken", () => said("kubeconfig cannot be used") === 3, DEADLINE);
  await writeFile(path, next);
  await bind("u-dora");
}

/** Everything that can be sent wrong, with a secret in each place that a value can be in. */
async function sendWrong(): Promise<void> {
  const bodies = [
    `{"${WRONG}`,
    WRONG,
    [WRONG],
    { cluster: WRONG, user: "u-ada" },
    { cluster: CLUSTER, user: [WRONG] },
    { cluster: CLUSTER, user: "u-ada", token: WRONG },
  ];
  bodies.push({ cluster: `${WRONG} `, user: "u-ada" });
  for (const from of modes) {
    for (const body of bodies.slice(0, 3).concat(bodies.slice(4))) assert.equal((await ask(from, body)).status, 400, JSON.stringify(body));
    assert.equal((await ask(from, { cluster: CLUSTER, user: "u-ada" }, BEARER)).status, 401);
    assert.equal((await ask(from, { cluster: CLUSTER, user: "u-ada" }, HOOK_SECRET)).status, 401);
    assert.equal((await ask(from, { cluster: CLUSTER, user: "u-ada" }, SECRET, `?wait=${WRONG}`)).status, 400);
    assert.equal(await askForward(from, "u-ada", BEARER), 401);
    assert.equal(await askForward(from, "u-ada", SECRET, ["x-understudy-secret", NEXT_SECRET]), 401);
    assert.equal(await askForward(from, "u-ada", SECRET, ["x-forwarded-user", WRONG]), 400);
    const unknown = await fetch(`${from.started["credentials"]}/v1/${WRONG}?token=${WRONG}`, { headers: { authorization: `Bearer ${SECRET}` } });
    keep("refused by the credentials", unknown.status, await unknown.text());
    const stream = await openStream(`${from.started["credentials"]}/v1/revocations`, { authorization: `Bearer ${BEARER}`, "last-event-id": WRONG });
    assert.equal(stream.response.statusCode, 401);
    stream.close();
  }
  for (const text of [`{"${WRONG}`, JSON.stringify({ user: "u-ada", provider: "github", groups: [{ a: WRONG }], extras: { username: WRONG } })]) {
    const { status, body } = await house.hook("POST", "/v1/logins", text);
    assert.equal(status, 400);
    keep("refused by the hook", status, body);
  }
  const { status, body } = await house.hook("POST", "/v1/logins", "{}", { authorization: `Bearer ${BEARER}` });
  assert.equal(status, 401);
  keep("refused by the hook", status, body);
}

before(async () => {
  trapped = await openTrappedHouse({
    clusters: [CLUSTER],
    workers: 1,
    settings: {
      UNDERSTUDY_CREDENTIALS_LISTEN: "127.0.0.1:0",
      UNDERSTUDY_CREDENTIALS_SECRETS: `${SECRET},${NEXT_SECRET}`,
      UNDERSTUDY_FORWARD_AUTH_USER_HEADER: "X-Forwarded-User",
      UNDERSTUDY_DASHBOARD_USERS: `ann:${PASSWORD}`,
    },
  });
  house = trapped.house;
  modes = [house.producer, await house.start("producer", { UNDERSTUDY_TOKEN_MODE: "request" })];
  const dashboard = await house.start("dashboard");
  await live();
  await failToGiveTokens();
  await rotate();
  await sendWrong();
  const authorization = `Basic ${Buffer.from(`ann:${PASSWORD}`).toString("base64")}`;
  for (const found of [logsOf(house), await dumpOf(house.redis), await metricsOf(house), await pagesOf(dashboard, authorization)])
    for (const [place, text] of found) heard.set(place, text);
});
after(() => trapped?.[Symbol.asyncDispose]());

const placesWith = (start: string): Map<string, string> => new Map([...heard].filter(([place]) => place.startsWith(start)));

test("the hunt finds what was planted in every kind of place, and a secret in a log line: what it does not find is not there", () => {
  const planted = new Map([["planted", CLUSTER]]);
  for (const start of ["log of producer", "log of worker", "redis", "metrics of producer", "metrics of worker", "dashboard", "refused by", "the stream"])
    assert.ok(hunt(planted, placesWith(start)).length > 0, start);
  for (const [name, secret] of secrets)
    for (const text of [secret, Buffer.from(secret).toString("base64"), JSON.stringify(JSON.stringify({ secret }))]) {
      const log = new Map([...placesWith("log of"), ["a log", `${JSON.stringify({ level: 20, msg: "planted" })} ${text}`]]);
      assert.deepEqual([...new Set(hunt(new Map([[name, secret]]), log).map(({ place }) => place))], ["a log"], name);
    }
});

test("the run that is searched gave tokens in both modes, met every kind of fault and logged at debug", () => {
  const text = (start: string): string => [...placesWith(start).values()].join("\n");
  for (const msg of ["credential given", "credential refused", "access revoked", "login refused", "kubeconfig cannot be used", "subject looked at"])
    assert.ok(text("log of").includes(`"msg":"${msg}"`), msg);
  assert.match(text("refused by the credentials"), /gives no token: 500/);
  assert.match(text("metrics of producer"), /understudy_credentials_total\{result="unavailable"\} [1-9]/);
  assert.match(text("dashboard"), /"name":"(binding|login|deletion)"/);
  assert.ok(new Set(secrets.values()).size === 7 + 2 + 6, `${new Set(secrets.values()).size} secrets`);
});

for (const start of ["log of", "redis", "metrics of", "dashboard", "refused by", "the stream of revocations"]) {
  test(`no secret is in ${start} …, because more people and machines read it than may know one`, () => {
    assert.ok(placesWith(start).size > 0);
    assert.deepEqual(hunt(secrets, placesWith(start)), []);
  });
}

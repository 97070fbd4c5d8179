// The dashboard over HTTP, as a browser, a probe and somebody who should not be there would use it, on a real Redis with real jobs.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, test } from "node:test";
import type { Store } from "../../shared/run/redis.ts";
import { openStore } from "../../shared/run/redis.ts";
import { PASSWORD, USERS, ask, basic, dashboardOn } from "../support/dashboard.ts";
import { toldGrant } from "../support/ledger.ts";
import type { TestRedis } from "../support/redis.ts";
import { startRedis } from "../support/redis.ts";
import { waitUntil } from "../support/wait-until.ts";

const lines: string[] = [];
const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());
const redis = cleanup.adopt(await startRedis(), (server) => server.stop());
const store = cleanup.use(await openStore(redis.url, "understudy", 5_000, () => undefined));
for (const user of ["u-alice", "u-bob", "u-<script>"])
  await store.ledger.submit({ cluster: "c-amber", user }, { grants: [toldGrant("1")] }, "binding", "binding");
const open = cleanup.use(await startOn(redis));
const closed = cleanup.use(await startOn(redis, { UNDERSTUDY_DASHBOARD_USERS: USERS }));

interface Job {
  readonly name: string;
  readonly data: unknown;
  readonly externalUrl: unknown;
}
function startOn(server: TestRedis, settings: Readonly<Record<string, string>> = {}) {
  return dashboardOn(server, settings, lines);
}
const jobCounts = async ({ queues }: Store) =>
  Promise.all(Object.values(queues).map(async (queue) => ({ counts: await queue.getJobCounts(), paused: await queue.isPaused() })));

test("the page and all that it loads is served, under a policy that lets it run and loads nothing from elsewhere", async () => {
  const home = await ask(`${open.url}/`);
  assert.deepEqual([home.status, home.headers["content-type"]], [200, "text/html; charset=utf-8"]);
  const page = await ask(`${open.url}/queues`);
  assert.equal(page.status, 200);
  assert.match(page.text, /<title>Understudy<\/title>/);
  const policy = String(page.headers["content-security-policy"]);
  assert.match(policy, /default-src 'none'.*script-src 'self';.*connect-src 'self'.*frame-ancestors 'none'/);
  assert.match(policy, /form-action 'self'/);
  // Over plain http a browser would ask for https, where nobody listens.
  assert.doesNotMatch(policy, /upgrade-insecure-requests|https?:/);
  for (const [tag] of page.text.matchAll(/<script[^>]*>/g))
    assert.match(tag, /src="static\/|type="application\/json"/, "a script in the page itself would be blocked");
  const assets = [...page.text.matchAll(/(?:src|href)="(static\/[^"]+)"/g)].map((match) => match[1]!);
  assert.ok(assets.length >= 5, String(assets));
  for (const asset of assets) assert.equal((await ask(new URL(asset, `${open.url}/queues/`).href)).status, 200, asset);
});

test("what it answers is kept by nobody, told to nobody, and taken for what it says it is", async () => {
  for (const path of ["/", "/queues", "/queues/api/queues", "/readyz", "/nowhere"]) {
    const { headers } = await ask(open.url + path);
    const strict = ["cache-control", "x-content-type-options", "x-frame-options", "referrer-policy"].map((name) => headers[name]);
    // With no-referrer a browser would not say where a form was sent from.
    assert.deepEqual(strict, ["no-store", "nosniff", "DENY", "same-origin"], path);
  }
});

test("each job is shown under its subject, in its own queue, with a cause to read and the way to its subject's page", async () => {
  const { status, text } = await ask(`${open.url}/queues/api/queues?activeQueue=binding&status=waiting&page=1&jobsPerPage=10`);
  assert.equal(status, 200);
  const { queues } = JSON.parse(text) as {
    queues: { name: string; readOnlyMode: boolean; allowRetries: boolean; counts: { waiting: number }; jobs: Job[] }[];
  };
  assert.deepEqual(
    queues.map(({ name, readOnlyMode, allowRetries }) => [name, readOnlyMode, allowRetries]),
    ["binding", "login", "deletion"].map((name) => [name, true, false]),
  );
  const jobs = queues[0]!.jobs.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  assert.deepEqual(
    jobs.map(({ name, data, externalUrl }) => ({ name, data, externalUrl })),
    ["u-<script>", "u-alice", "u-bob"].map((user) => ({
      name: `c-amber/${user}`,
      data: { v: 1, cluster: "c-amber", user, cause: "binding" },
      externalUrl: { href: `/subject?cluster=c-amber&user=${encodeURIComponent(user)}`, displayText: "its person's page" },
    })),
  );
});

test("every write is refused before bull-board hears of it, and changes nothing", async () => {
  const before = await jobCounts(store);
  const json = { "content-type": "application/json" };
  const writes = [
    ["PUT", "/queues/api/queues/pause"],
    ["PUT", "/queues/api/queues/resume"],
    ["PUT", "/queues/api/queues/binding/pause"],
    ["PUT", "/queues/api/queues/binding/retry/failed"],
    ["PUT", "/queues/api/queues/binding/1/retry"],
    ["PUT", "/queues/api/queues/binding/1/clean"],
    ["PUT", "/queues/api/queues/binding/1/promote"],
    ["PUT", "/queues/api/queues/binding/clean/completed"],
    ["PUT", "/queues/api/queues/binding/empty"],
    ["PUT", "/queues/api/queues/binding/obliterate"],
    ["POST", "/queues/api/queues/binding/add"],
    ["PATCH", "/queues/api/queues/binding/1/update-data"],
    ["PUT", "/queues/api/queues/binding/concurrency"],
    ["DELETE", "/queues/api/queues/binding/1"],
    ["DELETE", "/queues"],
    ["POST", "/"],
    ["POST", "/readyz"],
    ["OPTIONS", "/queues"],
    ["PUT", "/nowhere"],
    ["PUT", "//queues/api/queues/pause"],
  ] as const;
  for (const [method, path] of writes) {
    const { status, headers, text } = await ask(open.url + path, method, json, "{ not json");
    assert.equal(status, 405, `${method} ${path}`);
    assert.deepEqual([headers["content-type"], headers["allow"]], ["application/problem+json; charset=utf-8", "GET, HEAD"]);
    assert.deepEqual(JSON.parse(text), { type: "about:blank", title: "Method not allowed", status: 405, detail: "the dashboard is read-only" });
    assert.equal((await ask(closed.url + path, method, { ...json, ...basic("olga", PASSWORD) }, "{}")).status, 405, `${method} ${path} with a password`);
  }
  await ask(`${open.url}/queues/api/queues/pause`, "GET", { "x-http-method-override": "PUT" });
  assert.deepEqual(await jobCounts(store), before);
});

test("with users each path but /readyz needs a name and its own password", async () => {
  const paths = ["/", "/queues", "/queues/", "/queues/api/queues", "/queues/static/images/logo.svg", "/queues/readyz", "/readyz/", "/nowhere"];
  const wrong = [
    {},
    basic("olga", "wrong-password"),
    basic("olga", "password-of-piet"),
    basic("nobody", PASSWORD),
    basic("", ""),
    basic("olga", ""),
    { authorization: `Bearer ${PASSWORD}` },
    { authorization: "Basic %%%" },
  ];
  for (const path of paths) {
    for (const headers of wrong) {
      const { status, headers: answered, text } = await ask(closed.url + path, "GET", headers);
      assert.equal(status, 401, `${path} ${JSON.stringify(headers)}`);
      assert.match(String(answered["www-authenticate"]), /^Basic realm="understudy"/);
      assert.equal((JSON.parse(text) as { status: number }).status, 401);
    }
  }
  assert.equal((await ask(`${closed.url}/queues`, "PUT")).status, 401);
  assert.equal((await ask(`${closed.url}/readyz`)).status, 503);
  for (const [name, password] of [
    ["olga", PASSWORD],
    ["piet", "password-of-piet"],
  ] as const) {
    for (const path of ["/queues", "/queues/api/queues", "/queues/static/images/logo.svg"])
      assert.equal((await ask(closed.url + path, "GET", basic(name, password))).status, 200);
  }
});

test("without users only a loopback Host is answered, because a foreign name that points here is somebody else's page", async () => {
  const { port } = new URL(open.url);
  const foreign = [
    "evil.example",
    `evil.example:${port}`,
    "127.evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil.localhost",
    "192.0.2.1",
    "[2001:db8::1]",
    "127.0.0.1:x",
    "127.0.0.1@evil.example",
  ];
  for (const host of foreign) {
    for (const path of ["/", "/queues", "/queues/api/queues", "/readyz", "/nowhere"])
      assert.equal((await ask(open.url + path, "GET", { host })).status, 421, `${host} ${path}`);
  }
  for (const host of ["localhost", `localhost:${port}`, "LOCALHOST", `127.0.0.1:${port}`, "127.0.0.1", "127.1.2.3:80", "[::1]", `[::1]:${port}`])
    assert.equal((await ask(`${open.url}/queues`, "GET", { host })).status, 200, host);
  assert.equal((await ask(`${closed.url}/queues`, "GET", { host: "understudy.example", ...basic("olga", PASSWORD) })).status, 200);
});

test("without users it refuses to listen where others could reach it, and with users it does listen there", async () => {
  for (const listen of ["0.0.0.0:0", "[::]:0", "understudy.example:0"]) {
    await assert.rejects(
      async () => {
        await using _ = await startOn(redis, { UNDERSTUDY_DASHBOARD_LISTEN: listen });
      },
      /UNDERSTUDY_DASHBOARD_USERS/,
      listen,
    );
  }
  await using anywhere = await startOn(redis, { UNDERSTUDY_DASHBOARD_LISTEN: "0.0.0.0:0", UNDERSTUDY_DASHBOARD_USERS: USERS });
  assert.equal((await ask(`http://127.0.0.1:${new URL(anywhere.url).port}/queues`)).status, 401);
});

test("/readyz says why not until the import stands, and when Redis has gone; then no page tells the error's text", async () => {
  const own = await startRedis();
  await using _ = { [Symbol.asyncDispose]: () => own.stop() };
  await using dashboard = await startOn(own);
  const ready = async () => {
    const { status, text } = await ask(`${dashboard.url}/readyz`);
    return [status, text.trim()];
  };
  assert.deepEqual(await ready(), [503, "the import does not stand yet"]);
  await using ledgers = await openStore(own.url, "understudy", 5_000, () => undefined);
  assert.equal(await ledgers.ledger.importEnd(await ledgers.ledger.importBegin()), "ok");
  assert.deepEqual(await ready(), [200, "ok"]);
  await own.kill("SIGKILL");
  assert.deepEqual(await ready(), [503, "redis does not answer"]);
  const { status, text } = await ask(`${dashboard.url}/queues/api/queues`);
  assert.equal(status, 500);
  assert.deepEqual(JSON.parse(text), { error: { key: "ERRORS.INTERNAL_SERVER_ERROR" } });
  await own.restart();
  await waitUntil("the Redis that came back empty is seen", async () => (await ready())[1] === "the import does not stand yet");
});

test("it stops at once, although a browser holds a connection on which it has asked nothing", async () => {
  const dashboard = await startOn(redis);
  const socket = connect(Number(new URL(dashboard.url).port), "127.0.0.1");
  await once(socket, "connect");
  assert.equal((await ask(`${dashboard.url}/queues`)).status, 200);
  const cut = once(socket, "close");
  const began = performance.now();
  await dashboard[Symbol.asyncDispose]();
  await cut;
  assert.ok(performance.now() - began < 5_000);
});

test("no password and no address of Redis gets into a page, an answer or the log, which names the dashboard's address", async () => {
  const paths = [
    "/queues",
    "/queues/queue/binding",
    "/queues/api/queues?activeQueue=binding",
    "/queues/api/redis/stats",
    "/queues/api/queues/binding/workers",
    "/queues/api/queues/binding/1",
    "/queues/api/queues/binding/default-job-options",
    "/readyz",
    "/nowhere",
  ];
  const texts = await Promise.all(paths.map(async (path) => (await ask(closed.url + path, "GET", basic("olga", PASSWORD))).text));
  for (const secret of [PASSWORD, "password-of-piet", basic("olga", PASSWORD).authorization, redis.socket]) {
    for (const text of [...texts, ...lines]) assert.ok(!text.includes(secret), `${secret} in ${text.slice(0, 200)}`);
  }
  const said = (message: string) => lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ msg }) => msg === message);
  assert.ok(said("listener opened").some(({ address }) => address === closed.url));
  assert.ok(said("process started").some(({ dashboard, version }) => dashboard === closed.url && version === "1.2.3"));
});

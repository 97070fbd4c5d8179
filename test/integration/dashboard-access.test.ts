// Who the dashboard takes somebody for: by the header of an auth proxy in front of it, or because they sit at its own machine. Names and passwords are dashboard.test.ts's.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { openStore } from "../../shared/run/redis.ts";
import { ACTIONS } from "../../workers/dashboard/forms.ts";
import { ask, dashboardOn, send, tokenOf } from "../support/dashboard.ts";
import { toldGrant } from "../support/ledger.ts";
import { startRedis } from "../support/redis.ts";

const lines: string[] = [];
const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());
const redis = cleanup.adopt(await startRedis(), (server) => server.stop());
const store = cleanup.use(await openStore(redis.url, "understudy", 5_000, () => undefined));
const cluster = "c-amber";
await store.ledger.submit({ cluster, user: "u-bob" }, { grants: [toldGrant("1")] }, "binding", "binding");
const TRUSTED = { UNDERSTUDY_DASHBOARD_TRUSTED_HEADER: "X-Auth-Request-User", UNDERSTUDY_DASHBOARD_WRITE: "olga,Zoë" };
const behind = cleanup.use(await dashboardOn(redis, { ...TRUSTED, UNDERSTUDY_DASHBOARD_LISTEN: "0.0.0.0:0" }, lines));
const url = `http://127.0.0.1:${new URL(behind.url).port}`;
const by = (name: string | string[]) => ({ "x-auth-request-user": name });
/** As fetch and Node send it: each byte a character. */
const bytes = (name: string): string => Buffer.from(name).toString("latin1");

test("behind an auth proxy nobody is let in whom the header does not name, because then the proxy was passed by", async () => {
  const unnamed = [
    {},
    by(""),
    by(" "),
    by(["olga", "piet"]),
    by(["olga", "olga"]),
    by("\xff\xfe"),
    by("x".repeat(2_000)),
    { authorization: "Basic b2xnYTpvbGdh" },
  ];
  for (const headers of unnamed)
    for (const path of ["/", "/queues", "/queues/api/queues", "/queues/static/images/logo.svg", "/nowhere"])
      assert.equal((await ask(url + path, "GET", headers)).status, 401, `${JSON.stringify(headers).slice(0, 80)} ${path}`);
  for (const action of Object.values(ACTIONS)) assert.equal((await send(url, action, { cluster, csrf: await tokenOf("olga", store) })).status, 401);
  assert.equal((await ask(`${url}/readyz`)).status, 503, "probes have no proxy");
});

test("behind an auth proxy whom it names may look, by whatever Host it has, and write if named there too", async () => {
  for (const name of ["piet", "olga", bytes("Zoë")]) assert.equal((await ask(`${url}/queues`, "GET", { ...by(name), host: "understudy.example" })).status, 200);
  const pause = async (name: string, as = bytes(name)) => {
    const fields = { cluster, csrf: await tokenOf(name, store) };
    return (await send(url, ACTIONS.pause, fields, { ...by(as), host: "understudy.example" })).status;
  };
  assert.equal(await pause("piet"), 403);
  assert.equal(await pause("olga", "piet"), 403);
  assert.equal(await store.ledger.pausedAt(cluster), undefined);
  assert.equal(await pause("Zoë"), 303);
  assert.equal((await store.ledger.pausedAt(cluster))!.by, "Zoë");
  assert.equal(await store.ledger.resumeCluster(cluster), true);
});

test("on loopback without users everybody may write where `*` says so, and still no page of another name", async () => {
  await using local = await dashboardOn(redis, { UNDERSTUDY_DASHBOARD_WRITE: "*" }, lines);
  const { port } = new URL(local.url);
  const name = "somebody at the dashboard's own machine";
  const fields = { cluster, csrf: await tokenOf(name, store) };
  // A name that was made to point here (DNS rebinding) makes its page one of the same origin.
  const rebound = { host: `evil.example:${port}`, origin: `http://evil.example:${port}` };
  assert.equal((await send(local.url, ACTIONS.pause, fields, rebound)).status, 421);
  assert.equal((await send(local.url, ACTIONS.pause, { ...fields, csrf: "guessed" })).status, 403);
  assert.equal(await store.ledger.pausedAt(cluster), undefined);
  assert.equal((await send(local.url, ACTIONS.pause, fields)).status, 303);
  assert.equal((await store.ledger.pausedAt(cluster))!.by, name);
});

test("no token and no key of one gets into the log", async () => {
  const secrets = [await store.ledger.formsKey(), ...(await Promise.all(["olga", "piet", "Zoë"].map((name) => tokenOf(name, store))))];
  for (const secret of secrets) for (const line of lines) assert.ok(!line.includes(secret), line);
});

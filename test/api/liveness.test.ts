// What `ready` rests on: while somebody would have told of a change by another hand, a repeated login costs nothing; while nobody would, it is looked at first.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { nameOf } from "../../shared/names.ts";
import { loggedIn, watched } from "../support/evidence.ts";
import { assertActsAsExactly, callsSince, objectsOf } from "../support/impersonator.ts";
import { type ProxiedHouse, openProxiedHouse } from "../support/proxied-house.ts";
import { putCrtb, putUser } from "../support/rancher-objects.ts";
import { Vandal } from "../support/vandal.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const USER = "u-live";
/** A watch in which nothing comes is opened anew after 90 s. */
const LIVE_MS = 100_000;
const GROUPS = ["github_team://1"];
const LOGIN = { user: USER, cluster: CLUSTER, provider: "github", groups: GROUPS };
let proxied: ProxiedHouse;
before(async () => {
  proxied = await openProxiedHouse({ clusters: [CLUSTER], workers: 1, settings: { UNDERSTUDY_RESYNC: "30d" } });
  const { house } = proxied;
  await putUser(house.management!, USER);
  await putCrtb(house.management!, CLUSTER, USER, { userName: USER });
  await loggedIn(house, USER, CLUSTER, { groups: GROUPS });
  await watched(house, CLUSTER, USER);
});
after(() => proxied?.[Symbol.asyncDispose]());

const login = (query = "") => proxied.house.hook("POST", `/v1/logins${query}`, LOGIN);
const who = { user: USER, groups: GROUPS };

test("with a live watch a repeated login is answered ready without a job or a call, and what it says was true within the last minute and a half", async (t) => {
  const { house } = proxied;
  const server = house.cluster(CLUSTER);
  const row = await house.row(CLUSTER, USER);
  const { position } = await callsSince(server, 0);
  const ages: number[] = [];
  const first = Date.parse(String((await login()).body["verifiedAt"]));
  // Until an event, a bookmark or a new beginning of the quietest watch has moved it.
  const moved = await waitUntil(
    "verifiedAt moves",
    async () => {
      const { status, body } = await login();
      assert.deepEqual([status, body["state"]], [200, "ready"]);
      const verifiedAt = Date.parse(String(body["verifiedAt"]));
      ages.push(Date.now() - verifiedAt);
      return verifiedAt > first && verifiedAt;
    },
    { deadlineMs: 2 * LIVE_MS, everyMs: 1_000 },
  );
  t.diagnostic(`moved by ${moved - first} ms; ${Math.max(...ages)} ms old at most, in ${ages.length} logins`);
  assert.ok(Math.max(...ages) < LIVE_MS);
  const { loginEnds, ...rest } = (await house.row(CLUSTER, USER))!;
  assert.ok(loginEnds! > row!.loginEnds!, "each login renews its grant");
  assert.deepEqual(rest, { ...rest, generation: row?.generation, updatedAt: row?.updatedAt }, "and nothing else is stored");
  assert.deepEqual((await callsSince(server, position)).calls, []);
});

test("while one of the watches is refused a login is answered 202 and ready only after a look, because a change would have gone unheard", async (t) => {
  const { house } = proxied;
  const server = house.cluster(CLUSTER);
  const earlier = Date.parse(String((await login()).body["verifiedAt"]));
  const proxy = proxied.proxy(CLUSTER);
  const isWatch = ({ url, userAgent }: { url: string; userAgent: string }): boolean =>
    url.includes("watch=true") && url.includes("/clusterrolebindings") && userAgent.includes(" producer ");
  proxy.setRule((request) => (isWatch(request) ? { answer: 503 } : undefined));
  proxy.clear();
  proxy.cut();
  try {
    await waitUntil("the watch is refused", () => proxy.seen.some(isWatch));
    const secret = String((await objectsOf(server, USER)).secrets[0].metadata.name);
    const vandal = new Vandal(server, nameOf(USER), secret);
    await vandal.edit("clusterrolebindings", (object) => (object.subjects = []));
    // Nobody looks meanwhile, so that the answer is the hook's own.
    for (const { child } of house.workers) child.kill("SIGSTOP");
    const answer = await login().finally(() => house.workers.forEach(({ child }) => child.kill("SIGCONT")));
    assert.deepEqual([answer.status, answer.body["state"]], [202, "pending"]);
    const held = await login("?wait=5");
    assert.deepEqual([held.status, held.body["state"]], [200, "ready"]);
    await assertActsAsExactly(server, who);
    assert.ok(Date.parse(String(held.body["verifiedAt"])) > earlier, "verifiedAt moves with the look");
    const { position } = await callsSince(server, 0);
    assert.equal((await login("?wait=5")).status, 200);
    const { calls } = await callsSince(server, position);
    assert.deepEqual(
      calls
        .filter(({ agent }) => agent.includes(" worker "))
        .map(({ verb }) => verb)
        .sort(),
      ["get", "get", "get", "list"],
      "each login looks",
    );
  } finally {
    proxy.setRule(undefined);
  }
  const began = Date.now();
  await watched(house, CLUSTER, USER);
  t.diagnostic(`live again after ${Date.now() - began} ms`);
});

test("a watch that was cut and goes on from its last version is live again without a look at everybody, because it missed nothing", async () => {
  const { house } = proxied;
  const proxy = proxied.proxy(CLUSTER);
  proxy.clear();
  proxy.cut();
  const kinds = ["clusterroles", "clusterrolebindings", "serviceaccounts", "secrets", "namespaces"];
  const opened = (kind: string): boolean =>
    proxy.seen.some(({ url, userAgent }) => url.includes(`/${kind}?`) && url.includes("watch=true") && userAgent.includes(" producer "));
  await waitUntil("every watch is open again", () => kinds.every(opened));
  await watched(house, CLUSTER, USER);
  const lists = proxy.seen.filter(({ url, userAgent }) => userAgent.includes(" producer ") && !url.includes("watch=true"));
  assert.deepEqual(
    lists.map(({ url }) => url),
    [],
  );
});

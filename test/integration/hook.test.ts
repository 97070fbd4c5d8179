// Logins and their ends through the hook, on a real ledger: what it answers while it does not know, and what an end reaches.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Bindings } from "../../producers/bindings.ts";
import { openHook } from "../../producers/hook.ts";
import { dropProvider, endLogins } from "../../producers/logins.ts";
import { type Config, configFrom } from "../../shared/run/config.ts";
import { openLog } from "../../shared/run/log.ts";
import { openMetrics } from "../../shared/run/metrics.ts";
import { type Bench, DAY, alice, benchOn, redisForFile } from "../support/ledger.ts";
import { signed } from "../support/signed.ts";
import { CLUSTER, TEAM, aCrtb, bindingsAt, decisionOn, loginParts } from "../support/told.ts";

const { redis } = await redisForFile();
const SECRET = "a-plain-secret-of-one-proxy-0123456789";
const bearer = { authorization: `Bearer ${SECRET}` };
const read = configFrom({ UNDERSTUDY_HOOK_SECRETS: SECRET });
assert.ok("config" in read);
const { config } = read;

/** A hook with a clock that the test holds. */
function hookOn({ ledger }: Bench, bindings: Bindings, source: Config["source"]) {
  const clock = { now: Date.now() };
  const settings = { ...config, source };
  const parts = { ledger, bindings, config: settings, policy: settings, log: openLog("silent"), metrics: openMetrics() };
  const app = openHook({ ...parts, clusters: () => [CLUSTER], seenAt: async () => clock.now, now: () => clock.now });
  const logsIn = async (groups: readonly string[] = []): Promise<number> => {
    const payload = JSON.stringify({ user: alice.user, cluster: CLUSTER, provider: "github", groups });
    return (await app.inject({ method: "POST", url: "/v1/logins", headers: bearer, payload })).statusCode;
  };
  return { app, clock, logsIn };
}

test("a login gets 503 and never 403 while the sources have not been read, although the mark of the producer before stands, because nobody is known yet", async () => {
  const bench = benchOn(redis);
  await bench.import();
  const bindings = new Bindings();
  const { logsIn } = hookOn(bench, bindings, "rancher");
  assert.equal(await logsIn([TEAM]), 503);
  bindings.loaded = true;
  assert.equal(await logsIn([TEAM]), 403);
  bindings.put(aCrtb("team", { group: TEAM }, "5"));
  assert.equal(await logsIn([TEAM]), 202);
});

test("a signed end in the second of a login ends it, because a signature tells whole seconds and the login came before", async () => {
  const bench = benchOn(redis);
  await bench.import();
  const { app, clock, logsIn } = hookOn(bench, new Bindings(), "logins");
  const second = Math.floor(Date.now() / 1000) * 1000 - 10_000;
  clock.now = second + 700;
  assert.equal(await logsIn(), 202);
  assert.equal((await bench.ledger.record(alice))?.login?.at, second + 700);
  clock.now = second + 800;
  const url = `/v1/logins/${alice.user}`;
  const end = () => app.inject({ method: "DELETE", url, headers: signed(SECRET, `DELETE ${url}`, { at: clock.now }) });
  assert.equal((await end()).statusCode, 202);
  assert.equal((await bench.ledger.record(alice))?.login?.end, second + 800);

  clock.now = second + 900;
  assert.equal(await logsIn(), 202);
  assert.equal((await bench.ledger.record(alice))?.login?.at, second + 900, "a login after it counts, in the same second too");
});

test("the end of a login gets 503 while the import does not stand, because nothing says where the user is", async () => {
  const { app } = hookOn(benchOn(redis), new Bindings(), "logins");
  assert.equal((await app.inject({ method: "DELETE", url: `/v1/logins/${alice.user}`, headers: bearer })).statusCode, 503);
});

// After a lost Redis -----------------------------------------------------------------------------------------------------------------------------------------

test("the end of a login is told to the clusters whose roles have not been read since the ledger began anew, and to no others, because a role may remember it there", async () => {
  const bench = benchOn(redis);
  const { ledger, now } = bench;
  await ledger.noteCluster("c-unread", { forgottenAt: 2_000, lastResync: 1_000 });
  await ledger.noteCluster("c-read", { forgottenAt: 1_000, lastResync: 2_000 });
  const at = await now();
  await endLogins(loginParts(bench, new Bindings(), ["c-unread", "c-read", "c-new"]), alice.user, undefined, at);
  const ends = await Promise.all(["c-unread", "c-new", "c-read"].map((cluster) => ledger.record({ cluster, user: alice.user })));
  assert.deepEqual(
    ends.map((record) => record?.login?.end),
    [at, at, undefined],
  );
});

test("the end of a login on one cluster is told to that one alone, because the others were not meant", async () => {
  const bench = benchOn(redis);
  const at = await bench.now();
  await endLogins(loginParts(bench, new Bindings(), ["c-one", "c-two"]), alice.user, "c-one", at);
  assert.deepEqual(await bench.ledger.clusters(), ["c-one"]);
  assert.equal((await bench.ledger.record({ cluster: "c-one", user: alice.user }))?.login?.end, at);
});

test("a dropped provider ends what a role remembered too, because the ledger that began anew cannot tell whose the groups were", async () => {
  const bench = benchOn(redis);
  const { ledger, run, now } = bench;
  const bindings = bindingsAt("10", [aCrtb("own", { user: alice.user }, "5")], [alice.user]);
  const copy = await ledger.learn(alice.user, { user: bindings.users.get(alice.user)!, join: CLUSTER });
  await ledger.submit(alice, { grants: bindings.grantsOf(CLUSTER, alice.user), copy }, "orphan", "binding");
  const { me } = await run(alice);
  await ledger.read(alice, me, { ends: (await now()) + DAY, values: { groups: [TEAM] } });
  const groups = async (): Promise<readonly string[]> => {
    const decision = await decisionOn(bench, alice);
    return decision?.kind === "present" ? decision.identity.groups : [];
  };
  assert.ok((await groups()).includes(TEAM));
  await dropProvider(loginParts(bench, bindings), alice.user, "github", await now());
  assert.ok(!(await groups()).includes(TEAM));
});

// What ends while the ledger has forgotten it, or while its cluster is away: a role's own memory, a login grant, and the minute after a removal.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CLUSTER_MISSING } from "../../shared/ledger/status.ts";
import { DAY, HOUR, MINUTE, aSettlement, alice, anApplied, assertNear, benchOn, redisForFile, toldGrant } from "../support/ledger.ts";
import { TEAM, decisionOn } from "../support/told.ts";

const { redis } = await redisForFile();
const GRANT = 30 * DAY;
const removed = (reason: string) => ({ result: "removed", reason, applied: undefined, next: 0 }) as const;

/** A subject that lives by a login of an hour ago, which its role remembers. */
async function loggedIn() {
  const bench = benchOn(redis);
  const at = (await bench.now()) - HOUR;
  const login = { at, end: at + GRANT };
  await bench.ledger.submit(alice, { login }, "login", "login");
  const { me, record } = await bench.run(alice);
  await bench.ledger.settle(alice, me, record, aSettlement({ applied: anApplied({ ends: login.end }), next: login.end }));
  return { ...bench, login };
}

test("a login grant goes on ending while its cluster is not configured, because the cluster may come back after its end", async () => {
  const { ledger, dueAt, login } = await loggedIn();
  await ledger.shelve(alice, CLUSTER_MISSING);
  assert.equal(await dueAt(alice), login.end);
});

test("a login grant that ended while its cluster was away is due in a minute and not at once, because each look at it would shelve it again", async () => {
  const { ledger, arrange, dueAt, now } = await loggedIn();
  await arrange(alice, { next: (await now()) - 1 });
  await ledger.shelve(alice, CLUSTER_MISSING);
  assertNear(await dueAt(alice), (await now()) + MINUTE, "when it is looked at again");
});

test("a settled subject is unsettled by its cluster's going and may be tried at once when it comes back, because nobody saw what happened there", async () => {
  const { ledger, arrange, run, now } = await loggedIn();
  await arrange(alice, { retryAt: (await now()) + HOUR });
  await ledger.shelve(alice, CLUSTER_MISSING);
  const { record } = await run(alice);
  assert.deepEqual([record.result, record.reason, record.obs < record.gen], ["waiting", CLUSTER_MISSING, true]);
});

test("a removed subject stays removed when its cluster goes, because there is nothing to look at", async () => {
  const { ledger, run } = await loggedIn();
  await ledger.submit(alice, {}, "verify", "binding");
  const { me, record } = await run(alice);
  await ledger.settle(alice, me, record, removed("no longer entitled"));
  await ledger.shelve(alice, CLUSTER_MISSING);
  assert.equal((await ledger.record(alice))?.result, "removed");
});

// A ledger that began anew -----------------------------------------------------------------------------------------------------------------------------------

/** What a role of alice's remembers of a login that still runs. */
const memory = (now: number) => ({ ends: now + DAY, values: { groups: [TEAM] } });

test("the end of a login that only a role remembers is stored first, so that the role is not believed when it is read", async () => {
  const bench = benchOn(redis);
  const { ledger, now, run, ttlMs } = bench;
  const at = (await now()) - 1_000;
  await ledger.submit(alice, { endLogin: at, unreadMs: 2_678_400_000 }, "deletion", "deletion");
  assertNear(await ttlMs(alice), 31 * DAY, "it is kept longer than a login grant of 30 days");
  await ledger.submit(alice, {}, "orphan", "binding");
  const { me } = await run(alice);
  const read = await ledger.read(alice, me, memory(await now()));
  assert.ok(read !== "lost");
  assert.deepEqual(read.record.login, { at, end: at });
  assert.equal((await decisionOn(bench, alice))?.kind, "absent");
});

test("the end of a login that only a role remembers does not end what is known already, because a later login may be stored", async () => {
  const { ledger, now } = benchOn(redis);
  const login = { at: await now(), end: (await now()) + GRANT };
  await ledger.submit(alice, { login }, "login", "login");
  await ledger.submit(alice, { endLogin: login.at - 1, unreadMs: 2_678_400_000 }, "deletion", "deletion");
  assert.deepEqual((await ledger.record(alice))?.login, login);
});

test("a login after its end was stored counts, because only what came before was ended", async () => {
  const { ledger, now } = benchOn(redis);
  const at = (await now()) - HOUR;
  await ledger.submit(alice, { endLogin: at, unreadMs: 2_678_400_000 }, "deletion", "deletion");
  assert.equal((await ledger.submit(alice, { login: { at, end: at + GRANT } }, "login", "login")).loginStored, false);
  assert.equal((await ledger.submit(alice, { login: { at: at + 1, end: at + GRANT } }, "login", "login")).loginStored, true);
});

test("a dropped provider ends what was restored from a role, and a second look at the role does not bring it back, because it may be that provider's", async () => {
  const bench = benchOn(redis);
  const { ledger, now, run } = bench;
  await ledger.submit(alice, { grants: [toldGrant("1")], copy: await ledger.learn(alice.user, { user: { rv: "1", live: anEnabled } }) }, "orphan", "binding");
  const groups = async (): Promise<boolean> => {
    const decision = await decisionOn(bench, alice);
    return decision?.kind === "present" && decision.identity.groups.includes(TEAM);
  };
  const { me } = await run(alice);
  await ledger.read(alice, me, memory(await now()));
  assert.equal(await groups(), true);
  assert.notEqual((await ledger.submit(alice, { dropRestored: true }, "facts", "deletion")).delayMs, -1);
  assert.equal(await groups(), false);
  await ledger.read(alice, me, memory(await now()));
  assert.equal(await groups(), false);
  assert.equal((await ledger.submit(alice, { dropRestored: true }, "facts", "deletion")).delayMs, -1, "nothing is left to end");
});
const anEnabled = { enabled: true, principalid: [], username: [] };

test("a dropped provider makes no record where there is none, because nothing was restored there", async () => {
  const { ledger, fields } = benchOn(redis);
  await ledger.submit(alice, { dropRestored: true }, "facts", "deletion");
  assert.deepEqual(await fields(alice), {});
});

// Grants ---------------------------------------------------------------------------------------------------------------------------------------------------

test("a set-up within the minute after a removal keeps the login grant although its token is still to come, because the grant would end with the minute", async () => {
  const { ledger, run, login } = await loggedIn();
  await ledger.submit(alice, {}, "verify", "binding");
  const first = await run(alice);
  await ledger.settle(alice, first.me, first.record, removed("no longer entitled"));
  assert.ok((await ledger.record(alice))?.login?.drop);
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const second = await run(alice);
  assert.equal(await ledger.park(alice, second.me, second.record, "token", anApplied({ ends: login.end })), "ok");
  assert.deepEqual((await ledger.record(alice))?.login, login);
});

test("a login for a shorter time raises the generation, because the role would remember it for too long", async () => {
  const { ledger, login } = await loggedIn();
  const shorter = { at: login.at + MINUTE, end: login.at + DAY };
  assert.deepEqual(await ledger.submit(alice, { login: shorter }, "login", "login"), { gen: 2, delayMs: 0, loginStored: true });
});

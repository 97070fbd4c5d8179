// S1 submit: login grants, the candidates beside them, and the copies of a user's facts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { DAY, HOUR, MINUTE, toldCandidate, aCopy, toldGrant, aSettlement, alice, anApplied, toldEnd, benchOn, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();
const GRANT = 30 * DAY;

/** A subject that lives by a login of an hour ago, which its role remembers. */
async function loggedIn() {
  const bench = benchOn(redis);
  const at = (await bench.now()) - HOUR;
  const login = { at, end: at + GRANT };
  await bench.ledger.submit(alice, { login }, "login", "login");
  const { me, record } = await bench.run(alice);
  await bench.ledger.settle(alice, me, record, aSettlement({ applied: anApplied({ ends: login.end }), next: login.end }));
  return { ...bench, at, login };
}
const later = (at: number, ms: number) => ({ at: at + ms, end: at + ms + GRANT });

test("the first login makes a subject with a job, because it is a reason to exist", async () => {
  const { ledger, added, now } = benchOn(redis);
  const login = { at: await now(), end: (await now()) + GRANT };
  assert.deepEqual(await ledger.submit(alice, { login }, "login", "login"), { gen: 1, delayMs: 0, loginStored: true });
  assert.deepEqual((await ledger.record(alice))?.login, login);
  assert.deepEqual(
    added.map((job) => job.queue),
    ["login"],
  );
});

test("a renewed login is stored without raising the generation, because nothing on the cluster has to change for it", async () => {
  const { ledger, at, fields } = await loggedIn();
  const stamp = (await fields(alice)).stamp;
  assert.deepEqual(await ledger.submit(alice, { login: later(at, MINUTE) }, "login", "login"), { gen: 1, delayMs: -1, loginStored: true });
  assert.deepEqual((await ledger.record(alice))?.login, later(at, MINUTE));
  assert.equal((await fields(alice)).stamp, stamp);
});

test("a renewed login raises the generation once the role lags by more than a tenth, because the role is the memory after a lost Redis", async () => {
  const { ledger, at } = await loggedIn();
  assert.equal((await ledger.submit(alice, { login: later(at, GRANT / 10) }, "login", "login")).delayMs, -1);
  assert.deepEqual(await ledger.submit(alice, { login: later(at, GRANT / 10 + 1) }, "login", "login"), { gen: 2, delayMs: 0, loginStored: true });
});

test("a login that is older than the stored one, or the same, is not stored, because deliveries repeat and overtake", async () => {
  const { ledger, at, login } = await loggedIn();
  for (const told of [later(at, 0), later(at, -MINUTE)]) {
    assert.deepEqual(await ledger.submit(alice, { login: told }, "login", "login"), { gen: 1, delayMs: -1, loginStored: false });
  }
  assert.deepEqual((await ledger.record(alice))?.login, login);
});

test("a login after the grant has ended raises the generation, because the impersonator is gone or going", async () => {
  const { ledger, at, arrange, now } = await loggedIn();
  await arrange(alice, { loginEnd: (await now()) - 1, appliedEnds: at + 10 * GRANT });
  assert.deepEqual(await ledger.submit(alice, { login: later(at, MINUTE) }, "login", "login"), { gen: 2, delayMs: 0, loginStored: true });
});

test("a login dated at or before the removal adds nothing and a later one does, because it must not undo what came after it", async () => {
  const { ledger, run, ready } = benchOn(redis);
  await ready(alice);
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  const { me, record } = await run(alice);
  await ledger.settle(alice, me, record, { result: "removed", reason: "no grant", applied: undefined, next: 0 });
  const { removedAt } = (await ledger.record(alice))!;
  for (const told of [later(removedAt, -HOUR), later(removedAt, 0)]) {
    assert.deepEqual(await ledger.submit(alice, { login: told }, "login", "login"), { gen: 2, delayMs: -1, loginStored: false });
  }
  assert.equal((await ledger.record(alice))?.login, undefined);
  assert.deepEqual(await ledger.submit(alice, { login: later(removedAt, 1) }, "login", "login"), { gen: 3, delayMs: 0, loginStored: true });
});

test("a login within the minute after a removal makes the grant whole again, because it is newer than the removal", async () => {
  const { ledger, run, now } = await loggedIn();
  await ledger.submit(alice, { grants: [] }, "verify", "binding");
  const { me, record } = await run(alice);
  await ledger.settle(alice, me, record, { result: "removed", reason: "no longer entitled", applied: undefined, next: 0 });
  assert.ok((await ledger.record(alice))?.login?.drop);
  const login = later(await now(), 1);
  assert.equal((await ledger.submit(alice, { login }, "login", "login")).loginStored, true);
  assert.deepEqual((await ledger.record(alice))?.login, login);
});

test("an ended login grant raises the generation once, and the login that it ended cannot come back", async () => {
  const { ledger, at, now } = await loggedIn();
  const end = (await now()) - 1_000;
  assert.deepEqual(await ledger.submit(alice, { endLogin: end }, "deletion", "deletion"), { gen: 2, delayMs: 0, loginStored: false });
  assert.deepEqual((await ledger.record(alice))?.login, { at: end, end });
  assert.equal((await ledger.submit(alice, { endLogin: end }, "deletion", "deletion")).delayMs, -1);
  for (const told of [later(at, 0), later(end, -1), later(end, 0)])
    assert.equal((await ledger.submit(alice, { login: told }, "login", "login")).loginStored, false);
  assert.equal((await ledger.submit(alice, { login: later(end, 1) }, "login", "login")).gen, 3);
});

test("the end of a login that never was changes nothing, because there is no grant to end", async () => {
  const { ledger, ready, now } = benchOn(redis);
  await ready(alice);
  assert.equal((await ledger.submit(alice, { endLogin: await now() }, "deletion", "deletion")).delayMs, -1);
  assert.equal((await ledger.record(alice))?.login, undefined);
});

test("a candidate is kept only beside a login grant, because thousands of members have none", async () => {
  const { ledger, ready, fields } = benchOn(redis);
  await ready(alice);
  const before = await fields(alice);
  assert.equal((await ledger.submit(alice, { candidates: [toldCandidate("5", "github_org://1")] }, "binding", "binding")).delayMs, -1);
  assert.deepEqual(await fields(alice), before);
});

test("an orphan's candidates are kept before its login grant is, because the grant is still in the role's own memory", async () => {
  const { ledger, run, now } = benchOn(redis);
  assert.equal((await ledger.submit(alice, { candidates: [toldCandidate("5", "github_org://1")] }, "orphan", "binding")).gen, 1);
  const { me } = await run(alice);
  const read = await ledger.read(alice, me, { ends: (await now()) + DAY, values: { groups: ["github_org://1"] } });
  assert.ok(read !== "lost");
  assert.deepEqual([read.record.candidates.length, read.record.login?.at], [1, 0]);
});

test("a candidate that comes with its login is stored with it, because the two are one decision", async () => {
  const { ledger, now } = benchOn(redis);
  const login = { at: await now(), end: (await now()) + GRANT };
  assert.equal((await ledger.submit(alice, { login, candidates: [toldCandidate("5", "github_org://1")] }, "login", "login")).gen, 1);
  assert.deepEqual((await ledger.record(alice))?.candidates, [
    { id: "crtb:c-amber/team", kind: "ClusterRoleTemplateBinding", name: "c-amber/team", group: "github_org://1" },
  ]);
});

test("a candidate's coming and end raise the generation of who is logged in, and their repeats do not", async () => {
  const { ledger } = await loggedIn();
  const tell = async (candidate: ReturnType<typeof toldCandidate> | ReturnType<typeof toldEnd>) =>
    (await ledger.submit(alice, { candidates: [candidate] }, "binding", "binding")).delayMs;
  assert.equal(await tell(toldCandidate("5", "github_org://1")), 0);
  assert.equal(await tell(toldCandidate("5", "github_org://1")), -1);
  assert.equal(await tell(toldEnd("7", "crtb:c-amber/team")), 0);
  assert.equal(await tell(toldEnd("7", "crtb:c-amber/team")), -1);
  assert.equal(await tell(toldCandidate("6", "github_org://1")), -1);
  assert.deepEqual((await ledger.record(alice))?.candidates, []);
});

test("a candidate that now names another group raises the generation, because a binding may be made anew under its name while nobody watched", async () => {
  const { ledger } = await loggedIn();
  await ledger.submit(alice, { candidates: [toldCandidate("5", "github_org://1")] }, "binding", "binding");
  const { gen, delayMs } = await ledger.submit(alice, { candidates: [toldCandidate("9", "github_org://2")] }, "binding", "binding");
  assert.deepEqual(
    (await ledger.record(alice))?.candidates.map((candidate) => "group" in candidate && candidate.group),
    ["github_org://2"],
  );
  assert.deepEqual({ gen, delayMs }, { gen: 3, delayMs: 0 });
});

test("a candidate's end is heard by a holder without a login grant too, because it must not count at the next login", async () => {
  const { ledger, ready, arrange } = benchOn(redis);
  await ready(alice);
  const { live } = toldCandidate("5", "github_org://1");
  await arrange(alice, { "e:crtb:c-amber/team": `5 ${JSON.stringify(live)}` });
  assert.equal((await ledger.record(alice))?.candidates.length, 1);
  assert.deepEqual(await ledger.submit(alice, { candidates: [toldEnd("7", "crtb:c-amber/team")] }, "deletion", "deletion"), {
    gen: 2,
    delayMs: 0,
    loginStored: false,
  });
  assert.deepEqual((await ledger.record(alice))?.candidates, []);
});

test("copies of a user's facts count by their number and not by their arrival, because two producers may send them", async () => {
  const { ledger } = benchOn(redis);
  const wide = { github: { groups: ["github_org://1", "github_org://2"] } };
  const narrow = { github: { groups: ["github_org://1"] } };
  await ledger.submit(alice, { grants: [toldGrant("1")], copy: aCopy(10, wide) }, "binding", "binding");
  assert.equal((await ledger.submit(alice, { copy: aCopy(12, narrow) }, "facts", "binding")).gen, 2);
  for (const n of [10, 11, 12]) assert.equal((await ledger.submit(alice, { copy: aCopy(n, wide) }, "facts", "binding")).delayMs, -1);
  assert.deepEqual((await ledger.record(alice))?.facts?.providers, narrow);
});

test("a copy with the same content brings no job but its number counts, because imports repeat the copies", async () => {
  const { ledger } = benchOn(redis);
  const narrow = { github: { groups: [] } };
  await ledger.submit(alice, { grants: [toldGrant("1")], copy: aCopy(10, narrow) }, "binding", "binding");
  assert.equal((await ledger.submit(alice, { copy: aCopy("1764000000000001", narrow) }, "facts", "binding")).delayMs, -1);
  assert.equal((await ledger.submit(alice, { copy: aCopy("1764000000000000", { github: { groups: ["github_org://2"] } }) }, "facts", "binding")).delayMs, -1);
  assert.equal((await ledger.submit(alice, { copy: aCopy("1764000000000002", { github: { groups: ["github_org://2"] } }) }, "facts", "binding")).gen, 2);
});

/** A subject whose record was lost with Redis, and whose role remembered a login. */
async function restored() {
  const bench = benchOn(redis);
  await bench.ledger.submit(alice, {}, "orphan", "binding");
  const { me } = await bench.run(alice);
  const ends = (await bench.now()) + DAY;
  await bench.ledger.read(alice, me, { ends, values: { groups: ["github_org://1"] } });
  assert.deepEqual((await bench.ledger.record(alice))?.restored, { groups: ["github_org://1"], end: ends });
  return { ...bench, ends };
}

test("the first real fact deletes what was restored from the role and keeps the login grant, because the role was only a memory of facts", async () => {
  const { ledger, ends } = await restored();
  assert.equal((await ledger.submit(alice, { copy: aCopy(1, { github: { groups: ["github_org://2"] } }) }, "facts", "binding")).gen, 2);
  const record = await ledger.record(alice);
  assert.equal(record?.restored, undefined);
  assert.deepEqual(record?.login, { at: 0, end: ends });
});

test("a copy in which no provider has spoken leaves what was restored, because it says nothing of groups", async () => {
  const { ledger } = await restored();
  await ledger.submit(alice, { copy: aCopy(1) }, "facts", "binding");
  assert.deepEqual((await ledger.record(alice))?.restored?.groups, ["github_org://1"]);
});

test("any real login replaces an adopted grant, because the adopted one has no date", async () => {
  const { ledger, now } = await restored();
  const login = { at: await now(), end: (await now()) + GRANT };
  assert.equal((await ledger.submit(alice, { login }, "login", "login")).loginStored, true);
  assert.deepEqual((await ledger.record(alice))?.login, login);
});

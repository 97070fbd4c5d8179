// S7 sweep: what was forgotten, has expired or has to be tried again.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Subject } from "../../shared/subject.ts";
import { subjectKey } from "../../shared/subject.ts";
import { DAY, HOUR, MINUTE, toldGrant, aSettlement, alice, anApplied, assertNear, benchOn, bob, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();

/** A subject whose job was lost a while ago. */
async function forgotten(subject: Subject = alice) {
  const bench = benchOn(redis);
  await bench.ledger.submit(subject, { grants: [toldGrant("1")] }, "binding", "binding");
  await bench.setDue(subject, (await bench.now()) - 1);
  return bench;
}

test("a subject whose time has passed is found and due again in a minute, because its new job may be lost as well", async () => {
  const { ledger, dueAt, now } = await forgotten();
  assert.deepEqual(await ledger.sweep(10), [{ subject: alice, delayMs: 0, loginEnded: false }]);
  assertNear(await dueAt(alice), (await now()) + MINUTE, "due");
  assert.deepEqual(await ledger.sweep(10), []);
});

test("a subject whose time is still to come is not found, because its own job has a minute to run", async () => {
  const { ledger } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  assert.deepEqual(await ledger.sweep(10), []);
});

test("an empty shard has nothing due, because nothing was submitted", async () => {
  assert.deepEqual(await benchOn(redis).ledger.sweep(10), []);
});

test("a sweep changes no record, because it brings no fact", async () => {
  const { ledger, fields } = await forgotten();
  const before = await fields(alice);
  await ledger.sweep(10);
  assert.deepEqual(await fields(alice), before);
});

test("a failing subject is found with the rest of its wait, because a sweep must not defeat the backoff", async () => {
  const { ledger, arrange, now } = await forgotten();
  await arrange(alice, { retryAt: (await now()) + HOUR });
  const [found] = await ledger.sweep(10);
  assertNear(found?.delayMs, HOUR, "delay");
});

test("a subject whose record is gone is forgotten, because it would be found for ever", async () => {
  const { ledger, setDue, dueAt } = await forgotten();
  await setDue(bob, 1);
  assert.deepEqual(
    (await ledger.sweep(10)).map((found) => found.subject),
    [alice],
  );
  assert.equal(await dueAt(bob), undefined);
});

test("a login grant that has just ended is told apart, because its removal goes to the deletion queue", async () => {
  const { ledger, run, arrange, setDue, now } = benchOn(redis);
  const end = (await now()) + HOUR;
  for (const subject of [alice, bob]) {
    await ledger.submit(subject, { login: { at: end - DAY, end } }, "login", "login");
    const { me, record } = await run(subject);
    await ledger.settle(subject, me, record, aSettlement({ applied: anApplied({ ends: end }), next: end }));
  }
  assert.deepEqual(await ledger.sweep(10), [], "nothing ends before its time");
  await arrange(alice, { next: (await now()) - 1 });
  await setDue(alice, (await now()) - 1);
  await setDue(bob, (await now()) - 1);
  const found = await ledger.sweep(10);
  assert.deepEqual(
    new Map(found.map(({ subject, loginEnded }) => [subject.user, loginEnded])),
    new Map([
      ["u-alice", true],
      ["u-bob", false],
    ]),
  );
});

test("the limit is kept and the longest overdue go first, because a sweep must not hold Redis", async () => {
  const { ledger, setDue } = benchOn(redis);
  const people = Array.from({ length: 7 }, (_, i) => ({ cluster: "c-amber", user: `u-${i}` }));
  for (const [i, person] of people.entries()) {
    await ledger.submit(person, { grants: [toldGrant("1")] }, "binding", "binding");
    await setDue(person, i + 1);
  }
  assert.deepEqual(
    (await ledger.sweep(3)).map((found) => found.subject.user),
    ["u-0", "u-1", "u-2"],
  );
  assert.deepEqual(
    (await ledger.sweep(10)).map((found) => found.subject.user),
    ["u-3", "u-4", "u-5", "u-6"],
  );
});

test("sweeps of many workers share the work, because each subject needs one job only", async () => {
  const { ledger, setDue } = benchOn(redis);
  const people = Array.from({ length: 200 }, (_, i) => ({ cluster: `c-${i % 3}`, user: `u-${i}` }));
  await Promise.all(
    people.map(async (person) => {
      await ledger.submit(person, { grants: [toldGrant("1")] }, "binding", "binding");
      await setDue(person, 1);
    }),
  );
  const shares = await Promise.all(Array.from({ length: 6 }, () => ledger.sweep(50)));
  assert.deepEqual(
    shares
      .flat()
      .map((found) => subjectKey(found.subject))
      .sort(),
    people.map(subjectKey).sort(),
  );
});

test("a user id with slashes, blanks and signs is found as it is, because ids are compared byte for byte", async () => {
  const odd = { cluster: "c-amber", user: "github_user://1/ö {x} *" };
  const { ledger, fields, run, listed } = await forgotten(odd);
  assert.deepEqual(
    (await ledger.sweep(10)).map((found) => found.subject),
    [odd],
  );
  assert.equal((await fields(odd)).gen, "1");
  assert.deepEqual(await listed("c-amber"), [subjectKey(odd)]);
  await run(odd);
});

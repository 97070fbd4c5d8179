// S1 submit: bindings by resourceVersion, in any order, from any number of producers.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DAY, HOUR, toldGrant, alice, toldEnd, assertNear, benchOn, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();

/** What the record holds of bindings; an end without the time at which it was heard. */
const heldOf = (fields: Record<string, string>): string[] =>
  Object.entries(fields)
    .filter(([field]) => field.startsWith("g:"))
    .map(([field, value]) => `${field} ${value.replace(/ gone \d+$/, " gone")}`)
    .sort();

const histories = fc
  .uniqueArray(fc.record({ id: fc.constantFrom("b-1", "b-2", "p-1"), rv: fc.integer({ min: 1, max: 40 }), live: fc.boolean() }), {
    selector: ({ id, rv }) => `${id}@${rv}`,
    minLength: 1,
    maxLength: 8,
  })
  .chain((history) =>
    fc.record({
      history: fc.constant(history),
      tellings: fc.array(fc.nat({ max: history.length - 1 }), { maxLength: 8 }).chain((repeats) => {
        const told = [...history.keys(), ...repeats];
        return fc.shuffledSubarray([...told.keys()], { minLength: told.length }).map((order) => order.map((i) => told[i]!));
      }),
    }),
  );

test("bindings told in any order and with repeats give the same record, because queues and watches reorder and repeat", async () => {
  await fc.assert(
    fc.asyncProperty(histories, async ({ history, tellings }) => {
      const { ledger, fields } = benchOn(redis);
      const raised = [];
      for (const position of tellings) {
        const { id, rv, live } = history[position]!;
        raised.push((await ledger.submit(alice, { grants: [live ? toldGrant(String(rv), id) : toldEnd(String(rv), id)] }, "binding", "binding")).delayMs >= 0);
      }
      const newest = new Map<string, (typeof history)[number]>();
      for (const event of history) if ((newest.get(event.id)?.rv ?? 0) < event.rv) newest.set(event.id, event);
      const expected = [...newest.values()].map(({ id, rv, live }) => `g:${id} ${rv} ${live ? JSON.stringify(toldGrant("", id).live) : "gone"}`).sort();
      assert.deepEqual(heldOf(await fields(alice)), expected);
      assert.equal((await ledger.record(alice))?.gen, raised.filter(Boolean).length);
      assert.equal(await ledger.versionFloor(), Math.max(...history.map(({ rv }) => rv)));
    }),
    { numRuns: 80 },
  );
});

test("many bindings told in one call count as one change, because a list is one read", async () => {
  const { ledger, added } = benchOn(redis);
  assert.equal((await ledger.submit(alice, { grants: [toldGrant("1", "b-1"), toldGrant("2", "b-2"), toldEnd("3", "b-3")] }, "binding", "binding")).gen, 1);
  assert.deepEqual((await ledger.record(alice))?.grants.map((grant) => grant.id).sort(), ["b-1", "b-2"]);
  assert.equal(added.length, 1);
});

test("versions are compared as numbers, because 10 is newer than 9", async () => {
  const { ledger } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("9")] }, "binding", "binding");
  await ledger.submit(alice, { grants: [toldEnd("10")] }, "deletion", "deletion");
  await ledger.submit(alice, { grants: [toldGrant("9")] }, "binding", "binding");
  assert.deepEqual((await ledger.record(alice))?.grants, []);
});

test("an end that is heard before its binding keeps the binding away, because the two may come over different connections", async () => {
  const { ledger, added, ttlMs, dueAt } = benchOn(redis);
  assert.deepEqual(await ledger.submit(alice, { grants: [toldEnd("8")] }, "deletion", "deletion"), { gen: 0, delayMs: -1, loginStored: false });
  assert.deepEqual(await ledger.submit(alice, { grants: [toldGrant("5")] }, "binding", "binding"), { gen: 0, delayMs: -1, loginStored: false });
  assert.deepEqual((await ledger.record(alice))?.grants, []);
  assert.equal(added.length, 0);
  assert.equal(await dueAt(alice), undefined);
  assertNear(await ttlMs(alice), DAY, "time to live");
});

test("a record of nothing but ends is listed, and stays once a real binding comes, because only ends may be forgotten", async () => {
  const { ledger, ttlMs, listed } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldEnd("8")] }, "deletion", "deletion");
  assert.deepEqual(await listed("c-amber"), ["c-amber/u-alice"]);
  assert.deepEqual(await ledger.submit(alice, { grants: [toldGrant("9")] }, "binding", "binding"), { gen: 1, delayMs: 0, loginStored: false });
  assert.equal(await ttlMs(alice), -1);
});

test("a producer that lags behind a removal cannot bring the binding back, because its version is the older one", async () => {
  const { ledger, ready, run, added } = benchOn(redis);
  await ready(alice);
  await ledger.submit(alice, { grants: [toldEnd("20")] }, "deletion", "deletion");
  const { me, record } = await run(alice);
  await ledger.settle(alice, me, record, { result: "removed", reason: "no grant", applied: undefined, next: 0 });
  const before = added.length;
  for (const rv of ["1", "12", "19", "20"]) assert.equal((await ledger.submit(alice, { grants: [toldGrant(rv)] }, "binding", "binding")).delayMs, -1);
  assert.deepEqual((await ledger.record(alice))?.grants, []);
  assert.equal(added.length, before);
});

test("a binding that is made anew after its end counts, because its version is the newer one", async () => {
  const { ledger } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldEnd("20")] }, "deletion", "deletion");
  assert.equal((await ledger.submit(alice, { grants: [toldGrant("21")] }, "binding", "binding")).gen, 1);
});

test("an end that is said of an ended binding again brings no job, because nothing changed", async () => {
  const { ledger } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("5")] }, "binding", "binding");
  await ledger.submit(alice, { grants: [toldEnd("6")] }, "deletion", "deletion");
  assert.equal((await ledger.submit(alice, { grants: [toldEnd("9")] }, "deletion", "deletion")).delayMs, -1);
  assert.equal((await ledger.submit(alice, { grants: [toldGrant("8")] }, "binding", "binding")).delayMs, -1);
});

test("a restored management cluster is taken whole, because all its versions are lower than what was told before", async () => {
  const { ledger } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("500", "b-1"), toldEnd("501", "b-2")] }, "binding", "binding");
  assert.equal(await ledger.versionFloor(), 501);
  const restored = { grants: [toldEnd("40", "b-1"), toldGrant("30", "b-2")] };
  assert.equal((await ledger.submit(alice, restored, "binding", "binding")).delayMs, -1);
  assert.equal((await ledger.submit(alice, { ...restored, whole: true }, "binding", "binding")).gen, 2);
  assert.deepEqual(
    (await ledger.record(alice))?.grants.map((grant) => grant.id),
    ["b-2"],
  );
  assert.equal((await ledger.submit(alice, { grants: [toldGrant("41", "b-1")] }, "binding", "binding")).gen, 3);
});

test("a whole list without differences brings no job, because only its versions are new", async () => {
  const { ledger, fields } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("500")] }, "binding", "binding");
  assert.equal((await ledger.submit(alice, { grants: [toldGrant("40")], whole: true }, "binding", "binding")).delayMs, -1);
  assert.match((await fields(alice))["g:crtb:c-amber/b-1"]!, /^40 /);
});

test("the version floor only rises until it is lowered on purpose, because a lagging producer must not look like a restored cluster", async () => {
  const { ledger } = benchOn(redis);
  assert.equal(await ledger.versionFloor(), 0);
  await ledger.submit(alice, { grants: [toldGrant("70")] }, "binding", "binding");
  await ledger.submit(alice, { grants: [toldGrant("60", "b-2")] }, "binding", "binding");
  assert.equal(await ledger.versionFloor(), 70);
  await ledger.lowerVersionFloor("40");
  assert.equal(await ledger.versionFloor(), 40);
});

test("an end is forgotten after a day and not before, because a record must not grow with every binding that ever was", async () => {
  const { ledger, fields, arrange, now } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldGrant("1", "b-live")] }, "binding", "binding");
  await arrange(alice, { "g:b-old": `2 gone ${(await now()) - DAY - 1_000}`, "g:b-young": `3 gone ${(await now()) - DAY + HOUR}` });
  await ledger.submit(alice, { grants: [toldGrant("4", "b-new")] }, "binding", "binding");
  assert.deepEqual(
    Object.keys(await fields(alice))
      .filter((field) => field.startsWith("g:"))
      .sort(),
    ["g:b-live", "g:b-new", "g:b-young"],
  );
});

test("an end is kept for a whole day also where the record was about to expire, because a producer may lag behind that end as behind any other", async () => {
  const { ledger, key, ttlMs } = benchOn(redis);
  await ledger.submit(alice, { grants: [toldEnd("8", "b-1")] }, "deletion", "deletion");
  await redis.pexpire(key("rec", "c-amber/u-alice"), 5_000);
  await ledger.submit(alice, { grants: [toldEnd("9", "b-2")] }, "deletion", "deletion");
  assertNear(await ttlMs(alice), DAY, "time to live after the second end");
});

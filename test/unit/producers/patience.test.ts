// How long callers wait, with the clock held.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { inTime } from "../../../producers/patience.ts";

const forEver = (): Promise<never> => new Promise(() => undefined);

test("a Redis that does not answer is given up after 1.4 s, or a caller would not hear of it within 1.5", async (t: TestContext) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let said = "";
  const asked = inTime(forEver()).catch((error: Error) => (said = error.message));
  t.mock.timers.tick(1_399);
  await Promise.resolve();
  assert.equal(said, "");
  t.mock.timers.tick(1);
  await asked;
  assert.equal(said, "redis did not answer in time");
});

test("what comes in time is passed on, an error too", async () => {
  assert.equal(await inTime(Promise.resolve(7)), 7);
  await assert.rejects(inTime(Promise.reject(new Error("its own"))), /its own/);
});

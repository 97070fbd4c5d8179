// How long a wait may be.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { pause, settledWithin } from "../../../shared/kube/watch.ts";

test("a wait of a month lasts, because a timer that cannot hold so much fires at once, and what repeats after it would never rest", async () => {
  const end = new AbortController();
  const overflow = once(process, "warning", { signal: end.signal }).catch(() => []);
  const month = pause(30 * 24 * 3_600_000, end.signal);
  assert.equal(await settledWithin(month, 50), "late");
  end.abort();
  await month;
  assert.deepEqual(await overflow, []);
});

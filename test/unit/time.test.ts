import assert from "node:assert/strict";
import { test } from "node:test";
import { timeIn } from "../../shared/time.ts";

test("Kubernetes' times are read, with and without fractions and offsets", () => {
  for (const [text, ms] of [
    ["1970-01-01T00:00:01Z", 1000],
    ["1970-01-01T00:00:01.500000Z", 1500],
    ["1970-01-01T01:00:01+01:00", 1000],
  ] as const)
    assert.equal(timeIn(text), ms, text);
});

test("nothing else is a time, because what Date.parse takes for the year 4734 would be a token or a grant that never ends", () => {
  for (const text of [
    "",
    "a word 4734",
    "4734",
    "2026-01-01",
    "2026-01-01T00:00:00",
    "2026-13-01T00:00:00Z",
    " 2026-01-01T00:00:00Z",
    1000,
    null,
    undefined,
    {},
  ])
    assert.ok(Number.isNaN(timeIn(text)), JSON.stringify(text));
});

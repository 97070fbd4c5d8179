// Who plays which part in a demo: whatever people there are, each part is played by somebody who can.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { castFrom, clusterOf } from "../../../deploy/embedded/cast.ts";
import { SAMPLE } from "../../../deploy/embedded/sample.ts";
import { aSample } from "../../support/samples.ts";

test("whoever loses the only binding holds no global role, is entitled by nothing else, and plays no other part, because the access has to go", () => {
  fc.assert(
    fc.property(aSample, (sample) => {
      const { leaves, admin, login, proof, drift, member } = castFrom(sample, ["admin"]);
      if (!leaves) return;
      assert.ok(![admin, login?.user, proof?.user, drift?.user, member?.user].includes(leaves.user));
      assert.equal(sample.filter((one) => one["userName"] === leaves.user && clusterOf(one) === leaves.cluster).length, 1);
    }),
    { numRuns: 500 },
  );
});

test("a member has no binding of their own, because then there would be an impersonator before the login", () => {
  fc.assert(
    fc.property(aSample, (sample) => {
      const { member } = castFrom(sample, ["admin"]);
      assert.ok(!member || sample.every((one) => one["userName"] !== member.user));
    }),
    { numRuns: 500 },
  );
});

test("the demo's own people fill every part", () => {
  const { login, member, admin, leaves, drift, proof, other } = castFrom(SAMPLE, ["admin"]);
  assert.deepEqual(
    [login?.user, member?.user, admin, leaves?.user, drift?.user, proof?.user, other],
    ["u-bob", "u-fay", "u-gus", "u-lev", "u-cleo", "u-ada", "u-bob"],
  );
});

// Whatever a cluster looks like, a plan ends, and then the cluster is exactly what is wanted. Judged by a small model of an API server.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { V1PolicyRule } from "@kubernetes/client-node";
import fc from "fast-check";
import type { Wanted } from "../../../shared/decide/objects.ts";
import { KINDS } from "../../../shared/decide/plan.ts";
import { rulesFor, sameRules } from "../../../shared/decide/rules.ts";
import { nameOf } from "../../../shared/names.ts";
import { aPass, anyTokenMode, anyWanted } from "../../support/builders.ts";
import { carryOut, says } from "../../support/object-model.ts";
import { NAMESPACE, REF, aStart, assertExactly, damages, modelFrom } from "./damages.ts";

const roleIsRight = (rules: V1PolicyRule[] | undefined, goal: Wanted): boolean => sameRules(rules, rulesFor(goal.identity, goal.profile));
const runs = { numRuns: 100 };

test("from any state a pass ends with exactly the wanted impersonator, and the next one finds nothing to do", () => {
  fc.assert(
    fc.property(anyWanted, aStart, fc.boolean(), (goal, start, takeover) => {
      const model = modelFrom(start, goal);
      const name = nameOf(goal.identity.user);
      carryOut(model, name, goal, aPass({ takeover }));
      assertExactly(model, goal);
      assert.deepEqual(carryOut(model, name, goal, aPass({ nonce: "n2" })), []);
      model.collect();
      assertExactly(model, goal);
    }),
    { numRuns: 200 },
  );
});

test("each single damage is mended, whatever else stands", () => {
  fc.assert(
    fc.property(anyWanted, (goal) => {
      for (const what of Object.keys(damages)) {
        const model = modelFrom({ built: "whole", broken: [what], collected: false }, goal);
        carryOut(model, nameOf(goal.identity.user), goal);
        assertExactly(model, goal);
      }
    }),
    { numRuns: 4 },
  );
});

test("from any state a removal leaves nothing of ours, and takes the role first", () => {
  fc.assert(
    fc.property(anyWanted, aStart, (goal, start) => {
      const model = modelFrom(start, goal);
      const had = model.seen(nameOf(goal.identity.user)).role;
      const steps = carryOut(model, nameOf(goal.identity.user), undefined);
      if (had)
        assert.deepEqual(steps[0], { ...steps[0], do: "delete", kind: "ClusterRole", uid: had.metadata!.uid, resourceVersion: had.metadata!.resourceVersion });
      assert.equal(steps.filter((step) => "kind" in step && step.do !== "delete").length, 0);
      assert.equal(model.size, 0);
    }),
    runs,
  );
});

test("the binding is written only after a check, onto a right role, account and Secret, because its presence says that all is there", () => {
  fc.assert(
    fc.property(anyWanted, aStart, fc.boolean(), (goal, start, takeover) => {
      let checked = false;
      carryOut(modelFrom(start, goal), nameOf(goal.identity.user), goal, aPass({ takeover }), (step, seen) => {
        if (step.do === "check") checked = true;
        if ("kind" in step && step.kind === "ClusterRole") checked = false;
        if (!("kind" in step) || step.kind !== "ClusterRoleBinding" || step.do === "delete") return;
        assert.ok(checked, "the ledger was asked since the role was written");
        assert.ok(roleIsRight(seen.role?.rules, goal), "the role is right");
        assert.ok(
          goal.tokenMode === "request"
            ? seen.account && seen.secrets.length === 0 && seen.account.metadata!.annotations![REF] === undefined
            : seen.account && seen.secrets.some(({ metadata }) => seen.account!.metadata!.annotations![REF] === `${NAMESPACE}/${metadata!.name}`),
          "the account has its Secret, or none",
        );
      });
    }),
    runs,
  );
});

test("a switch of the token mode, there and back, ends as if it had always been that one, and no token that it took lives again", () => {
  fc.assert(
    fc.property(anyWanted, aStart, fc.array(anyTokenMode, { maxLength: 5 }), (goal, start, modes) => {
      const model = modelFrom(start, goal);
      const name = nameOf(goal.identity.user);
      for (const [i, tokenMode] of modes.entries()) {
        carryOut(model, name, { ...goal, tokenMode }, aPass({ nonce: `m${i}` }));
        assertExactly(model, { ...goal, tokenMode });
      }
    }),
    runs,
  );
});

test("where tokens are requested no pass ever makes a Secret, or names one, because its token would outlive every request", () => {
  fc.assert(
    fc.property(anyWanted, aStart, fc.boolean(), (any, start, takeover) => {
      const goal: Wanted = { ...any, tokenMode: "request" };
      const steps = carryOut(modelFrom(start, goal), nameOf(goal.identity.user), goal, aPass({ takeover }));
      for (const step of steps) {
        if (!("object" in step)) continue;
        assert.notEqual(step.kind, "Secret", says(step));
        assert.equal(step.object.metadata!.annotations?.[REF], undefined, says(step));
      }
    }),
    runs,
  );
});

test("a role comes only when no child of an earlier one is left, because it would be in force at once", () => {
  fc.assert(
    fc.property(anyWanted, aStart, (goal, start) => {
      carryOut(modelFrom(start, goal), nameOf(goal.identity.user), goal, aPass(), (step, seen) => {
        if (says(step) === "create ClusterRole") assert.deepEqual([seen.account, seen.binding, seen.secrets], [undefined, undefined, []]);
      });
    }),
    runs,
  );
});

test("a run that takes over writes the role exactly once, from any state", () => {
  fc.assert(
    fc.property(anyWanted, aStart, (goal, start) => {
      const steps = carryOut(modelFrom(start, goal), nameOf(goal.identity.user), goal, aPass({ takeover: true, me: "run-2" }));
      assert.equal(steps.filter((step) => "kind" in step && step.kind === "ClusterRole" && step.do !== "delete").length, 1);
    }),
    runs,
  );
});

test("every kind of object has a damage here, so that this file keeps up with the product", () => {
  for (const kind of KINDS)
    assert.ok(
      Object.keys(damages).some((what) => what.startsWith(kind)),
      kind,
    );
});

// A resync judges what it lists by content: what was done while no watch heard it is found there or never.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Bindings } from "../../producers/bindings.ts";
import { resync } from "../../producers/resync.ts";
import { appliedFrom } from "../../shared/decide/memory.ts";
import { nameOf } from "../../shared/names.ts";
import { anIdentity, wanted } from "../support/builders.ts";
import { aSettlement, benchOn, redisForFile, toldGrant } from "../support/ledger.ts";
import { ObjectModel, carryOut } from "../support/object-model.ts";
import { CLUSTER, going, listing } from "../support/told.ts";

const { redis } = await redisForFile();
const CONFIG = { source: "rancher", install: "understudy", removalsMax: 0.2, profile: "strict", tokenMode: "secret", adopt: false } as const;
const user = "u-gap";
const name = nameOf(user);
const eve = { kind: "Group", name: "system:authenticated", apiGroup: "rbac.authorization.k8s.io" };

const damages: Readonly<Record<string, (model: ObjectModel) => void>> = {
  "binds everybody besides": (model) => model.edit("ClusterRoleBinding", name, ({ subjects }) => void subjects!.push(eve)),
  "would be mounted": (model) => model.edit("ServiceAccount", name, (account) => void (account.automountServiceAccountToken = true)),
  "names another Secret": (model) =>
    model.edit("ServiceAccount", name, ({ metadata }) => {
      metadata!.annotations!["rancher.io/service-account.secret-ref"] = `cattle-impersonation-system/${name}-token-x`;
    }),
  "lost the label of its Secret": (model) => model.edit("Secret", `${name}-token-n1`, ({ metadata }) => void delete metadata!.labels),
  "belongs to another role": (model) =>
    model.edit("ClusterRoleBinding", name, ({ metadata }) => {
      metadata!.ownerReferences = [{ ...metadata!.ownerReferences![0]!, uid: "uid-of-another" }];
    }),
};
const nothing = (_model: ObjectModel): void => undefined;
for (const [what, hurt] of Object.entries({ ...damages, "is as it was settled": nothing })) {
  const woken = what !== "is as it was settled";
  test(`an impersonator that ${what} is ${woken ? "looked at again, although every uid is the same" : "left alone"}, because a gap in a watch ends with a resync`, async () => {
    const bench = benchOn(redis);
    await bench.import();
    const goal = wanted({ identity: anIdentity({ user }) });
    const model = new ObjectModel();
    carryOut(model, name, goal);
    const subject = { cluster: CLUSTER, user };
    await bench.ledger.submit(subject, { grants: [toldGrant("1")] }, "binding", "binding");
    const { me, record } = await bench.run(subject);
    await bench.ledger.settle(subject, me, record, aSettlement({ applied: appliedFrom(goal, model.seen(name)) }));
    hurt(model);
    const client = listing([model]);
    const { run } = await bench.ledger.mark();
    try {
      const result = await resync({ client, ledger: bench.ledger, bindings: new Bindings(), config: CONFIG, run }, going);
      assert.equal(result.woken, woken ? 1 : 0);
    } finally {
      await client.close();
    }
  });
}

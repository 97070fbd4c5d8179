// What the drift watch hears late: a role as we wrote it before what was settled meanwhile.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubernetesObject, V1ClusterRole } from "@kubernetes/client-node";
import { Drift } from "../../producers/drift.ts";
import { appliedFrom } from "../../shared/decide/memory.ts";
import type { ClusterClient } from "../../shared/kube/client.ts";
import { COLLECTIONS } from "../../shared/kube/paths.ts";
import { nameOf } from "../../shared/names.ts";
import { openLog } from "../../shared/run/log.ts";
import { openMetrics } from "../../shared/run/metrics.ts";
import { anIdentity, wanted } from "../support/builders.ts";
import { aSettlement, benchOn, redisForFile, toldGrant } from "../support/ledger.ts";
import { ObjectModel, carryOut } from "../support/object-model.ts";
import { CLUSTER } from "../support/told.ts";
import { waitUntil } from "../support/wait-until.ts";

const { redis } = await redisForFile();
const user = "u-late";
const written = (role: V1ClusterRole, manager: string, time: string): V1ClusterRole => ({
  ...role,
  metadata: { ...role.metadata, managedFields: [...(role.metadata?.managedFields ?? []), { manager, time: new Date(time) }] },
});

/** A drift watch that is told these events of roles, one after the other. */
async function hears(events: readonly KubernetesObject[], ledger: ConstructorParameters<typeof Drift>[0]["ledger"]) {
  const heard = Promise.withResolvers<void>();
  const end = new AbortController();
  const client = {
    cluster: CLUSTER,
    position: async () => "1",
    async *watch(path: string, _version: string, _options: unknown, signal: AbortSignal) {
      if (path === COLLECTIONS.ClusterRole) for (const object of events) yield { type: "MODIFIED", object };
      if (path === COLLECTIONS.ClusterRole) heard.resolve();
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    },
  } as unknown as ClusterClient;
  const lines: string[] = [];
  const log = openLog("info", {}, { write: (line: string) => void lines.push(line) });
  const running = new Drift({ client, ledger, install: "understudy", log, metrics: openMetrics() }).run(end.signal);
  await heard.promise;
  end.abort();
  await running;
  return lines.filter((line) => line.includes("by another hand"));
}

test("a role as we wrote it before what was settled is no drift, because on a busy machine its event comes after the next settlement; another's hand on it is", async () => {
  const bench = benchOn(redis);
  await bench.import();
  const model = new ObjectModel();
  const goals = ["github_team://1", "github_team://2"].map((group) => wanted({ identity: anIdentity({ user, groups: [group] }) }));
  const roles = goals.map((goal) => {
    carryOut(model, nameOf(user), goal);
    return structuredClone(model.seen(nameOf(user)).role!);
  });
  const subject = { cluster: CLUSTER, user };
  await bench.ledger.submit(subject, { grants: [toldGrant("1")] }, "binding", "binding");
  const { me, record } = await bench.run(subject);
  await bench.ledger.settle(subject, me, record, aSettlement({ applied: appliedFrom(goals[1]!, model.seen(nameOf(user))) }));
  const { gen } = (await bench.ledger.record(subject))!;
  const [past, present] = roles.map((role) => written(role, "understudy", "2026-11-28T10:00:00Z"));
  assert.ok(Number(past!.metadata!.resourceVersion) < Number(present!.metadata!.resourceVersion));
  assert.deepEqual(await hears([past!, present!], bench.ledger), []);
  assert.equal((await bench.ledger.record(subject))!.gen, gen, "nobody was woken");

  const said = await hears([written(past!, "kubectl-edit", "2026-11-28T10:00:01Z")], bench.ledger);
  assert.equal(said.length, 2, "changed, and widened");
  await waitUntil("it is looked at", async () => (await bench.ledger.record(subject))!.gen === gen + 1);
});

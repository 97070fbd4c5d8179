// `status`: how each subject stands, from the ledger alone.
import type { ClusterRow } from "../../shared/ledger/cluster-row.ts";
import { clusterRowOf } from "../../shared/ledger/cluster-row.ts";
import type { StatusRow } from "../../shared/ledger/status.ts";
import { statusOf } from "../../shared/ledger/status.ts";
import type { Config } from "../../shared/run/config.ts";
import type { Store } from "../../shared/run/redis.ts";
import { openStore } from "../../shared/run/redis.ts";
import type { Answer } from "./output.ts";
import { table } from "./output.ts";

/** Reads the ledger; asks no cluster. */
export async function status(config: Config, options: { cluster?: string; user?: string }): Promise<Answer> {
  await using store = await openStore(config.redisUrl!, config.redisPrefix, 5_000, () => undefined);
  return answerOf(await statusRows(store, options));
}

export function answerOf({ subjects, clusters }: { readonly subjects: readonly StatusRow[]; readonly clusters: readonly ClusterRow[] }): Answer {
  const text = [
    table(
      ["CLUSTER", "USER", "STATE", "GENERATION", "UPDATED", "REASON"],
      subjects.map((row) => [row.cluster, row.user, row.state, `${row.observedGeneration}/${row.generation}`, row.updatedAt, row.reason]),
    ),
    table(
      ["CLUSTER", "GATE", "BACKLOG", "ORPHANS", "HELD", "LAST RESYNC", "REASON"],
      clusters.map((row) => [row.cluster, row.gate, String(row.backlog), String(row.orphans), String(row.held), row.lastResync ?? "never", row.reason]),
    ),
  ].join("\n\n");
  return { json: { subjects, clusters }, text, exitCode: 0 };
}

/** Every subject and cluster that the ledger knows, filtered and sorted. */
export async function statusRows(
  { ledger }: Pick<Store, "ledger">,
  options: { cluster?: string; user?: string },
): Promise<{ subjects: StatusRow[]; clusters: ClusterRow[] }> {
  const { run } = await ledger.mark();
  const subjects: StatusRow[] = [];
  const clusters: ClusterRow[] = [];
  for (const cluster of await ledger.clusters()) {
    if (options.cluster !== undefined && options.cluster !== cluster) continue;
    let backlog = 0;
    for await (const { subject, record } of ledger.subjects(cluster)) {
      if (record.obs < record.gen) backlog += 1;
      // A record that only remembers ends of bindings never was a subject.
      if (record.gen > 0 && (options.user === undefined || options.user === subject.user)) subjects.push(statusOf(subject, record, run));
    }
    clusters.push(clusterRowOf(cluster, await ledger.clusterFields(cluster), backlog, Date.now()));
  }
  subjects.sort((a, b) => (a.cluster === b.cluster ? (a.user < b.user ? -1 : 1) : a.cluster < b.cluster ? -1 : 1));
  return { subjects, clusters };
}

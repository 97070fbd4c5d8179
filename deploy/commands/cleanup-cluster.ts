// `cleanup` of one cluster: what is found, and how far the deletes came. Whatever goes wrong is a row of the answer.
import { nameOf } from "../../shared/names.ts";
import { whyNot } from "./check-clusters.ts";
import type { Known } from "./cleanup-orphans.ts";
import { orphansOn, removeOrphans } from "./cleanup-orphans.ts";
import { removeStale, staleOn } from "./cleanup-secrets.ts";
import type { Left, Work } from "./cleanup-work.ts";

/** `stale`, `orphans`: how many were found, null = not looked for. `deleted`: objects. `left`: what is not touched, and why. `held`: why orphans wait for a person's word. `reason`: why it was not asked, or not all was done. */
export interface ClusterRow {
  readonly cluster: string;
  readonly stale: number | null;
  readonly orphans: number | null;
  readonly deleted: number;
  readonly left: readonly Left[];
  readonly held: string;
  readonly reason: string;
}
/** What was asked for. `known` is undefined where no orphans are looked for; `again` reads it anew. */
export interface Task {
  readonly secrets: boolean;
  readonly known: Known | undefined;
  readonly yes: boolean;
  /** A person has named this cluster. */
  readonly named: boolean;
  readonly install: string;
  readonly stop: AbortSignal;
  again(): Promise<Known>;
  /** So many more Secrets, or orphans, are going to be dealt with. */
  onFound(count: number): void;
}

/** Looks, and with `yes` deletes. Never throws for a cluster that does not answer. */
export async function cleanCluster(task: Task, work: Work): Promise<ClusterRow> {
  const { client, left } = work;
  let [stale, orphans, held, reason]: [number | null, number | null, string, string] = [null, null, "", ""];
  try {
    if (task.secrets) {
      const found = await staleOn(client, task.install, task.stop);
      stale = found.stale.length;
      left.push(...found.left.map(({ account, reason: why }) => ({ kind: "ServiceAccount" as const, name: account, reason: why })));
      if (task.yes) {
        task.onFound(stale);
        await removeStale(work, found.stale);
      }
    }
    if (task.known && !task.stop.aborted) {
      const found = await orphansOn(client, task.known, task.stop);
      orphans = found.orphans.length;
      left.push(...found.left.map(({ user, reason: why }) => ({ kind: "ClusterRole" as const, name: nameOf(user), reason: why })));
      held = task.named ? "" : found.held;
      if (task.yes && held === "" && orphans > 0) {
        task.onFound(orphans);
        await removeOrphans(work, found.orphans, await task.again());
      }
    }
  } catch (error) {
    reason = task.stop.aborted ? "" : whyNot(client, `cluster ${client.cluster}`, error);
  }
  if (task.stop.aborted) reason = "stopped before its end; run it again to go on";
  return { cluster: client.cluster, stale, orphans, deleted: work.deleted, left, held, reason };
}

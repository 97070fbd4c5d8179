// `cleanup`: stale token Secrets and orphans, counted, and deleted only with --yes; and --allow, by which removals that were held back may go on.
import { openClusters, problemLine } from "../../shared/kube/clusters-open.ts";
import type { Clusters } from "../../shared/kube/clusters.ts";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import type { Config } from "../../shared/run/config.ts";
import { NO_CLUSTERS } from "../../shared/run/config.ts";
import { openStore } from "../../shared/run/redis.ts";
import { UsageError } from "../settings.ts";
import type { ClusterRow, Task } from "./cleanup-cluster.ts";
import { cleanCluster } from "./cleanup-cluster.ts";
import type { Known } from "./cleanup-orphans.ts";
import { clusterFrom } from "./ids.ts";
import type { Answer } from "./output.ts";
import { table } from "./output.ts";
import { openProgress } from "./progress.ts";
import { Pace } from "./pace.ts";
import { idsOf, readSources } from "./plan.ts";
import { inTurns } from "./rights.ts";

const CLUSTERS_AT_ONCE = 8;
const REDIS_MS = 5_000;
/** People see so many objects of a cluster that are left alone. */
const SHOWN_MAX = 20;

export interface CleanupOptions {
  readonly cluster?: string;
  readonly staleSecrets?: boolean;
  readonly orphans?: boolean;
  readonly yes?: boolean;
  /** Deletes a second on each cluster. */
  readonly rate: number;
  readonly allow?: string;
}
interface Cleaned {
  readonly clusters: readonly ClusterRow[];
  readonly problems: readonly string[];
}

/** Exit 1 where a cluster was not asked or not all was done, 3 where orphans were held back. @throws UsageError for options that do not go together. */
export async function cleanup(config: Config, options: CleanupOptions, version: string, stop: AbortSignal): Promise<Answer> {
  const { cluster, staleSecrets = false, orphans = false, yes = false, allow } = options;
  if (allow !== undefined && (cluster ?? (staleSecrets || orphans || yes))) throw new UsageError("--allow: it goes alone");
  if (allow !== undefined) return allowRemovals(config, clusterFrom({ cluster: allow }));
  if (yes && !staleSecrets && !orphans) throw new UsageError("--yes: say what to delete, --stale-secrets or --orphans or both");
  if (config.clustersDir === undefined && config.clusterSecretsNamespace === undefined) throw new UsageError(NO_CLUSTERS);
  const all = !staleSecrets && !orphans;
  const userAgent = `understudy/${version} cleanup`;
  await using opened = new AsyncDisposableStack();
  const clusters = opened.use(await openClusters(config, userAgent));
  const ids = idsOf(clusters, cluster, config);
  const ledger =
    (all || orphans) && config.redisUrl !== undefined
      ? opened.use(await openStore(config.redisUrl, config.redisPrefix, REDIS_MS, () => undefined)).ledger
      : undefined;
  const read = async (): Promise<Known> => ({ bindings: (await readSources(config, userAgent)).bindings, ledger, config });
  const known = all || orphans ? await read() : undefined;
  const task = { secrets: all || staleSecrets, known, again: read, yes, named: cluster !== undefined, install: config.install, stop };
  const rows = await cleanAll(ids, clusters, task, options.rate);
  const problems = [
    ...(cluster === undefined ? [...clusters.problems()].map(problemLine) : []),
    ...rows.map(({ reason }) => reason).filter((reason) => reason !== ""),
  ];
  const json: Cleaned = { clusters: rows, problems };
  return { json, text: textOf(json, yes), exitCode: problems.length > 0 ? 1 : yes && rows.some(({ held }) => held !== "") ? 3 : 0 };
}

/** Side by side, each at its own pace. One bar for all, on a terminal only. */
async function cleanAll(ids: readonly string[], clusters: Clusters, task: Omit<Task, "onFound">, rate: number): Promise<ClusterRow[]> {
  using progress = openProgress("objects deleted", 0);
  const { step, grow } = progress;
  return await inTurns(ids, CLUSTERS_AT_ONCE, (id) =>
    cleanCluster({ ...task, onFound: grow }, { client: clusters.get(id)!, pace: new Pace(rate, task.stop), left: [], deleted: 0, onDone: step }),
  );
}

/** The word of a person, for as many removals as are held now: a list that is shorter still will be held again. */
async function allowRemovals(config: Config, cluster: string): Promise<Answer> {
  if (config.redisUrl === undefined) throw new UsageError("UNDERSTUDY_REDIS_URL: set it, or start `understudy dev` in this folder");
  await using store = await openStore(config.redisUrl, config.redisPrefix, REDIS_MS, () => undefined);
  const allowed = await allowHeld(store.ledger, cluster);
  const text = allowed === 0 ? `nothing is held back on ${cluster}` : `${allowed} removals on ${cluster} go on, now and until its next import`;
  return { json: { clusters: [{ cluster, allowed }] }, text, exitCode: 0 };
}

async function allowHeld(ledger: Ledger, cluster: string): Promise<number> {
  const { heldImport = "0", heldResync = "0" } = await ledger.clusterFields(cluster);
  await ledger.allow(cluster, { import: Number(heldImport), resync: Number(heldResync) });
  return Number(heldImport) + Number(heldResync);
}

function textOf({ clusters, problems }: Cleaned, yes: boolean): string {
  const shown = (count: number | null): string => (count === null ? "-" : String(count));
  const notes = clusters.flatMap(({ cluster, left, held }) => [
    ...left.slice(0, SHOWN_MAX).map(({ kind, name, reason }) => `left alone: ${cluster}: ${kind} ${name}: ${reason}`),
    ...(left.length > SHOWN_MAX ? [`left alone: ${cluster}: ${left.length - SHOWN_MAX} more, which --output json names`] : []),
    ...(held === "" ? [] : [`held: ${cluster}: ${held}; where it is right: understudy cleanup --cluster ${cluster} --orphans --yes`]),
  ]);
  return [
    table(
      ["CLUSTER", "STALE SECRETS", "ORPHANS", "DELETED"],
      clusters.map((row) => [row.cluster, shown(row.stale), shown(row.orphans), String(row.deleted)]),
    ),
    ...[[...notes, ...problems.map((text) => `problem: ${text}`)].join("\n")].filter((text) => text !== ""),
    yes ? `${clusters.reduce((sum, { deleted }) => sum + deleted, 0)} objects deleted` : "nothing was deleted: add --yes, with --stale-secrets or --orphans",
  ].join("\n\n");
}

// `plan`: what a worker would write after a lost Redis, and why, from the sources and the clusters alone. Writes nothing; needs neither Redis nor a running Understudy.
import { Bindings } from "../../producers/bindings.ts";
import { fillFrom, listSources } from "../../producers/source-lists.ts";
import { managementClient, openClusters, problemLine, whereClustersAre } from "../../shared/kube/clusters-open.ts";
import type { Clusters } from "../../shared/kube/clusters.ts";
import type { Config } from "../../shared/run/config.ts";
import { UsageError } from "../settings.ts";
import { whyNot } from "./check-clusters.ts";
import type { Answer } from "./output.ts";
import { coloured } from "./object-diff.ts";
import { count, table } from "./output.ts";
import type { ClusterPlan } from "./plan-cluster.ts";
import { planCluster } from "./plan-cluster.ts";
import { openProgress } from "./progress.ts";
import { inTurns } from "./rights.ts";

const CLUSTERS_AT_ONCE = 8;

/** `problems`: what kept a cluster from being asked. `warnings` change nothing: what a source says and nobody can use, clusters that are bound and not configured. */
export interface Planned {
  readonly clusters: readonly ClusterPlan[];
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

/** Exit 1 where a cluster could not be asked, 3 where something differs. @throws UsageError for a cluster that is not configured; Error when the sources cannot be read. */
export async function plan(config: Config, options: { cluster?: string; diff?: boolean }, version: string): Promise<Answer> {
  const userAgent = `understudy/${version} plan`;
  await using clusters = await openClusters(config, userAgent);
  const ids = idsOf(clusters, options.cluster, config);
  const { bindings, refused } = await readSources(config, userAgent);
  const pages = (): number => ids.reduce((sum, id) => sum + (clusters.get(id)?.pagesRead ?? 0), 0);
  using progress = openProgress("clusters planned", ids.length, () => `, ${count(pages(), "page")} of objects read`);
  const rows = await inTurns(ids, CLUSTERS_AT_ONCE, async (cluster) => {
    const row = await planCluster(clusters.get(cluster)!, bindings, config, options.diff ?? false);
    progress.step();
    return row;
  });
  const unusable = options.cluster === undefined ? [...clusters.problems()].map(problemLine) : [];
  const problems = [...unusable, ...rows.map(({ reason }) => reason).filter((reason) => reason !== "")];
  const warnings = [...refused, ...(options.cluster === undefined ? missing(bindings, ids) : []), ...rows.flatMap((row) => row.warnings)];
  const json: Planned = { clusters: rows, problems, warnings };
  const differs = rows.some(({ steps, failed }) => steps.length + failed.length > 0);
  return { json, text: textOf(json), exitCode: problems.length > 0 ? 1 : differs ? 3 : 0 };
}

/** @throws UsageError for a cluster that is not configured. */
export function idsOf(clusters: Clusters, wanted: string | undefined, config: Config): string[] {
  if (wanted === undefined) return clusters.ids();
  if (clusters.get(wanted)) return [wanted];
  throw new UsageError([`--cluster: ${wanted} is not in ${whereClustersAre(config)}`, ...[...clusters.problems()].map(problemLine)].join("\n"));
}

/** By the readers of the import. Without a management cluster there is nothing but what the roles remember. */
export async function readSources(config: Config, userAgent: string): Promise<{ bindings: Bindings; refused: string[] }> {
  const bindings = new Bindings();
  const refused: string[] = [];
  if (config.source !== "rancher") return { bindings, refused };
  const client = await managementClient(config, userAgent);
  try {
    fillFrom(await listSources(client), bindings, config.globalRoles, (kind, { metadata }, reason) => {
      const name = [metadata?.namespace, metadata?.name].filter(Boolean).join("/");
      refused.push(`management cluster: ${kind} ${name} changes nothing: ${reason}`);
    });
  } catch (error) {
    throw new Error(whyNot(client, "management cluster", error), { cause: error });
  } finally {
    await client.close();
  }
  return { bindings, refused };
}

/** Who is bound on a cluster without a kubeconfig waits for one. */
function missing(bindings: Bindings, ids: readonly string[]): string[] {
  const users = Map.groupBy(bindings.subjects(), ({ cluster }) => cluster);
  return [...users]
    .filter(([cluster]) => !ids.includes(cluster))
    .map(([cluster, subjects]) => `cluster ${cluster}: not configured; ${count(new Set(subjects.map(({ user }) => user)).size, "subject")} would wait for it`);
}

function textOf({ clusters, problems, warnings }: Planned): string {
  const asked = clusters.filter(({ reason }) => reason === "");
  const sum = (of: (row: ClusterPlan) => number): number => asked.reduce((total, row) => total + of(row), 0);
  const found = [...problems.map((text) => `problem: ${text}`), ...warnings.map((text) => `warning: ${text}`)];
  return [
    ...asked.map(clusterText),
    ...(found.length > 0 ? [found.join("\n")] : []),
    `${count(asked.length, "cluster")}: ${sum(({ equal }) => equal)} equal, ${count(
      sum(({ steps }) => steps.length),
      "step",
    )} to take, ${sum(({ failed }) => failed.length)} failed, ${count(problems.length, "problem")}`,
  ].join("\n\n");
}

/** `3 steps: 2 to make, 1 to remove` */
function stepsText(steps: ClusterPlan["steps"]): string {
  const words = { create: "make", change: "change", recreate: "make anew", delete: "remove" } as const;
  const counts = (Object.keys(words) as (keyof typeof words)[]).map(
    (action) => [steps.filter((step) => step.action === action).length, words[action]] as const,
  );
  const each = counts.filter(([number]) => number > 0).map(([number, word]) => `${number} to ${word}`);
  return `${count(steps.length, "step")}${each.length > 0 ? `: ${each.join(", ")}` : ""}`;
}

/** Steps in their order, then what is left alone and who gets nothing. */
function clusterText({ cluster, equal, stale, steps, untouched, waiting, failed }: ClusterPlan): string {
  const others = untouched.filter(({ user, reason }) => ![...waiting, ...failed].some((row) => row.user === user && row.reason === reason));
  const rows = [
    ...steps.map(({ action, kind, name, user, reason }) => [action, kind, name, user, reason]),
    ...failed.map(({ user, reason }) => ["FAILED", "", "", user, reason]),
    ...waiting.map(({ user, reason }) => ["waits", "", "", user, reason]),
    ...others.map(({ kind, name, user, reason }) => ["none", kind, name, user, reason]),
  ];
  const head = `${cluster}: ${equal} equal, ${stepsText(steps)}${stale > 0 ? `, ${count(stale, "stale token Secret")} (understudy cleanup --stale-secrets)` : ""}`;
  const diffs = steps.flatMap(({ diff, action, kind, reason }) => (diff === undefined ? [] : [`${action} ${kind}: ${reason}\n${coloured(diff)}`]));
  return [rows.length === 0 ? head : `${head}\n${table(["STEP", "KIND", "NAME", "USER", "REASON"], rows)}`, ...diffs].join("\n\n");
}

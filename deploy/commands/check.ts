// `check`: asks whether everything that is needed is there: Redis, the sources, each cluster, every right. Changes nothing; what is not there is a line of the answer.
import type { SourceKind } from "../../producers/rancher.ts";
import { SOURCES, sourcePath } from "../../producers/rancher.ts";
import type { ClusterClient } from "../../shared/kube/client.ts";
import { managementClient } from "../../shared/kube/clusters-open.ts";
import { ApiError, isStatus } from "../../shared/kube/errors.ts";
import type { Config } from "../../shared/run/config.ts";
import { withoutSecrets } from "../../shared/run/log.ts";
import { quickConnection, redisFacts, whenReady } from "../../shared/run/redis.ts";
import type { ClusterRow, Part } from "./check-clusters.ts";
import { checkClusters, messageOf, whyNot } from "./check-clusters.ts";
import { askVersion, clockWarnings } from "./check-warnings.ts";
import type { Answer } from "./output.ts";
import { table } from "./output.ts";
import type { Right } from "./rights.ts";
import { may, targetOf } from "./rights.ts";

const REDIS_MS = 5_000;

/** Of one that does not answer nothing is known. */
export interface RedisRow {
  readonly reachable: boolean;
  readonly version: string | null;
  readonly evictionPolicy: string | null;
  readonly persistence: boolean | null;
  readonly runId: string | null;
}
export interface SourceRow {
  readonly kind: SourceKind;
  readonly listable: boolean;
  readonly reason: string;
}
export interface Checked {
  readonly ok: boolean;
  readonly redis: RedisRow;
  readonly sources: readonly SourceRow[];
  readonly clusters: readonly ClusterRow[];
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

/** Exit 0 only without a problem; warnings are for a person to weigh. Never throws for what is not there. */
export async function check(config: Config, _options: object, version: string): Promise<Answer> {
  const userAgent = `understudy/${version} check`;
  const [redis, sources, clusters] = await Promise.all([checkRedis(config), checkSources(config, userAgent), checkClusters(config, userAgent)]);
  const parts: Part<unknown>[] = [redis, sources, clusters];
  // The management cluster may be asked for sources and for Secrets: what is wrong with it is said once.
  const problems = [...new Set(parts.flatMap((part) => part.problems))];
  const warnings = parts.flatMap((part) => part.warnings ?? []);
  const json: Checked = { ok: problems.length === 0, redis: redis.row, sources: sources.row, clusters: clusters.row, problems, warnings };
  return { json, text: textOf(json), exitCode: json.ok ? 0 : 1 };
}

/** On a bare connection: opening the queues would write to it. */
async function checkRedis({ redisUrl }: Config): Promise<Part<RedisRow>> {
  const away: RedisRow = { reachable: false, version: null, evictionPolicy: null, persistence: null, runId: null };
  if (redisUrl === undefined) return { row: away, problems: ["UNDERSTUDY_REDIS_URL: set it, or start `understudy dev` in this folder"] };
  // Why it does not answer is told to the connection, not to who waits for it: refused, or a wrong password.
  let trouble = "";
  const redis = quickConnection(redisUrl, REDIS_MS, (error) => (trouble = ` (${withoutSecrets(error.message)})`));
  try {
    await whenReady(redis, REDIS_MS);
    const { version, evictionPolicy, persistence, runId, problems, warnings } = await redisFacts(redis);
    return { row: { reachable: true, version, evictionPolicy, persistence, runId }, problems, warnings };
  } catch (error) {
    return { row: away, problems: [messageOf(error) + trouble] };
  } finally {
    redis.disconnect();
  }
}

/** The kinds of the management cluster, where there is one. */
async function checkSources(config: Config, userAgent: string): Promise<Part<SourceRow[]>> {
  if (config.source !== "rancher") return { row: [], problems: [] };
  let client: ClusterClient;
  try {
    client = await managementClient(config, userAgent);
  } catch (error) {
    return { row: SOURCES.map((kind) => ({ kind, listable: false, reason: "the kubeconfig cannot be used" })), problems: [messageOf(error)] };
  }
  try {
    const [clock, ...found] = await Promise.all([askVersion(client).catch(() => undefined), ...SOURCES.map((kind) => checkSource(client, kind))]);
    // What is wrong with the whole cluster is said once, by the kinds.
    const warnings = clock ? clockWarnings("management cluster", clock.clockAheadMs) : [];
    return { row: found.map(({ row }) => row), problems: [...new Set(found.flatMap(({ problems }) => problems))], warnings };
  } finally {
    await client.close();
  }
}

/** What is needed is to list and to watch; what is wrong with one kind says nothing of the next. */
async function checkSource(client: ClusterClient, kind: SourceKind): Promise<Part<SourceRow>> {
  const whose = "management cluster";
  const right: Right = { verb: "watch", group: "management.cattle.io", resource: kind };
  const grant = `${whose}: grant the account of UNDERSTUDY_MANAGEMENT_KUBECONFIG list and watch on ${targetOf(right)}`;
  let listable = false;
  try {
    await client.call("GET", sourcePath(kind), { query: { limit: 1 } });
    listable = true;
    if (await may(client, right)) return { row: { kind, listable, reason: "" }, problems: [] };
    return { row: { kind, listable, reason: "it may not be watched" }, problems: [grant] };
  } catch (error) {
    const reason = error instanceof ApiError ? `${error.status || "no answer"} ${error.reason}`.trimEnd() : "it cannot be asked";
    const absent = `${whose}: it has no ${targetOf(right)}; UNDERSTUDY_MANAGEMENT_KUBECONFIG has to be of the cluster that Rancher itself runs on`;
    return { row: { kind, listable, reason }, problems: [isStatus(error, 403) ? grant : isStatus(error, 404) ? absent : whyNot(client, whose, error)] };
  }
}

function textOf({ redis, sources, clusters, problems, warnings }: Checked): string {
  const rights = (row: ClusterRow): string => (row.missing.length === 0 ? "every right" : `${row.missing.length} rights missing`);
  const rows = [
    [
      "redis",
      redis.version ?? "",
      redis.reachable
        ? `${redis.evictionPolicy}, ${redis.persistence ? "kept" : redis.persistence === null ? "maybe kept" : "not kept"} over a restart`
        : "NOT THERE",
    ],
    ...sources.map(({ kind, listable, reason }) => ["source", kind, listable ? reason || "listable" : `NOT LISTABLE ${reason}`]),
    ...clusters.map((row) => ["cluster", row.cluster, row.reachable ? `${row.version ?? "version hidden"}, ${rights(row)}, fence ${row.fence}` : "NOT THERE"]),
  ];
  const count = (lines: readonly string[], word: string): string => `${lines.length} ${word}${lines.length === 1 ? "" : "s"}`;
  const found = [...problems.map((text) => `problem: ${text}`), ...warnings.map((text) => `warning: ${text}`)];
  return [
    table(["WHAT", "NAME", "STATE"], rows),
    ...(found.length > 0 ? [found.join("\n")] : []),
    `${count(problems, "problem")}, ${count(warnings, "warning")}`,
  ].join("\n\n");
}

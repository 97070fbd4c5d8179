// `check`: asks whether everything that is needed is there: Redis, the sources, each cluster, every right. Changes nothing; what is not there is a line of the answer.
import { managementClient } from "../../producers/main.ts";
import type { SourceKind } from "../../producers/rancher.ts";
import { SOURCES, sourcePath } from "../../producers/rancher.ts";
import type { ClusterClient } from "../../shared/kube/client.ts";
import { Clusters } from "../../shared/kube/clusters.ts";
import { ApiError, isStatus } from "../../shared/kube/errors.ts";
import { NAMESPACE } from "../../shared/names.ts";
import type { Config } from "../../shared/run/config.ts";
import { withoutSecrets } from "../../shared/run/log.ts";
import { quickConnection, redisFacts, whenReady } from "../../shared/run/redis.ts";
import type { Answer } from "./output.ts";
import { table } from "./output.ts";
import type { Right } from "./rights.ts";
import { inTurns, may, missingRights, namespaceStands, targetOf } from "./rights.ts";

const REDIS_MS = 5_000;
/** One that does not answer takes ten seconds, so that a hundred of them take forty. */
const CLUSTERS_AT_ONCE = 32;
const FENCE_PATH = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/understudy-worker-fence";

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
export interface ClusterRow {
  readonly cluster: string;
  /** It let itself be asked. Of one that did not nothing else is known. */
  readonly reachable: boolean;
  readonly version: string | null;
  readonly fence: "on" | "off";
  readonly missing: readonly string[];
}
export interface Checked {
  readonly ok: boolean;
  readonly redis: RedisRow;
  readonly sources: readonly SourceRow[];
  readonly clusters: readonly ClusterRow[];
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}
/** One part of the answer. Each problem says its next move. */
interface Part<Row> {
  readonly row: Row;
  readonly problems: readonly string[];
  readonly warnings?: readonly string[];
}

export async function check(config: Config, _options: object, version: string): Promise<Answer> {
  const userAgent = `understudy/${version} check`;
  const [redis, sources, clusters] = await Promise.all([checkRedis(config), checkSources(config, userAgent), checkClusters(config, userAgent)]);
  const parts: Part<unknown>[] = [redis, sources, clusters];
  const problems = parts.flatMap((part) => part.problems);
  const warnings = parts.flatMap((part) => part.warnings ?? []);
  const json: Checked = { ok: problems.length === 0, redis: redis.row, sources: sources.row, clusters: clusters.row, problems, warnings };
  return { json, text: textOf(json), exitCode: json.ok ? 0 : 1 };
}

async function checkRedis({ redisUrl }: Config): Promise<Part<RedisRow>> {
  const away: RedisRow = { reachable: false, version: null, evictionPolicy: null, persistence: null, runId: null };
  if (redisUrl === undefined) return { row: away, problems: ["UNDERSTUDY_REDIS_URL: set it, or start `understudy dev` in this folder"] };
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
    client = await managementClient(config.managementKubeconfig!, config, userAgent);
  } catch (error) {
    return { row: SOURCES.map((kind) => ({ kind, listable: false, reason: "the kubeconfig cannot be used" })), problems: [messageOf(error)] };
  }
  try {
    const found = await Promise.all(SOURCES.map((kind) => checkSource(client, kind)));
    // What is wrong with the whole cluster is said once.
    return { row: found.map(({ row }) => row), problems: [...new Set(found.flatMap(({ problems }) => problems))] };
  } finally {
    await client.close();
  }
}

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
    const reason = error instanceof ApiError ? `${error.status || "no answer"} ${error.reason}`.trimEnd() : messageOf(error);
    const absent = `${whose}: it has no ${targetOf(right)}; UNDERSTUDY_MANAGEMENT_KUBECONFIG has to be of the cluster that Rancher itself runs on`;
    return { row: { kind, listable, reason }, problems: [isStatus(error, 403) ? grant : isStatus(error, 404) ? absent : whyNot(client, whose, error)] };
  }
}

async function checkClusters({ clustersDir, kubeconfigAllow }: Config, userAgent: string): Promise<Part<ClusterRow[]>> {
  if (clustersDir === undefined) return { row: [], problems: ["UNDERSTUDY_CLUSTERS_DIR: set it to a folder with one kubeconfig for each cluster"] };
  await using clusters = new Clusters(clustersDir, { allow: kubeconfigAllow, userAgent });
  try {
    await clusters.load();
  } catch (error) {
    return { row: [], problems: [`UNDERSTUDY_CLUSTERS_DIR: ${clustersDir} cannot be read (${(error as { code?: string }).code ?? messageOf(error)})`] };
  }
  const unusable = [...clusters.problems()].map(([file, problem]) => `kubeconfig ${file}: ${problem}`);
  const found = await inTurns(clusters.ids(), CLUSTERS_AT_ONCE, (cluster) => checkCluster(clusters.get(cluster)!));
  const empty =
    found.length + unusable.length === 0 ? [`UNDERSTUDY_CLUSTERS_DIR: ${clustersDir} holds no kubeconfig, so nothing will be done on any cluster`] : [];
  return {
    row: found.map(({ row }) => row),
    problems: [...unusable, ...found.flatMap(({ problems }) => problems)],
    warnings: [...empty, ...found.flatMap(({ warnings = [] }) => warnings)],
  };
}

async function checkCluster(client: ClusterClient): Promise<Part<ClusterRow>> {
  const { cluster } = client;
  const whose = `cluster ${cluster}`;
  const row: ClusterRow = { cluster, reachable: false, version: null, fence: "off", missing: [] };
  try {
    const version = await versionOf(client);
    const [fence, missing, namespace] = await Promise.all([fenceOf(client), missingRights(client), namespaceStands(client)]);
    const problems = [...Map.groupBy(missing, targetOf)].map(
      ([target, rights]) => `${whose}: grant its account ${rights.map(({ verb }) => verb).join(", ")} on ${target}`,
    );
    if (namespace.stands === false) {
      missing.push(namespace.missing);
      problems.push(`${whose}: namespace ${NAMESPACE} is not there and its account may not make it: kubectl create namespace ${NAMESPACE}`);
    }
    const warnings = namespace.stands === "hidden" ? [`${whose}: its account can neither see nor make namespace ${NAMESPACE}; see that it is there`] : [];
    return { row: { ...row, reachable: true, version, fence, missing: missing.map((right) => `${right.verb} ${targetOf(right)}`) }, problems, warnings };
  } catch (error) {
    return { row, problems: [whyNot(client, whose, error)] };
  }
}

/** A cluster may keep its version from everybody. */
async function versionOf(client: ClusterClient): Promise<string | null> {
  try {
    return (await client.call<{ gitVersion?: string }>("GET", "/version")).gitVersion ?? null;
  } catch (error) {
    if (isStatus(error, 403)) return null;
    throw error;
  }
}

/** Only what can be read counts: a worker's own account usually may not. */
const fenceOf = (client: ClusterClient): Promise<"on" | "off"> =>
  client.call("GET", FENCE_PATH).then(
    () => "on",
    () => "off",
  );

/** Why a cluster cannot be asked, and what to do. */
function whyNot({ server }: ClusterClient, whose: string, error: unknown): string {
  const host = URL.canParse(server) ? new URL(server).host : "its server";
  if (error instanceof SyntaxError) return `${whose}: what answers at ${host} is no Kubernetes API server; look at the server in its kubeconfig`;
  if (!(error instanceof ApiError)) return `${whose}: its kubeconfig gives no credentials (${messageOf(error)})`;
  const { status, reason } = error;
  if (status === 401) return `${whose}: ${host} refuses the credentials of its kubeconfig (401); put a new token there`;
  if (status > 0) return `${whose}: ${withoutSecrets(error.message)}; look at what stands at ${host}`;
  if (/CERT|SELF_SIGNED|ISSUER|LEAF_SIGNATURE|ERR_TLS|ERR_SSL/.test(reason))
    return `${whose}: ${host} shows a certificate that is not trusted (${reason}); look at certificate-authority-data and server in its kubeconfig`;
  return `${whose}: no answer from ${host} (${reason}); see that it is up, and look at the server in its kubeconfig`;
}

const messageOf = (error: unknown): string => withoutSecrets(error instanceof Error ? error.message : String(error));

function textOf({ redis, sources, clusters, problems, warnings }: Checked): string {
  const rights = (row: ClusterRow): string => (row.missing.length === 0 ? "every right" : `${row.missing.length} rights missing`);
  const rows = [
    ["redis", redis.version ?? "", redis.reachable ? `${redis.evictionPolicy}, ${redis.persistence ? "kept" : "not kept"} over a restart` : "NOT THERE"],
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

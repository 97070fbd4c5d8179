// `check` of the downstream clusters: is each there, what is its version, which rights are missing on it. Whatever goes wrong is a problem with its next move.
import type { ClusterClient } from "../../shared/kube/client.ts";
import { managementClient, openClusters, problemLine, whereClustersAre } from "../../shared/kube/clusters-open.ts";
import { grantFor, secretsName } from "../../shared/kube/clusters-secrets.ts";
import type { Clusters } from "../../shared/kube/clusters.ts";
import { ApiError } from "../../shared/kube/errors.ts";
import { fenceBites } from "../../shared/kube/fence.ts";
import { NAMESPACE } from "../../shared/names.ts";
import type { Config } from "../../shared/run/config.ts";
import { withoutSecrets } from "../../shared/run/log.ts";
import type { Admin } from "./check-warnings.ts";
import { adminWarnings, adminsOn, askVersion, clockWarnings } from "./check-warnings.ts";
import { inTurns, may, missingRights, namespaceStands, targetOf } from "./rights.ts";

/** One that does not answer takes ten seconds, so that a hundred of them take forty. */
const CLUSTERS_AT_ONCE = 32;

export interface ClusterRow {
  readonly cluster: string;
  /** It let itself be asked. Of one that did not nothing else is known. */
  readonly reachable: boolean;
  readonly version: string | null;
  /** On = it refused what it has to refuse, asked with the account of the kubeconfig. */
  readonly fence: "on" | "off";
  readonly missing: readonly string[];
  /** Users and groups that are cluster-admin and may be impersonated. */
  readonly admins: readonly Admin[];
  /** Of its clock before this machine's; negative = behind, null = it did not say. */
  readonly clockAheadMs: number | null;
}
/** One part of the answer. Each problem says its next move. */
export interface Part<Row> {
  readonly row: Row;
  readonly problems: readonly string[];
  readonly warnings?: readonly string[];
}

/** All of them, side by side. A kubeconfig that cannot be used is a problem, none at all a warning: some may come while the product runs. */
export async function checkClusters(config: Config, userAgent: string): Promise<Part<ClusterRow[]>> {
  let clusters: Clusters;
  try {
    clusters = await openClusters(config, userAgent);
  } catch (error) {
    return { row: [], problems: [messageOf(error)] };
  }
  await using opened = clusters;
  const [found, secrets] = await Promise.all([
    inTurns(opened.ids(), CLUSTERS_AT_ONCE, (cluster) => checkCluster(opened.get(cluster)!, config)),
    secretsProblems(config, userAgent),
  ]);
  const unusable = new Set([...[...opened.problems()].map(problemLine), ...secrets]);
  const empty = found.length + unusable.size === 0 ? [`there is no kubeconfig in ${whereClustersAre(config)}, so nothing will be done on any cluster`] : [];
  return {
    row: found.map(({ row }) => row),
    problems: [...unusable, ...found.flatMap(({ problems }) => problems)],
    warnings: [...empty, ...found.flatMap(({ warnings = [] }) => warnings)],
  };
}

/** Whether the management cluster lets its Secrets be listed and watched. One that does not answer has said so already. */
async function secretsProblems(config: Config, userAgent: string): Promise<string[]> {
  const { clusterSecretsNamespace: namespace } = config;
  if (namespace === undefined) return [];
  const client = await managementClient(config, userAgent);
  try {
    const allowed = await Promise.all(["list", "watch"].map((verb) => may(client, { verb, group: "", resource: "secrets", namespace })));
    return allowed.every(Boolean) ? [] : [problemLine([secretsName(namespace), grantFor(namespace)])];
  } catch (error) {
    return error instanceof ApiError ? [] : [whyNot(client, "management cluster", error)];
  } finally {
    await client.close();
  }
}

/** The first call that fails ends the questions: the rest would fail alike. */
async function checkCluster(client: ClusterClient, { tokenMode, requireFence, denyPrefixes }: Config): Promise<Part<ClusterRow>> {
  const { cluster } = client;
  const whose = `cluster ${cluster}`;
  const row: ClusterRow = { cluster, reachable: false, version: null, fence: "off", missing: [], admins: [], clockAheadMs: null };
  try {
    const { version, clockAheadMs } = await askVersion(client);
    const [bites, missing, namespace, admins] = await Promise.all([
      fenceBites(client),
      missingRights(client, tokenMode),
      namespaceStands(client),
      adminsOn(client, denyPrefixes),
    ]);
    const problems = [...Map.groupBy(missing, targetOf)].map(
      ([target, rights]) => `${whose}: grant its account ${rights.map(({ verb }) => verb).join(", ")} on ${target}`,
    );
    if (namespace.stands === false) {
      missing.push(namespace.missing);
      problems.push(`${whose}: namespace ${NAMESPACE} is not there and its account may not make it: kubectl create namespace ${NAMESPACE}`);
    }
    if (requireFence && !bites)
      problems.push(`${whose}: UNDERSTUDY_REQUIRE_FENCE, and its fence is not on: understudy bootstrap --cluster ${cluster} | kubectl apply -f -`);
    const fence = bites ? "on" : "off";
    const hidden = namespace.stands === "hidden" ? [`${whose}: its account can neither see nor make namespace ${NAMESPACE}; see that it is there`] : [];
    const warnings = [...hidden, ...adminWarnings(whose, admins), ...clockWarnings(whose, clockAheadMs)];
    const lacks = missing.map((right) => `${right.verb} ${targetOf(right)}`);
    return { row: { ...row, reachable: true, version, fence, missing: lacks, admins, clockAheadMs }, problems, warnings };
  } catch (error) {
    return { row, problems: [whyNot(client, whose, error)] };
  }
}

/** Why a cluster cannot be asked, and what to do. Never its answer: that may hold anything. */
export function whyNot({ server }: ClusterClient, whose: string, error: unknown): string {
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

export const messageOf = (error: unknown): string => withoutSecrets(error instanceof Error ? error.message : String(error));

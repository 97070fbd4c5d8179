// `check` of the downstream clusters: is each there, what is its version, which rights are missing on it. Whatever goes wrong is a problem with its next move.
import type { ClusterClient } from "../../shared/kube/client.ts";
import { Clusters } from "../../shared/kube/clusters.ts";
import { ApiError, isStatus } from "../../shared/kube/errors.ts";
import { NAMESPACE } from "../../shared/names.ts";
import type { Config } from "../../shared/run/config.ts";
import { withoutSecrets } from "../../shared/run/log.ts";
import { inTurns, missingRights, namespaceStands, targetOf } from "./rights.ts";

/** One that does not answer takes ten seconds, so that a hundred of them take forty. */
const CLUSTERS_AT_ONCE = 32;
const FENCE_PATH = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/understudy-worker-fence";

export interface ClusterRow {
  readonly cluster: string;
  /** It let itself be asked. Of one that did not nothing else is known. */
  readonly reachable: boolean;
  readonly version: string | null;
  readonly fence: "on" | "off";
  readonly missing: readonly string[];
}
/** One part of the answer. Each problem says its next move. */
export interface Part<Row> {
  readonly row: Row;
  readonly problems: readonly string[];
  readonly warnings?: readonly string[];
}

/** All of the folder, side by side. A file that is no kubeconfig is a problem, an empty folder a warning: files may come while the product runs. */
export async function checkClusters({ clustersDir, kubeconfigAllow }: Config, userAgent: string): Promise<Part<ClusterRow[]>> {
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

/** The first call that fails ends the questions: the rest would fail alike. */
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

// Which sources of kubeconfigs the settings name: a folder, Secrets of the management cluster, or both, and then the folder goes first.
import { readFile } from "node:fs/promises";
import { NO_CLUSTERS } from "../run/config.ts";
import type { Config } from "../run/config.ts";
import { ClusterClient } from "./client.ts";
import { FolderSource } from "./clusters-folder.ts";
import { SecretsSource } from "./clusters-secrets.ts";
import { Clusters } from "./clusters.ts";
import type { ClusterSource } from "./clusters.ts";
import { accessFrom } from "./kubeconfig.ts";

type ManagementConfig = Pick<Config, "managementKubeconfig" | "kubeconfigAllow">;
type ClustersConfig = ManagementConfig & Pick<Config, "clustersDir" | "clusterSecretsNamespace">;

/** Opened and looked at once. @throws Error naming the setting when the folder or the management kubeconfig cannot be used, or neither source is set. */
export async function openClusters(config: ClustersConfig, userAgent: string): Promise<Clusters> {
  const { clustersDir, clusterSecretsNamespace, kubeconfigAllow } = config;
  const sources: ClusterSource[] = [];
  if (clustersDir !== undefined) sources.push(new FolderSource(clustersDir));
  if (clusterSecretsNamespace !== undefined) sources.push(new SecretsSource(await managementClient(config, userAgent), clusterSecretsNamespace));
  if (sources.length === 0) throw new Error(NO_CLUSTERS);
  const clusters = new Clusters(sources, { allow: kubeconfigAllow, userAgent });
  try {
    return await clusters.load();
  } catch (error) {
    await clusters[Symbol.asyncDispose]();
    throw error;
  }
}

/** Where kubeconfigs are looked for, for people. */
export const whereClustersAre = ({ clustersDir, clusterSecretsNamespace }: ClustersConfig): string =>
  [
    ...(clustersDir === undefined ? [] : [`UNDERSTUDY_CLUSTERS_DIR (${clustersDir})`]),
    ...(clusterSecretsNamespace === undefined ? [] : [`UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE (${clusterSecretsNamespace})`]),
  ].join(" and ");

/** A problem of `Clusters.problems` as one line: of a kubeconfig, or of a whole source, which names itself by its setting. */
export const problemLine = ([place, problem]: readonly [string, string]): string =>
  place.startsWith("UNDERSTUDY_") ? `${place}: ${problem}` : `kubeconfig ${place}: ${problem}`;

/** @throws Error naming the file and what is wrong with it. */
export async function managementClient({ managementKubeconfig: path, kubeconfigAllow }: ManagementConfig, userAgent: string): Promise<ClusterClient> {
  try {
    return new ClusterClient("management", accessFrom(await readFile(path!, "utf8"), kubeconfigAllow), userAgent);
  } catch (error) {
    throw new Error(`UNDERSTUDY_MANAGEMENT_KUBECONFIG (${path}): ${error instanceof Error ? error.message : "unreadable"}`, { cause: error });
  }
}

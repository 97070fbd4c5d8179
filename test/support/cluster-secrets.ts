// Secrets with a kubeconfig each, as people and tools put them on the management cluster.
import type { ApiServer } from "../apiserver/start.ts";

const pathOf = (namespace: string): string => `/api/v1/namespaces/${namespace}/secrets`;

/** Makes it, and its namespace where that is missing, or gives it these keys alone. */
export async function putClusterSecret(management: ApiServer, namespace: string, name: string, keys: Readonly<Record<string, string>>): Promise<void> {
  await management.call("POST", "/api/v1/namespaces", { metadata: { name: namespace } });
  const metadata = { name, labels: { "sigs.k8s.io/multicluster-runtime-kubeconfig": "true" } };
  const data = Object.fromEntries(Object.entries(keys).map(([key, text]) => [key, Buffer.from(text).toString("base64")]));
  const made = await management.call("POST", pathOf(namespace), { metadata, data });
  const { status } = made.status === 409 ? await management.call("PUT", `${pathOf(namespace)}/${name}`, { metadata, data }) : made;
  if (status >= 300) throw new Error(`put Secret ${namespace}/${name}: ${status}`);
}

/** What it holds; so that it can be put back. */
export async function takeClusterSecret(management: ApiServer, namespace: string, name: string): Promise<string> {
  const { body } = await management.call("GET", `${pathOf(namespace)}/${name}`);
  const { status } = await management.call("DELETE", `${pathOf(namespace)}/${name}`);
  if (status !== 200) throw new Error(`delete Secret ${namespace}/${name}: ${status}`);
  return Buffer.from(body.data.kubeconfig, "base64").toString();
}

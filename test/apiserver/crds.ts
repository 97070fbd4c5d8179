// The five kinds of management.cattle.io/v3 that a Rancher management server keeps its people and bindings in. Their
// schemas accept anything: what the product reads is fixed by its own tests, not by a copy of Rancher's CRDs.
import type { Call } from "./call.ts";
import { waitUntil } from "../support/wait-until.ts";

const group = "management.cattle.io";
const version = "v3";

const kinds = [
  { kind: "ClusterRoleTemplateBinding", scope: "Namespaced", subresources: { status: {} } },
  { kind: "ProjectRoleTemplateBinding", scope: "Namespaced" },
  { kind: "GlobalRoleBinding", scope: "Cluster" },
  { kind: "User", scope: "Cluster" },
  { kind: "UserAttribute", scope: "Cluster" },
] as const;

const crds = kinds.map(({ kind, scope, ...rest }) => {
  const singular = kind.toLowerCase();
  const plural = `${singular}s`;
  const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope,
      names: { kind, plural, singular, listKind: `${kind}List` },
      versions: [{ name: version, served: true, storage: true, schema, ...rest }],
    },
  };
});

/** Makes the CRDs, and returns when each can be listed and watched without a 429. */
export async function installCrds(call: Call): Promise<void> {
  await Promise.all(
    crds.map(async (crd) => {
      const made = await call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd);
      if (made.status !== 201) throw new Error(`create CRD ${crd.metadata.name}: ${made.status}`);
      await waitUntil(`CRD ${crd.metadata.name} is established`, () => isEstablished(call, crd.metadata.name));
      await waitUntil(`CRD ${crd.metadata.name} is watchable`, () => isWatchable(call, crd.spec.names.plural));
    }),
  );
}

async function isEstablished(call: Call, name: string): Promise<boolean> {
  const { body } = await call("GET", `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`);
  const conditions: readonly { type: string; status: string }[] = body.status?.conditions ?? [];
  return conditions.some(({ type, status }) => type === "Established" && status === "True");
}

// The first request makes the storage of a custom resource, and what reads its cache meanwhile is told 429.
async function isWatchable(call: Call, plural: string): Promise<boolean> {
  const path = `/apis/${group}/${version}/${plural}`;
  for (const query of ["", "?resourceVersion=0", "?watch=1&resourceVersion=0&timeoutSeconds=1"]) {
    const { status, body } = await call("GET", path + query);
    if (status !== 200) throw new Error(`GET ${path}${query}: ${status} ${JSON.stringify(body)}`);
  }
  return true;
}

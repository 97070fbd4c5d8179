// What an administrator gives people by Kubernetes' own RBAC, so that a test sees whom an API server takes a request for.
import assert from "node:assert/strict";
import type { ApiServer } from "../apiserver/start.ts";

const GROUP = "rbac.authorization.k8s.io";

/** A namespace, made where it is missing, in which this subject may do everything with these resources. */
export async function allow(server: ApiServer, namespace: string, subject: { kind: "User" | "Group"; name: string }, resources: string[]): Promise<void> {
  const metadata = { name: `may-${subject.kind.toLowerCase()}` };
  await server.call("POST", "/api/v1/namespaces", { metadata: { name: namespace } });
  const path = `/apis/${GROUP}/v1/namespaces/${namespace}`;
  const rules = [{ apiGroups: [""], resources, verbs: ["get", "list", "watch", "create", "update", "patch", "delete"] }];
  assert.equal((await server.call("POST", `${path}/roles`, { metadata, rules })).status, 201);
  const roleRef = { apiGroup: GROUP, kind: "Role", name: metadata.name };
  assert.equal((await server.call("POST", `${path}/rolebindings`, { metadata, roleRef, subjects: [{ apiGroup: GROUP, ...subject }] })).status, 201);
}

// The contracts: each a test that stands for some calls of ours, and the objects that they are about.
import assert from "node:assert/strict";
import type { Answer } from "../apiserver/call.ts";
import type { Server } from "./contract.ts";
import { waitUntil } from "./wait-until.ts";

export const RBAC = "/apis/rbac.authorization.k8s.io/v1";
export const ROLES = `${RBAC}/clusterroles`;
export const BINDINGS = `${RBAC}/clusterrolebindings`;
export const HOME = "/api/v1/namespaces/home";
const LABEL = { "authz.cluster.cattle.io/impersonator": "true" };
export const DEADLINE = { deadlineMs: 60_000 };

export interface Contract {
  /** As `callShape` has them. */
  readonly calls: readonly string[];
  readonly title: string;
  readonly act: (server: Server) => Promise<void>;
}
// oxlint-disable-next-line no-explicit-any -- an object as the server answers it: tests say what it has to hold
export type Seen = any;

/** What a caller may go by. */
export const said = ({ status, body }: Answer) => ({ status, reason: body.reason as string });
export async function made(server: Server, collection: string, object: object): Promise<Seen> {
  const answer = await server.call("POST", collection, object);
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
  return answer.body;
}
export const aRole = (name: string, more: object = {}): object => ({
  apiVersion: "rbac.authorization.k8s.io/v1",
  kind: "ClusterRole",
  metadata: { name, labels: LABEL, ...more },
  rules: [{ verbs: ["impersonate"], apiGroups: [""], resources: ["users"], resourceNames: ["u-ada"] }],
});
export const anAccount = (name: string, more: object = {}): object => ({
  apiVersion: "v1",
  kind: "ServiceAccount",
  metadata: { name, labels: LABEL, ...more },
});
export const aSecret = (name: string, account: Seen, more: object = {}): object => ({
  apiVersion: "v1",
  kind: "Secret",
  type: "kubernetes.io/service-account-token",
  metadata: {
    name,
    labels: LABEL,
    annotations: { "kubernetes.io/service-account.name": account.metadata.name, "kubernetes.io/service-account.uid": account.metadata.uid },
    ...more,
  },
});
export const ownedBy = (owner: Seen, kind: string) => ({
  ownerReferences: [{ apiVersion: owner.apiVersion ?? "v1", kind, name: owner.metadata.name, uid: owner.metadata.uid }],
});
export const isGone = (server: Server, path: string) => waitUntil(`${path} has gone`, async () => (await server.call("GET", path)).status === 404, DEADLINE);

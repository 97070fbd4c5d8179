// An impersonator exactly as Rancher's own code makes it on a downstream cluster (its pkg/impersonation and pkg/serviceaccounttoken), written down here independently.
import type { V1ClusterRole, V1ClusterRoleBinding, V1PolicyRule, V1Secret, V1ServiceAccount } from "@kubernetes/client-node";
import type { ApiServer } from "../apiserver/start.ts";
import { NAMESPACE } from "./impersonator.ts";
import { type Body, type Kind, Vandal } from "./vandal.ts";
import { waitUntil } from "./wait-until.ts";

const RBAC = "rbac.authorization.k8s.io";
const LABELS = { "authz.cluster.cattle.io/impersonator": "true" };
/** Until Rancher 2.12 its client stamped everything that it made. */
const CREATOR = { "cattle.io/creator": "norman" };

export interface RanchersOptions {
  readonly groups?: readonly string[];
  readonly creator?: boolean;
  /** Since Rancher 2.11 the account names its Secret. */
  readonly ref?: boolean;
  /** `before` and `after` Rancher's own, in whatever order. */
  readonly rules?: (rules: V1PolicyRule[]) => V1PolicyRule[];
  readonly binding?: (binding: V1ClusterRoleBinding) => void;
  /** Not `cattle-impersonation-` and the id. */
  readonly name?: string;
  /** Which of them there are; default all. */
  readonly kinds?: readonly Kind[];
}

const rule = (resource: string, names?: readonly string[]): V1PolicyRule => ({
  verbs: ["impersonate"],
  apiGroups: [resource.startsWith("userextras/") ? "authentication.k8s.io" : ""],
  resources: [resource],
  ...(names ? { resourceNames: [...names] } : {}),
});

/** Rancher's `rulesForUser`. */
export function ranchersRules(user: string, groups: readonly string[] = []): V1PolicyRule[] {
  return [
    rule("users", [user]),
    rule("userextras/requesttokenid"),
    rule("userextras/requesthost"),
    rule("groups", [...groups, "system:authenticated", "system:cattle:authenticated"].sort()),
    rule("userextras/principalid", [`local://${user}`]),
    rule("userextras/username", [user]),
  ];
}

const ownerOf = (apiVersion: string, kind: string, { name, uid }: { name?: string; uid?: string }) => [{ apiVersion, kind, name: name!, uid: uid! }];

/** The objects in the order in which Rancher makes them, each given what stands before it. */
export function ranchersObjects(
  user: string,
  { groups = [], creator = false, ref = true, rules = (same) => same, binding = () => {}, name }: RanchersOptions = {},
) {
  const called = name ?? `cattle-impersonation-${user}`;
  const secretName = `${called}-token-x7k2p`;
  const labels = { ...LABELS, ...(creator ? CREATOR : {}) };
  return {
    role: (): V1ClusterRole => ({
      apiVersion: `${RBAC}/v1`,
      kind: "ClusterRole",
      metadata: { name: called, labels },
      rules: rules(ranchersRules(user, groups)),
    }),
    account: (role: V1ClusterRole): V1ServiceAccount => ({
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: {
        name: called,
        namespace: NAMESPACE,
        labels,
        ...(ref ? { annotations: { "rancher.io/service-account.secret-ref": `${NAMESPACE}/${secretName}` } } : {}),
        ownerReferences: ownerOf(`${RBAC}/v1`, "ClusterRole", role.metadata!),
      },
    }),
    secret: (account: V1ServiceAccount): V1Secret => ({
      apiVersion: "v1",
      kind: "Secret",
      type: "kubernetes.io/service-account-token",
      metadata: {
        name: secretName,
        namespace: NAMESPACE,
        labels: { "cattle.io/service-account.name": called, ...(creator ? CREATOR : {}) },
        annotations: { "kubernetes.io/service-account.name": called },
        ownerReferences: ownerOf("v1", "ServiceAccount", account.metadata!),
      },
    }),
    binding: (role: V1ClusterRole): V1ClusterRoleBinding => {
      const made: V1ClusterRoleBinding = {
        apiVersion: `${RBAC}/v1`,
        kind: "ClusterRoleBinding",
        metadata: { name: called, labels, ownerReferences: ownerOf(`${RBAC}/v1`, "ClusterRole", role.metadata!) },
        subjects: [{ kind: "ServiceAccount", name: called, namespace: NAMESPACE }],
        roleRef: { apiGroup: RBAC, kind: "ClusterRole", name: called },
      };
      binding(made);
      return made;
    },
  };
}

export const FOUR_KINDS: readonly Kind[] = ["clusterroles", "serviceaccounts", "secrets", "clusterrolebindings"];

/** Rancher's impersonator on a cluster, its token filled in. */
export async function makeRanchers(server: ApiServer, user: string, options: RanchersOptions = {}): Promise<Vandal> {
  const make = ranchersObjects(user, options);
  const kinds = options.kinds ?? FOUR_KINDS;
  const role = make.role();
  const hand = new Vandal(server, role.metadata!.name!, `${role.metadata!.name}-token-x7k2p`);
  const made: Body = kinds.includes("clusterroles") ? await hand.create("clusterroles", role) : undefined;
  const account: Body = kinds.includes("serviceaccounts") ? await hand.create("serviceaccounts", make.account(made)) : undefined;
  if (kinds.includes("secrets")) {
    await hand.create("secrets", make.secret(account));
    await waitUntil("Rancher's Secret is filled", async () => Boolean((await hand.get("secrets")).data?.token), { deadlineMs: 60_000 });
  }
  if (kinds.includes("clusterrolebindings")) await hand.create("clusterrolebindings", make.binding(made));
  return hand;
}

// The rights that a worker needs on a cluster: the one list that `check` asks for, of its API server one by one (SelfSubjectAccessReview: it changes nothing,
// and everybody may ask), and that `bootstrap` grants.
import type { V1SelfSubjectAccessReview } from "@kubernetes/client-node";
import type { TokenMode } from "../../shared/decide/objects.ts";
import type { ClusterClient } from "../../shared/kube/client.ts";
import { isStatus } from "../../shared/kube/errors.ts";
import { NAMESPACE } from "../../shared/names.ts";

const CALLS_AT_ONCE = 4;
export const RBAC = "rbac.authorization.k8s.io";
const KEEP = ["get", "list", "watch", "create", "update", "delete"] as const;

export interface Right {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly namespace?: string;
  /** Of the one object that it is about. */
  readonly name?: string;
}
const all = (verbs: readonly string[], about: Omit<Right, "verb">): Right[] => verbs.map((verb) => ({ verb, ...about }));
const NEEDED: readonly Right[] = [
  // A role may hold more than its writer has, and be bound, only with these two.
  ...all([...KEEP, "escalate", "bind"], { group: RBAC, resource: "clusterroles" }),
  ...all(KEEP, { group: RBAC, resource: "clusterrolebindings" }),
  ...all(KEEP, { group: "", resource: "serviceaccounts", namespace: NAMESPACE }),
  ...all(KEEP, { group: "", resource: "secrets", namespace: NAMESPACE }),
  // Without it others' RoleBindings that name an impersonator's account stay unseen.
  { verb: "list", group: RBAC, resource: "rolebindings" },
  ...all(["list", "watch"], { group: "", resource: "namespaces", name: NAMESPACE }),
];
/** Where no token is kept, each is asked for. */
const REQUEST_TOKENS: Right = { verb: "create", group: "", resource: "serviceaccounts/token", namespace: NAMESPACE };
/** What no worker does, and `check` does to see whether the namespace stands. */
export const SEE_NAMESPACE: Right = { verb: "get", group: "", resource: "namespaces", name: NAMESPACE };
const MAKE_NAMESPACE: Right = { verb: "create", group: "", resource: "namespaces" };

export const neededRights = (tokenMode: TokenMode): readonly Right[] => (tokenMode === "request" ? [...NEEDED, REQUEST_TOKENS] : NEEDED);

/** `clusterroles.rbac.authorization.k8s.io`, `secrets in cattle-impersonation-system`. */
export const targetOf = ({ group, resource, namespace, name }: Right): string =>
  `${resource}${group === "" ? "" : `.${group}`}${namespace === undefined ? "" : ` in ${namespace}`}${name === undefined ? "" : ` named ${name}`}`;

/** @throws ApiError when the server does not say. */
export async function may(client: ClusterClient, { verb, group, resource, namespace, name }: Right): Promise<boolean> {
  const [of, subresource] = resource.split("/");
  const resourceAttributes = { verb, group, resource: of, subresource, namespace, name };
  const json = JSON.stringify({ apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec: { resourceAttributes } });
  const { status } = await client.call<V1SelfSubjectAccessReview>("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", { json });
  return status?.allowed === true;
}

/** @throws ApiError when the server does not say. */
export async function missingRights(client: ClusterClient, tokenMode: TokenMode): Promise<Right[]> {
  const needed = neededRights(tokenMode);
  const allowed = await inTurns(needed, CALLS_AT_ONCE, (right) => may(client, right));
  return needed.filter((_, at) => !allowed[at]);
}

/** Whether the impersonators' namespace is there, or can be made: `hidden` = it cannot be seen, nor made. @throws ApiError when the server does not say. */
export async function namespaceStands(client: ClusterClient): Promise<{ stands: true } | { stands: false; missing: Right } | { stands: "hidden" }> {
  const seen = await client.call("GET", `/api/v1/namespaces/${NAMESPACE}`).then(
    () => "there",
    (error: unknown) => {
      if (isStatus(error, 404)) return "absent";
      if (isStatus(error, 403)) return "hidden";
      throw error;
    },
  );
  if (seen === "there" || (await may(client, MAKE_NAMESPACE))) return { stands: true };
  return seen === "absent" ? { stands: false, missing: MAKE_NAMESPACE } : { stands: "hidden" };
}

/** Acts on all items, on at most so many at once; results in the order of the items. */
export async function inTurns<T, R>(items: readonly T[], atOnce: number, act: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  // One iterator for all: each lane takes the next item that nobody has taken.
  const rest = items.entries();
  const lane = async (): Promise<void> => {
    for (const [at, item] of rest) results[at] = await act(item);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, lane));
  return results;
}

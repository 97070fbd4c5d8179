// The objects of one subject on its cluster: reads them, and carries out one step with its preconditions. Every write to a cluster is in this file.
import type { KubernetesObject, V1ClusterRole, V1ClusterRoleBinding, V1Secret, V1ServiceAccount } from "@kubernetes/client-node";
import type { Kind, Seen } from "../shared/decide/plan.ts";
import { assertNarrow } from "../shared/decide/rules.ts";
import type { Removal, Write } from "../shared/decide/steps.ts";
import { having, without } from "../shared/decide/steps.ts";
import type { Wanted } from "../shared/decide/objects.ts";
import { secretRefOf } from "../shared/decide/objects.ts";
import type { ClusterClient } from "../shared/kube/client.ts";
import { ApiError, isStatus } from "../shared/kube/errors.ts";
import { COLLECTIONS } from "../shared/kube/paths.ts";
import { IMPERSONATOR_LABEL, NAMESPACE, SECRET_ACCOUNT_ANNOTATION, SECRET_ACCOUNT_LABEL, nameOf } from "../shared/names.ts";

const pathOf = (kind: Kind, name: string): string => `${COLLECTIONS[kind]}/${name}`;

/** Somebody else wrote, or the object went: look again. Not a failure. */
export class ConflictError extends Error {
  override readonly name = "ConflictError";
}

/** GET, where absence is an answer. */
async function get<T>(client: ClusterClient, kind: Kind, name: string, signal: AbortSignal): Promise<T | undefined> {
  try {
    return await client.call<T>("GET", pathOf(kind, name), { signal });
  } catch (error) {
    if (isStatus(error, 404)) return undefined;
    throw error;
  }
}

export const getRole = (client: ClusterClient, user: string, signal: AbortSignal): Promise<V1ClusterRole | undefined> =>
  get(client, "ClusterRole", nameOf(user), signal);
export const getBinding = (client: ClusterClient, user: string, signal: AbortSignal): Promise<V1ClusterRoleBinding | undefined> =>
  get(client, "ClusterRoleBinding", nameOf(user), signal);
export const getAccount = (client: ClusterClient, name: string, signal: AbortSignal): Promise<V1ServiceAccount | undefined> =>
  get(client, "ServiceAccount", name, signal);
export const getSecret = (client: ClusterClient, name: string, signal: AbortSignal): Promise<V1Secret | undefined> => get(client, "Secret", name, signal);

/** All four kinds as they are now: four GETs. Secrets that no label leads to are fetched by name: the one that the account names, and `strays`. */
export async function observe(client: ClusterClient, user: string, strays: readonly string[], signal: AbortSignal): Promise<Seen> {
  const name = nameOf(user);
  const selector = { labelSelector: `${SECRET_ACCOUNT_LABEL}=${name}` };
  const [role, binding, account, list] = await Promise.all([
    getRole(client, user, signal),
    getBinding(client, user, signal),
    getAccount(client, name, signal),
    client.list<V1Secret>(COLLECTIONS.Secret, selector, undefined, signal),
  ]);
  const ref = account && secretRefOf(account);
  const labelled = new Set(list.items.map(({ metadata }) => metadata!.name));
  const byName = async (one: string): Promise<V1Secret[]> =>
    labelled.has(one) ? [] : [await getSecret(client, one, signal)].filter((secret) => secret !== undefined);
  const others = (await Promise.all(strays.filter((one) => one !== ref).map(byName))).flat();
  const named = ref ? await byName(ref) : [];
  // A token in it would be this account's: that is what the annotation says, and nothing else does.
  return {
    role,
    binding,
    account,
    secrets: [...list.items, ...named, ...others.filter(({ metadata }) => metadata?.annotations?.[SECRET_ACCOUNT_ANNOTATION] === name)],
  };
}

/**
 * One write. Returns what is seen afterwards.
 * @throws ConflictError on 409, and on 404 of a change. @throws ApiError for the rest; RangeError before sending what would be too wide.
 */
export async function carryOut(client: ClusterClient, step: Write, wanted: Wanted | undefined, seen: Seen, signal: AbortSignal): Promise<Seen> {
  if (step.do === "delete") {
    await remove(client, step, signal);
    return without(seen, step.kind, step.name);
  }
  const json = JSON.stringify(step.object);
  if (step.kind === "ClusterRole") assertNarrow(json, wanted!.identity, wanted!.profile);
  const [method, path] = step.do === "create" ? ["POST", COLLECTIONS[step.kind]] : ["PUT", pathOf(step.kind, step.object.metadata!.name!)];
  try {
    return having(seen, step.kind, await client.call<KubernetesObject>(method, path, { json, signal }));
  } catch (error) {
    if (isStatus(error, 409) || (step.do === "change" && isStatus(error, 404)))
      throw new ConflictError(`${step.do} ${step.kind} met another write`, { cause: error });
    if (step.do === "create" && missesNamespace(error)) {
      await makeNamespace(client, signal);
      return having(seen, step.kind, await client.call<KubernetesObject>("POST", path, { json, signal }));
    }
    throw error;
  }
}

/** The role with uid and resourceVersion, its children by uid. What is gone already is gone. @throws ConflictError where another one stands there now. */
export async function remove(client: ClusterClient, step: Removal, signal: AbortSignal): Promise<void> {
  const preconditions = { uid: step.uid, ...(step.resourceVersion === undefined ? {} : { resourceVersion: step.resourceVersion }) };
  try {
    await client.call("DELETE", pathOf(step.kind, step.name), { json: JSON.stringify({ apiVersion: "v1", kind: "DeleteOptions", preconditions }), signal });
  } catch (error) {
    if (isStatus(error, 404)) return;
    if (isStatus(error, 409)) throw new ConflictError(`delete ${step.kind} met another write`, { cause: error });
    throw error;
  }
}

/** A create in a namespace that is not there answers 404; no call per user looks for it before. */
const missesNamespace = (error: unknown): boolean => error instanceof ApiError && error.status === 404 && error.causes.includes("kind:namespaces");

/** Once per cluster in its life; whoever is second finds it made. */
async function makeNamespace(client: ClusterClient, signal: AbortSignal): Promise<void> {
  const json = JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE, labels: { [IMPERSONATOR_LABEL]: "true" } } });
  try {
    await client.call("POST", "/api/v1/namespaces", { json, signal });
  } catch (error) {
    if (isStatus(error, 403)) throw new Error(`namespace ${NAMESPACE} is missing on cluster ${client.cluster}, and may not be made`, { cause: error });
    if (!isStatus(error, 409)) throw error;
  }
}

// What a resync finds on a cluster, in five paged lists: our objects by user, Secrets that no label leads to, and who else is bound to an impersonator's account.
// Lists only; a broken list is an error, never an absence.
import type { KubernetesObject, V1ClusterRole, V1ClusterRoleBinding, V1RoleBinding, V1ServiceAccount } from "@kubernetes/client-node";
import type { CallOptions, ClusterClient } from "../shared/kube/client.ts";
import { METADATA_ONLY_LIST } from "../shared/kube/client.ts";
import { isStatus } from "../shared/kube/errors.ts";
import { COLLECTIONS, LABELLED, ROLE_BINDINGS } from "../shared/kube/paths.ts";
import {
  IMPERSONATOR_LABEL,
  INSTALL_ANNOTATION,
  NAMESPACE,
  PREFIX,
  SECRET_ACCOUNT_ANNOTATION,
  SECRET_ACCOUNT_LABEL,
  USER_ANNOTATION,
  nameOf,
} from "../shared/names.ts";

const ACCOUNT_NAME = `system:serviceaccount:${NAMESPACE}:`;

/** The objects of one user that say they are ours. */
export interface Found {
  role?: V1ClusterRole;
  binding?: V1ClusterRoleBinding;
  account?: V1ServiceAccount;
  readonly secrets: KubernetesObject[];
}
/** `strays` and `aliens` by the name of the account. */
export interface Lists {
  readonly found: Map<string, Found>;
  /** Names of roles, accounts and bindings that Rancher labels, without our marks. */
  readonly ranchers: ReadonlySet<string>;
  /** Secrets of an account without our mark. */
  readonly strays: ReadonlyMap<string, readonly string[]>;
  /** Bindings that name an account besides its own one. */
  readonly aliens: ReadonlyMap<string, readonly string[]>;
  /** RoleBindings may not be listed: those of `aliens` are not known. */
  readonly roleBindingsHidden: boolean;
}

/** As the cluster lists them. Secrets come without their contents. */
export interface Objects {
  readonly roles: readonly V1ClusterRole[];
  readonly bindings: readonly V1ClusterRoleBinding[];
  readonly accounts: readonly V1ServiceAccount[];
  readonly secrets: readonly KubernetesObject[];
  readonly roleBindings: readonly V1RoleBinding[] | undefined;
}

/** @throws ApiError when a list cannot be had whole; RoleBindings alone may be forbidden. */
export const listAll = async (client: ClusterClient, install: string, signal: AbortSignal): Promise<Lists> =>
  sortOut(await listObjects(client, LABELLED, signal), install);

/** The five lists. `query`: which roles and accounts. @throws ApiError as `listAll`. */
export async function listObjects(client: ClusterClient, query: CallOptions["query"], signal: AbortSignal): Promise<Objects> {
  const [roles, bindings, accounts, secrets, roleBindings] = await Promise.all([
    client.list<V1ClusterRole>(COLLECTIONS.ClusterRole, query, undefined, signal),
    client.list<V1ClusterRoleBinding>(COLLECTIONS.ClusterRoleBinding, {}, undefined, signal),
    client.list<V1ServiceAccount>(COLLECTIONS.ServiceAccount, query, undefined, signal),
    client.list(COLLECTIONS.Secret, {}, METADATA_ONLY_LIST, signal),
    roleBindingsOf(client, signal),
  ]);
  return { roles: roles.items, bindings: bindings.items, accounts: accounts.items, secrets: secrets.items, roleBindings };
}

/** One user's objects as they are now: three lists of one name, which an API server reads by their key, and one of the Secrets with the account's label. @throws ApiError. */
export async function findOne(client: ClusterClient, user: string, install: string, signal: AbortSignal): Promise<Found | undefined> {
  const name = nameOf(user);
  const named = { fieldSelector: `metadata.name=${name}` };
  const [roles, bindings, accounts, secrets] = await Promise.all([
    client.list<V1ClusterRole>(COLLECTIONS.ClusterRole, named, undefined, signal),
    client.list<V1ClusterRoleBinding>(COLLECTIONS.ClusterRoleBinding, named, undefined, signal),
    client.list<V1ServiceAccount>(COLLECTIONS.ServiceAccount, named, undefined, signal),
    client.list(COLLECTIONS.Secret, { labelSelector: `${SECRET_ACCOUNT_LABEL}=${name}` }, METADATA_ONLY_LIST, signal),
  ]);
  return sortOut({ roles: roles.items, bindings: bindings.items, accounts: accounts.items, secrets: secrets.items, roleBindings: [] }, install).found.get(user);
}

/** Whose they are. Of roles and accounts only those with the label count, whatever else was listed. */
export function sortOut({ roles, bindings, accounts, secrets, roleBindings }: Objects, install: string): Lists {
  const found = new Map<string, Found>();
  const strays = new Map<string, string[]>();
  const of = (object: KubernetesObject): Found | undefined => {
    const { annotations = {} } = object.metadata ?? {};
    const user = annotations[USER_ANNOTATION];
    if (!user || annotations[INSTALL_ANNOTATION] !== install) return undefined;
    if (!found.has(user)) found.set(user, { secrets: [] });
    return found.get(user);
  };
  for (const role of roles.filter(isLabelled)) Object.assign(of(role) ?? {}, { role });
  for (const binding of bindings) Object.assign(of(binding) ?? {}, { binding });
  for (const account of accounts.filter(isLabelled)) Object.assign(of(account) ?? {}, { account });
  for (const secret of secrets) {
    const ours = of(secret);
    const account = secret.metadata?.annotations?.[SECRET_ACCOUNT_ANNOTATION];
    if (ours) ours.secrets.push(secret);
    else if (account?.startsWith(PREFIX)) append(strays, account, secret.metadata!.name!);
  }
  const labelled = [...roles, ...accounts, ...bindings].filter(isLabelled);
  const ranchers = new Set(labelled.filter((object) => of(object) === undefined).map(({ metadata }) => metadata!.name!));
  return { found, ranchers, strays, aliens: aliensIn([...bindings, ...(roleBindings ?? [])]), roleBindingsHidden: roleBindings === undefined };
}

export const isLabelled = ({ metadata }: KubernetesObject): boolean => metadata?.labels?.[IMPERSONATOR_LABEL] === "true";

/** Undefined where they may not be listed: less is seen then, and the caller says so. */
async function roleBindingsOf(client: ClusterClient, signal: AbortSignal): Promise<V1RoleBinding[] | undefined> {
  try {
    return (await client.list<V1RoleBinding>(ROLE_BINDINGS, {}, undefined, signal)).items;
  } catch (error) {
    if (isStatus(error, 403)) return undefined;
    throw error;
  }
}

/** Account → the bindings of others that give it something. */
function aliensIn(bindings: readonly (V1ClusterRoleBinding | V1RoleBinding)[]): Map<string, string[]> {
  const aliens = new Map<string, string[]>();
  for (const { metadata, subjects = [] } of bindings) {
    const { name = "", namespace } = metadata ?? {};
    for (const account of new Set(subjects.map(accountIn))) {
      if (account === undefined || (namespace === undefined && name === account)) continue;
      append(aliens, account, namespace === undefined ? `ClusterRoleBinding ${name}` : `RoleBinding ${namespace}/${name}`);
    }
  }
  return aliens;
}

/** The impersonator's account that a binding's subject names, by its kind or as a user's name. */
function accountIn({ kind, name, namespace }: { kind: string; name: string; namespace?: string }): string | undefined {
  const account = kind === "User" && name.startsWith(ACCOUNT_NAME) ? name.slice(ACCOUNT_NAME.length) : name;
  const here = kind === "User" ? account !== name : kind === "ServiceAccount" && namespace === NAMESPACE;
  return here && account.startsWith(PREFIX) ? account : undefined;
}

function append(map: Map<string, string[]>, key: string, value: string): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

// One cluster's lists against the ledger: wakes what differs, finds what has no grant. Lists only; a broken list is an error, never an absence.
import type { KubernetesObject, V1ClusterRole } from "@kubernetes/client-node";
import { loginEndsOf } from "../shared/decide/objects.ts";
import { namesIn } from "../shared/decide/rules.ts";
import type { ClusterClient } from "../shared/kube/client.ts";
import { METADATA_ONLY_LIST } from "../shared/kube/client.ts";
import type { Ledger } from "../shared/ledger/ledger.ts";
import type { SubjectRecord } from "../shared/ledger/record.ts";
import { CLUSTER_MISSING } from "../shared/ledger/status.ts";
import { IMPERSONATOR_LABEL, INSTALL_ANNOTATION, USER_ANNOTATION } from "../shared/names.ts";
import type { Config } from "../shared/run/config.ts";
import type { Bindings } from "./bindings.ts";
import { REMOVALS_MIN } from "./import.ts";
import { submitWithCandidates } from "./tell.ts";

const SELECTOR = { labelSelector: `${IMPERSONATOR_LABEL}=true` };
const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const NAMESPACED = "/api/v1/namespaces/cattle-impersonation-system";

interface Found {
  role?: V1ClusterRole;
  binding?: KubernetesObject;
  account?: KubernetesObject;
  readonly secrets: KubernetesObject[];
}
/** `held`: orphans that are too many to be believed at once. */
export interface ResyncResult {
  readonly subjects: number;
  readonly woken: number;
  readonly orphans: number;
  readonly held: number;
}
export interface ResyncParts {
  readonly client: ClusterClient;
  readonly ledger: Ledger;
  readonly bindings: Bindings;
  readonly config: Pick<Config, "source" | "install" | "removalsMax" | "profile">;
  /** run_id of the Redis that answers. */
  readonly run: string;
}

/** @throws ApiError when a list cannot be had whole. */
export async function resync({ client, ledger, bindings, config, run }: ResyncParts, signal: AbortSignal): Promise<ResyncResult> {
  const { cluster } = client;
  const found = await listAll(client, config.install, signal);
  let woken = 0;
  let subjects = 0;
  for await (const { subject, record } of ledger.subjects(cluster)) {
    signal.throwIfAborted();
    subjects += 1;
    const objects = found.get(subject.user);
    // A record that has only begun may know less than the role: that is told below.
    if (!record.applied && remembers(objects)) continue;
    found.delete(subject.user);
    if (!differs(record, objects, config, run)) continue;
    await ledger.submit(subject, {}, "resync", "binding");
    woken += 1;
  }
  // Without a management cluster every impersonator has a login behind it: one that never had was made by another source, whose setting may only be missing.
  const others = config.source === "logins" ? [...found].filter(([, { role }]) => role && loginEndsOf(role) === 0) : [];
  for (const [user] of others) found.delete(user);
  // What the ledger does not know is an orphan, or was forgotten with a lost Redis: then the role itself is the memory, and the worker reads it.
  const forgotten = [...found].filter(([, objects]) => remembers(objects));
  const orphans = [...found].filter(([, objects]) => !remembers(objects));
  const held = orphans.length > REMOVALS_MIN && orphans.length > config.removalsMax * (subjects + found.size) ? orphans.length : 0;
  for (const [user, { role }] of held > 0 ? forgotten : [...forgotten, ...orphans]) {
    signal.throwIfAborted();
    const copy = await ledger.learn(user, { join: cluster });
    const names = namesIn(role?.rules).filter(({ resource }) => resource === "groups");
    const candidates = bindings.candidatesFor(
      cluster,
      user,
      names.map(({ name }) => name),
    );
    await ledger.submit({ cluster, user }, { copy, candidates }, "orphan", "binding");
    await submitWithCandidates(ledger, bindings, { cluster, user }, { copy }, "facts", "binding");
    woken += 1;
  }
  return { subjects, woken, orphans: orphans.length + others.length, held: held + others.length };
}

/** Whether a role says that a login still runs. */
const remembers = (objects: Found | undefined): boolean => objects?.role !== undefined && loginEndsOf(objects.role) > Date.now();

/** Our objects by user, in four paged lists; Secrets and accounts without their contents. */
async function listAll(client: ClusterClient, install: string, signal: AbortSignal): Promise<Map<string, Found>> {
  const found = new Map<string, Found>();
  const of = (object: KubernetesObject): Found | undefined => {
    const { annotations = {} } = object.metadata ?? {};
    const user = annotations[USER_ANNOTATION];
    if (!user || annotations[INSTALL_ANNOTATION] !== install) return undefined;
    if (!found.has(user)) found.set(user, { secrets: [] });
    return found.get(user);
  };
  const [roles, bindings, accounts, secrets] = await Promise.all([
    client.list<V1ClusterRole>(`${RBAC}/clusterroles`, SELECTOR, undefined, signal),
    client.list(`${RBAC}/clusterrolebindings`, SELECTOR, METADATA_ONLY_LIST, signal),
    client.list(`${NAMESPACED}/serviceaccounts`, SELECTOR, METADATA_ONLY_LIST, signal),
    client.list(`${NAMESPACED}/secrets`, SELECTOR, METADATA_ONLY_LIST, signal),
  ]);
  for (const role of roles.items) Object.assign(of(role) ?? {}, { role });
  for (const binding of bindings.items) Object.assign(of(binding) ?? {}, { binding });
  for (const account of accounts.items) Object.assign(of(account) ?? {}, { account });
  for (const secret of secrets.items) of(secret)?.secrets.push(secret);
  return found;
}

/** Whether a record and what stands on the cluster are no longer what was settled. */
function differs(record: SubjectRecord, objects: Found | undefined, { profile }: ResyncParts["config"], run: string): boolean {
  const { applied } = record;
  // Not settled, settled on a Redis that is gone, put aside while the cluster was not configured, or written under another profile.
  if (record.obs < record.gen || (record.gen > 0 && record.conf !== run) || record.reason === CLUSTER_MISSING || (applied && applied.profile !== profile))
    return true;
  if (!applied) return objects !== undefined;
  if (!objects?.role || !objects.binding || !objects.account || objects.secrets.length !== 1) return true;
  return (
    objects.role.metadata!.resourceVersion !== applied.role.resourceVersion ||
    objects.role.metadata!.uid !== applied.role.uid ||
    objects.binding.metadata!.uid !== applied.bindingUid ||
    objects.account.metadata!.uid !== applied.accountUid ||
    objects.secrets[0]!.metadata!.uid !== applied.secret.uid
  );
}

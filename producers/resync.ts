// One cluster's lists against the ledger: wakes what differs, finds what has no grant. Lists only; a broken list is an error, never an absence.
import type { KubernetesObject, V1ClusterRole } from "@kubernetes/client-node";
import { driftIn } from "../shared/decide/drift.ts";
import { loginEndsOf } from "../shared/decide/objects.ts";
import type { Kind } from "../shared/decide/plan.ts";
import { RANCHERS } from "../shared/decide/memory.ts";
import { namesIn } from "../shared/decide/rules.ts";
import type { ClusterClient } from "../shared/kube/client.ts";
import type { Ledger } from "../shared/ledger/ledger.ts";
import type { SubjectRecord } from "../shared/ledger/record.ts";
import { CLUSTER_MISSING } from "../shared/ledger/status.ts";
import { nameOf } from "../shared/names.ts";
import type { Config } from "../shared/run/config.ts";
import type { Subject } from "../shared/subject.ts";
import type { Bindings } from "./bindings.ts";
import type { Found } from "./found.ts";
import { findOne, listAll } from "./found.ts";
import { REMOVALS_MIN } from "./import.ts";
import { submitWithCandidates } from "./tell.ts";

/** `held`: orphans that are too many to be believed at once. */
export interface ResyncResult {
  readonly subjects: number;
  readonly woken: number;
  readonly orphans: number;
  readonly held: number;
  /** Subjects whose account is named by a binding of others, where that was not known before. */
  readonly aliens: readonly { readonly user: string; readonly alien: string }[];
  readonly roleBindingsHidden: boolean;
}
export interface ResyncParts {
  readonly client: ClusterClient;
  readonly ledger: Ledger;
  readonly bindings: Bindings;
  readonly config: Pick<Config, "source" | "install" | "removalsMax" | "profile" | "tokenMode" | "adopt">;
  /** run_id of the Redis that answers. */
  readonly run: string;
  /** So many removals were allowed by a person, above the limit too. */
  readonly allowed?: number;
}

/** @throws ApiError when a list cannot be had whole. */
export async function resync(parts: ResyncParts, signal: AbortSignal): Promise<ResyncResult> {
  const { client, ledger, config, run, allowed = 0 } = parts;
  const { cluster } = client;
  const began = await ledger.now();
  const { found, ranchers, strays, aliens, roleBindingsHidden } = await listAll(client, config.install, signal);
  const tampered: { user: string; alien: string }[] = [];
  let woken = 0;
  let subjects = 0;
  for await (const { subject, record } of ledger.subjects(cluster)) {
    signal.throwIfAborted();
    subjects += 1;
    const objects = found.get(subject.user);
    const alien = (aliens.get(nameOf(subject.user)) ?? []).join(", ").slice(0, 500);
    if (alien !== record.alien) {
      await ledger.noteAlien(subject, alien);
      if (alien !== "") tampered.push({ user: subject.user, alien });
    }
    // A record that has only begun may know less than the role: that is told below.
    if (!record.applied && remembers(objects)) continue;
    found.delete(subject.user);
    // Its Secret is Rancher's too, and no stray. It is looked at again once Rancher's objects have gone, or may be adopted.
    const waits = waitsForRancher(record, run);
    if (waits && ranchers.has(nameOf(subject.user)) && !config.adopt) continue;
    const others = (strays.get(nameOf(subject.user)) ?? []).filter((name) => name !== record.applied?.secret?.name);
    if (others.length === 0 && !waits && !(differs(record, objects, config, run) && (await differsStill(parts, subject, began, signal)))) continue;
    await ledger.submit(subject, { strays: others }, "resync", "binding");
    woken += 1;
  }
  const { forgotten, orphans, others, held } = unknownIn(found, subjects, config);
  const asking = [...(held ? orphans : []), ...others];
  const goOn = asking.length <= allowed;
  for (const [user, { role }] of [...forgotten, ...(held ? [] : orphans), ...(goOn ? asking : [])]) {
    signal.throwIfAborted();
    await tellOf(parts, user, groupsIn(role), strays.get(nameOf(user)) ?? [], began);
    woken += 1;
  }
  const known = { subjects, woken, aliens: tampered, roleBindingsHidden };
  return { ...known, orphans: orphans.length + others.length, held: goOn ? 0 : asking.length };
}

/** Of somebody whom the ledger does not know, or not well: what stands for them is looked at, and their groups' bindings count. */
async function tellOf(parts: ResyncParts, user: string, groups: readonly string[], strays: readonly string[], began: number): Promise<void> {
  const { client, ledger, bindings } = parts;
  const subject = { cluster: client.cluster, user };
  const copy = await ledger.learn(user, { join: subject.cluster });
  const candidates = bindings.candidatesFor(subject.cluster, user, groups);
  // Whoever was settled meanwhile was looked at: the bindings alone may be new.
  const cause = strays.length === 0 && (await isSettledSince(ledger, subject, began)) ? "facts" : "orphan";
  await ledger.submit(subject, { copy, candidates, strays }, cause, "binding");
  await submitWithCandidates(ledger, bindings, subject, { copy }, "facts", "binding");
}

const isSettledSince = async (ledger: Ledger, subject: Subject, began: number): Promise<boolean> => ((await ledger.record(subject))?.settledAt ?? 0) >= began;

/**
 * Whether somebody who differs from the lists differs from what stands now too. Whoever was settled after the lists began may stand there as they were before:
 * to submit them would take `ready` from people who were just answered so.
 */
async function differsStill({ client, ledger, config, run }: ResyncParts, subject: Subject, began: number, signal: AbortSignal): Promise<boolean> {
  if (!(await isSettledSince(ledger, subject, began))) return true;
  const objects = await findOne(client, subject.user, config.install, signal);
  const record = await ledger.record(subject);
  return record === undefined || differs(record, objects, config, run);
}

type Entry = [user: string, objects: Found];
/** What stands for nobody whom the ledger knows, sorted. `held`: the orphans are too many to be believed at once. */
export interface Unknown {
  /** Their role remembers a login: a lost Redis forgot them. */
  readonly forgotten: readonly Entry[];
  readonly orphans: readonly Entry[];
  /** Without a management cluster every impersonator has a login behind it: one that never had was made by another source, whose setting may only be missing. */
  readonly others: readonly Entry[];
  readonly held: boolean;
}

/** `subjects`: how many the ledger knows. */
export function unknownIn(found: ReadonlyMap<string, Found>, subjects: number, { source, removalsMax }: Pick<Config, "source" | "removalsMax">): Unknown {
  const isOther = ([, { role }]: Entry): boolean => source === "logins" && role !== undefined && loginEndsOf(role) === 0;
  const others = [...found].filter(isOther);
  const rest = [...found].filter((entry) => !isOther(entry));
  const forgotten = rest.filter(([, objects]) => remembers(objects));
  const orphans = rest.filter(([, objects]) => !remembers(objects));
  return { forgotten, orphans, others, held: orphans.length > REMOVALS_MIN && orphans.length > removalsMax * (subjects + rest.length) };
}

/** The groups that a role allows. */
export const groupsIn = (role: V1ClusterRole | undefined): string[] =>
  namesIn(role?.rules)
    .filter(({ resource }) => resource === "groups")
    .map(({ name }) => name);

/** Whether a role says that a login still runs. */
export const remembers = (objects: Found | undefined): boolean => objects?.role !== undefined && loginEndsOf(objects.role) > Date.now();

/** Whether it is settled that Rancher's impersonator is left alone. */
const waitsForRancher = ({ result, reason, obs, gen, conf }: SubjectRecord, run: string): boolean =>
  result === "waiting" && reason.startsWith(RANCHERS) && obs >= gen && conf === run;

/** Whether a record and what stands on the cluster are no longer what was settled. */
function differs(record: SubjectRecord, objects: Found | undefined, { profile, tokenMode, install }: ResyncParts["config"], run: string): boolean {
  const { applied } = record;
  // Not settled, settled on a Redis that is gone, or put aside while the cluster was not configured.
  if (record.obs < record.gen || (record.gen > 0 && record.conf !== run) || record.reason === CLUSTER_MISSING) return true;
  // Written under other settings.
  if (applied && (applied.profile !== profile || (tokenMode === "secret") !== (applied.secret !== undefined))) return true;
  if (!applied) return objects !== undefined;
  if (!objects?.role || !objects.binding || !objects.account || objects.secrets.length !== (applied.secret ? 1 : 0)) return true;
  if (objects.role.metadata!.resourceVersion !== applied.role.resourceVersion) return true;
  // By content, not by uid alone: what was done while no watch heard it is found here or never.
  const { role, account, binding, secrets } = objects;
  const seen = Object.entries({ ClusterRole: [role], ServiceAccount: [account], ClusterRoleBinding: [binding], Secret: secrets }) as [
    Kind,
    KubernetesObject[],
  ][];
  return seen.some(([kind, all]) => all.some((object) => driftIn({ kind, object, gone: false }, applied.identity.user, applied, install)));
}

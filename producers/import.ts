// One complete read of all sources into the ledger, by difference, the removal of what the lists lack included. Only after it does the ledger count as whole.
import type { Ledger } from "../shared/ledger/ledger.ts";
import type { Told } from "../shared/ledger/told.ts";
import type { SubjectRecord, UserRecord } from "../shared/ledger/record.ts";
import type { Log } from "../shared/run/log.ts";
import type { Grant, Subject } from "../shared/subject.ts";
import { subjectKey, subjectOf } from "../shared/subject.ts";
import type { Bindings } from "./bindings.ts";
import { submitWithCandidates } from "./tell.ts";

const AT_ONCE = 64;
/** Fewer removals than this are never held. */
export const REMOVALS_MIN = 10;

export interface ImportOptions {
  /** The lists come from a management cluster that is older than the ledger: their lower versions count. */
  readonly whole: boolean;
  readonly removalsMax: number;
}
export interface Imported {
  readonly users: number;
  readonly subjects: number;
  readonly changed: number;
  /** Cluster → removals that wait for a person's word. */
  readonly held: ReadonlyMap<string, number>;
}

/** Writes what `bindings` holds. @throws when Redis does not answer; the mark is then not set. */
export async function importAll(ledger: Ledger, bindings: Bindings, log: Log, options: ImportOptions): Promise<Imported> {
  const records = await subjectsOf(ledger, bindings);
  const copies = await learnAll(ledger, bindings, new Set([...records.keys()].map((key) => subjectOf(key).user)), options.whole);
  const gone = new Map([...records].map(([key, record]) => [key, removalsOf(bindings, subjectOf(key), record)] as const));
  const held = heldRemovals(records, gone, bindings, options.removalsMax);
  for (const [cluster, removals] of held) log.removalsHeld({ cluster, removals });
  let changed = 0;
  await inParallel([...records.keys()], async (key) => {
    const subject = subjectOf(key);
    const record = records.get(key);
    const removed = held.has(subject.cluster) ? [] : gone.get(key)!;
    let copy = copies.get(subject.user)!;
    if (!copy.clusters.includes(subject.cluster)) copy = await ledger.learn(subject.user, { join: subject.cluster });
    const candidates = (record?.candidates ?? []).filter(({ id }) => !bindings.get(id)).map(({ id }) => ({ id, rv: bindings.goneAt(id), live: undefined }));
    const queue = removed.length > 0 ? "deletion" : "binding";
    const told = { grants: [...bindings.grantsOf(subject.cluster, subject.user), ...removed], candidates, copy, whole: options.whole };
    const { delayMs } = await submitWithCandidates(ledger, bindings, subject, told, queue, queue);
    if (delayMs >= 0) changed += 1;
  });
  return { users: copies.size, subjects: records.size, changed, held };
}

/** Every subject that the ledger or a source knows. */
async function subjectsOf(ledger: Ledger, bindings: Bindings): Promise<Map<string, SubjectRecord | undefined>> {
  const found = new Map<string, SubjectRecord | undefined>();
  for (const subject of bindings.subjects()) found.set(subjectKey(subject), undefined);
  for (const cluster of await ledger.clusters()) for await (const { subject, record } of ledger.subjects(cluster)) found.set(subjectKey(subject), record);
  return found;
}

/** Tells the users' records; whoever is known to the ledger but to no list is gone. */
async function learnAll(ledger: Ledger, bindings: Bindings, known: ReadonlySet<string>, whole: boolean): Promise<Map<string, UserRecord>> {
  const copies = new Map<string, UserRecord>();
  await inParallel([...new Set([...known, ...bindings.users.keys(), ...bindings.attributes.keys()])], async (user) => {
    const said = bindings.users.get(user) ?? { rv: bindings.versions.get("users") ?? "0", live: null };
    copies.set(user, await ledger.learn(user, { user: said, attribute: bindings.attributes.get(user) ?? [], whole }));
  });
  return copies;
}

/** Grants in the record that no list has any more. */
function removalsOf(bindings: Bindings, { cluster, user }: Subject, record: SubjectRecord | undefined): Told<Grant>[] {
  const live = new Set(bindings.grantsOf(cluster, user).map(({ id }) => id));
  return (record?.grants ?? []).filter(({ id }) => !live.has(id)).map(({ id }) => ({ id, rv: bindings.goneAt(id), live: undefined }));
}

/** A list that lost many bindings may be a mistake: above the limit nobody is removed on its word. Candidates and facts are told all the same. */
function heldRemovals(
  records: ReadonlyMap<string, SubjectRecord | undefined>,
  gone: ReadonlyMap<string, readonly unknown[]>,
  bindings: Bindings,
  removalsMax: number,
): Map<string, number> {
  const count = new Map<string, { all: number; last: number }>();
  for (const [key, record] of records) {
    const { cluster, user } = subjectOf(key);
    const of = count.get(cluster) ?? { all: 0, last: 0 };
    if (record && record.grants.length > 0) of.all += 1;
    if (gone.get(key)!.length > 0 && bindings.grantsOf(cluster, user).length === 0) of.last += 1;
    count.set(cluster, of);
  }
  return new Map([...count].filter(([, { all, last }]) => last > REMOVALS_MIN && last > all * removalsMax).map(([cluster, { last }]) => [cluster, last]));
}

/** So many at once: enough to fill the connection, few enough to stop soon. */
async function inParallel<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const item of rest) await act(item);
    }),
  );
}

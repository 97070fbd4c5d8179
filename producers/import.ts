// One complete read of all sources into the ledger, by difference, the removal of what the lists lack included. Only after it does the ledger count as whole.
import type { Ledger } from "../shared/ledger/ledger.ts";
import type { Told } from "../shared/ledger/told.ts";
import type { SubjectRecord, UserRecord } from "../shared/ledger/record.ts";
import type { Candidate, Grant, Subject } from "../shared/subject.ts";
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
  /** Cluster → so many removals were allowed by a person, above the limit too. */
  readonly allowed?: ReadonlyMap<string, number>;
}
export interface Imported {
  readonly users: number;
  readonly subjects: number;
  readonly changed: number;
  /** Cluster → removals that wait for a person's word. */
  readonly held: ReadonlyMap<string, number>;
}

/** Writes what `bindings` holds. @throws when Redis does not answer, or the signal ends it; the mark is then not set. */
export async function importAll(ledger: Ledger, bindings: Bindings, options: ImportOptions, signal: AbortSignal): Promise<Imported> {
  const records = await subjectsOf(ledger, bindings);
  const silenced = await silencedUsers(ledger, bindings, records, signal);
  const held = heldRemovals(records, bindings, { ...options, silenced });
  const copies = await learnAll(ledger, bindings, { records, held, whole: options.whole, signal });
  let changed = 0;
  await inParallel([...records.keys()], signal, async (key) => {
    const subject = subjectOf(key);
    const ends = held.has(subject.cluster) ? { grants: [], candidates: [] } : endsFor(bindings, subject, records.get(key));
    let copy = copies.get(subject.user)!;
    if (!copy.clusters.includes(subject.cluster)) copy = await ledger.learn(subject.user, { join: subject.cluster });
    const queue = ends.grants.length > 0 ? "deletion" : "binding";
    const told = { grants: [...bindings.grantsOf(subject.cluster, subject.user), ...ends.grants], candidates: ends.candidates, copy, whole: options.whole };
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

interface Learning {
  readonly records: ReadonlyMap<string, SubjectRecord | undefined>;
  readonly held: ReadonlyMap<string, number>;
  readonly whole: boolean;
  readonly signal: AbortSignal;
}
/** Tells the users' records; whoever is known to the ledger but to no list is gone, unless that is held back. */
async function learnAll(ledger: Ledger, bindings: Bindings, { records, held, whole, signal }: Learning): Promise<Map<string, UserRecord>> {
  const copies = new Map<string, UserRecord>();
  const subjects = [...records.keys()].map(subjectOf);
  const kept = new Set(subjects.filter(({ cluster }) => held.has(cluster)).map(({ user }) => user));
  await inParallel([...new Set([...subjects.map(({ user }) => user), ...bindings.users.keys(), ...bindings.attributes.keys()])], signal, async (user) => {
    const gone = kept.has(user) || bindings.unread.has(`users ${user}`) ? undefined : { rv: bindings.versions.get("users") ?? "0", live: null };
    const said = bindings.users.get(user) ?? gone;
    const attribute = bindings.attributes.get(user) ?? (kept.has(user) || bindings.unread.has(`userattributes ${user}`) ? undefined : []);
    copies.set(user, await ledger.learn(user, { ...(said ? { user: said } : {}), ...(attribute ? { attribute } : {}), whole }));
  });
  return copies;
}

/** Grants and candidates in the record that no list has any more, or that now mean somebody else. */
function endsFor(bindings: Bindings, { cluster, user }: Subject, record: SubjectRecord | undefined): { grants: Told<Grant>[]; candidates: Told<Candidate>[] } {
  const live = new Set(bindings.grantsOf(cluster, user).map(({ id }) => id));
  const gone = ({ id }: { id: string }) => ({ id, rv: bindings.goneAt(id), live: undefined });
  return {
    grants: (record?.grants ?? []).filter(({ id }) => !live.has(id)).map(gone),
    candidates: (record?.candidates ?? []).map((candidate) => bindings.candidateOn(cluster, candidate.id) ?? gone(candidate)),
  };
}

/** Users whose UserAttribute the ledger knows and the list lacks: their groups and extras would go. */
async function silencedUsers(
  ledger: Ledger,
  bindings: Bindings,
  records: ReadonlyMap<string, SubjectRecord | undefined>,
  signal: AbortSignal,
): Promise<Set<string>> {
  const users = new Set([...records].filter(([, record]) => record?.facts).map(([key]) => subjectOf(key).user));
  const missing = [...users].filter((user) => !bindings.attributes.has(user) && !bindings.unread.has(`userattributes ${user}`));
  const silenced = new Set<string>();
  await inParallel(missing, signal, async (user) => {
    if ((await ledger.userRecord(user)).attributed) silenced.add(user);
  });
  return silenced;
}

/** A list that lost much may be a mistake: where more than the limit would lose their last reason, their User, or what a UserAttribute says, nobody is removed on its word. */
function heldRemovals(
  records: ReadonlyMap<string, SubjectRecord | undefined>,
  bindings: Bindings,
  { removalsMax, allowed, silenced }: Pick<ImportOptions, "removalsMax" | "allowed"> & { readonly silenced: ReadonlySet<string> },
): Map<string, number> {
  const count = new Map<string, { all: number; lost: number }>();
  for (const [key, record] of records) {
    const subject = subjectOf(key);
    if (!record || (record.grants.length === 0 && record.candidates.length === 0)) continue;
    const of = count.get(subject.cluster) ?? { all: 0, lost: 0 };
    const keeps = bindings.grantsOf(subject.cluster, subject.user).length > 0 || endsFor(bindings, subject, record).candidates.some(({ live }) => live);
    const userGone = record.facts?.user && !bindings.users.get(subject.user)?.live;
    count.set(subject.cluster, { all: of.all + 1, lost: of.lost + (!keeps || userGone || silenced.has(subject.user) ? 1 : 0) });
  }
  // Allowed were those that were named: where more are lost by now, a person is asked again.
  const limit = (cluster: string, all: number): number => Math.max(REMOVALS_MIN, all * removalsMax, allowed?.get(cluster) ?? 0);
  return new Map([...count].filter(([cluster, { all, lost }]) => lost > limit(cluster, all)).map(([cluster, { lost }]) => [cluster, lost]));
}

/** So many at once: enough to fill the connection, few enough to stop soon. */
async function inParallel<T>(items: readonly T[], signal: AbortSignal, act: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const item of rest) {
        signal.throwIfAborted();
        await act(item);
      }
    }),
  );
}

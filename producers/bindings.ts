// Who holds which binding, as the watches last told it: the indexes behind grants and candidates. Plain memory; sources.ts fills it.
import type { Told } from "../shared/ledger/told.ts";
import type { Candidate, Facts, Grant, UserObject } from "../shared/subject.ts";
import { BUILT_IN_GROUPS } from "../shared/subject.ts";
import type { Binding, BindingKind, ProviderFacts, SourceKind } from "./rancher.ts";

const EVERYWHERE = "*";

/** One process' view. Two producers may differ for a moment; the ledger merges by version, so neither can take the other back. */
export class Bindings {
  /** Filled once from whole lists; until then nobody may be judged by it. */
  loaded = false;
  readonly #byId = new Map<string, Binding>();
  /** User → ids of the user's own bindings. */
  readonly #byUser = new Map<string, Set<string>>();
  /** Cluster, or every cluster → ids of the bindings that make candidates. */
  readonly #candidates = new Map<string, Set<string>>();
  readonly users = new Map<string, { readonly rv: string; readonly live: UserObject | null }>();
  readonly attributes = new Map<string, readonly ProviderFacts[]>();
  /** `users u-abc`: there, but it could not be read. */
  readonly unread = new Set<string>();
  /** How far each stream has come. */
  readonly versions = new Map<SourceKind, string>();

  get(id: string): Binding | undefined {
    return this.#byId.get(id);
  }

  put(binding: Binding): void {
    this.drop(binding.id);
    this.#byId.set(binding.id, binding);
    this.#index(binding, (set) => set.add(binding.id));
  }
  drop(id: string): void {
    const binding = this.#byId.get(id);
    if (!binding) return;
    this.#byId.delete(id);
    this.#index(binding, (set) => set.delete(id));
  }
  clear(): void {
    for (const map of [this.#byId, this.#byUser, this.#candidates, this.users, this.attributes, this.unread]) map.clear();
  }

  #index(binding: Binding, act: (set: Set<string>) => void): void {
    const into = (map: Map<string, Set<string>>, key: string): void => {
      const set = map.get(key) ?? new Set<string>();
      act(set);
      if (set.size > 0) map.set(key, set);
      else map.delete(key);
    };
    if ("user" in binding.holder) into(this.#byUser, binding.holder.user);
    if (makesCandidates(binding)) into(this.#candidates, binding.cluster ?? EVERYWHERE);
  }

  /** The user's own bindings of a cluster. */
  grantsOf(cluster: string, user: string): Told<Grant>[] {
    return this.#ids(this.#byUser, user)
      .filter((binding) => binding.cluster === cluster)
      .map(grantFrom);
  }
  /** Every (cluster, user) with a binding of its own. */
  *subjects(): Generator<{ cluster: string; user: string }> {
    for (const { cluster, holder } of this.#byId.values()) if (cluster !== undefined && "user" in holder) yield { cluster, user: holder.user };
  }
  /** What the sources say of a user, as the ledger would hold it had nobody logged in. */
  factsOf(user: string): Facts {
    const spoken = (this.attributes.get(user) ?? []).filter(({ values }) => values.length > 0);
    return {
      user: this.users.get(user)?.live ?? null,
      providers: Object.fromEntries(spoken.map(({ provider, values }) => [provider, Object.fromEntries(values)])),
    };
  }
  /** Why this user, with these groups, may have an impersonator on this cluster at login. */
  candidatesFor(cluster: string, user: string, groups: readonly string[]): Told<Candidate>[] {
    const held = new Set([...BUILT_IN_GROUPS, ...groups]);
    return [...this.#ids(this.#candidates, cluster), ...this.#ids(this.#candidates, EVERYWHERE)]
      .filter(({ holder }) => ("user" in holder ? holder.user === user : held.has(holder.group)))
      .map(candidateFrom);
  }
  /** What a stored candidate is now on this cluster; undefined = none any more. Its group may be another: decide asks. */
  candidateOn(cluster: string, id: string): Told<Candidate> | undefined {
    const binding = this.#byId.get(id);
    return binding && makesCandidates(binding) && (binding.cluster ?? cluster) === cluster ? candidateFrom(binding) : undefined;
  }
  #ids(map: Map<string, Set<string>>, key: string): Binding[] {
    return [...(map.get(key) ?? [])].map((id) => this.#byId.get(id)!);
  }
  /** The resourceVersion as of which a binding that is not here is gone. */
  goneAt(id: string): string {
    return this.versions.get(id.slice(0, id.indexOf(":")) as BindingKind) ?? "0";
  }
}

/** Group bindings, and global bindings of whomever. */
export const makesCandidates = (binding: Binding): boolean => "group" in binding.holder || binding.cluster === undefined;

/** A binding of the user itself, as the ledger is told of it. */
export function grantFrom({ id, rv, kind, name }: Binding): Told<Grant> {
  return { id, rv, live: { kind, name } };
}
/** A binding of a group, or a global one, as the ledger is told of it. */
export function candidateFrom({ id, rv, kind, name, holder }: Binding): Told<Candidate> {
  return { id, rv, live: "group" in holder ? { kind, name, group: holder.group } : { kind, name, global: true } };
}
/** Whether two readings of a binding give the same person or group the same cluster. */
export const sameHolder = (a: Binding, b: Binding): boolean => a.cluster === b.cluster && JSON.stringify(a.holder) === JSON.stringify(b.holder);

// What producers tell the ledger, and how it is packed for submit.lua and learn.lua. Pure.
import type { Candidate, Grant, LoginGrant, UserObject, ValueKey } from "../subject.ts";
import type { UserRecord } from "./record.ts";

/** A binding as a source tells it: `live` undefined = it is gone, as of `rv` (the resourceVersion of the binding, of its end, or of the list that lacks it). */
export interface Told<T> {
  readonly id: string;
  readonly rv: string;
  readonly live: WithoutId<T> | undefined;
}
type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;
/** What is submitted for a subject. `whole`: the versions of a restored management cluster count although they are lower. */
export interface Submission {
  readonly grants?: readonly Told<Grant>[];
  readonly candidates?: readonly Told<Candidate>[];
  readonly login?: Pick<LoginGrant, "at" | "end">;
  readonly endLogin?: number;
  /** The cluster's roles were not read since the ledger began anew, and one of them may remember what ends here: for how long (ms) that is to be known. */
  readonly unreadMs?: number;
  readonly copy?: UserRecord;
  readonly whole?: boolean;
  /** A provider was dropped: what the role remembers may be its. */
  readonly dropRestored?: boolean;
  /** Somebody may have changed objects that nobody told of: the run looks at the cluster. */
  readonly look?: boolean;
  /** Names of Secrets of the account that no label leads to. */
  readonly strays?: readonly string[];
  /** A person asked: a subject that was stopped because of another manager may write again. */
  readonly again?: boolean;
}
/** `delayMs` -1: nothing changed, no job. */
export interface Submitted {
  readonly gen: number;
  readonly delayMs: number;
  readonly loginStored: boolean;
}

/** What a source says of a user; see learn.lua. */
export interface Learned {
  readonly user?: { readonly rv: string; readonly live: UserObject | null };
  readonly whole?: boolean;
  readonly values?: readonly { readonly provider: string; readonly key: ValueKey; readonly at: number; readonly list: readonly string[] }[];
  readonly attribute?: readonly {
    readonly provider: string;
    readonly at: number;
    readonly hash: string;
    readonly values: readonly (readonly [ValueKey, readonly string[]])[];
  }[];
  readonly drop?: { readonly provider: string; readonly at: number };
  readonly join?: string;
}

/** As submit.lua reads it: `json` '' = gone. */
export function packSubmission({
  grants = [],
  candidates = [],
  login,
  endLogin,
  unreadMs,
  copy,
  whole = false,
  dropRestored = false,
  strays = [],
  again = false,
}: Submission) {
  const pack = (list: readonly Told<object>[]) => list.map(({ id, rv, live }) => [id, rv, live ? JSON.stringify(live) : ""]);
  return {
    whole,
    dropRestored,
    grants: pack(grants),
    candidates: pack(candidates),
    login,
    endLogin,
    unread: unreadMs ?? false,
    strays: strays.length > 0 ? strays : undefined,
    again,
    copy: copy && { n: copy.n, json: JSON.stringify(copy.facts), spoke: Object.keys(copy.facts.providers).length > 0 },
  };
}

/** As learn.lua reads it. */
export function packLearned({ user, whole = false, values, attribute, drop, join }: Learned) {
  return {
    user: user && { rv: user.rv, json: JSON.stringify(user.live) },
    whole,
    drop,
    join,
    values: values?.map(({ provider, key, at, list }) => [provider, key, at, JSON.stringify(list)]),
    attribute: attribute?.map(({ provider, at, hash, values: said }) => [provider, at, hash, said.map(([key, list]) => [key, JSON.stringify(list)])]),
  };
}

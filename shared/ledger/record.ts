// What a subject's and a user's record hold, read from their Redis fields. Pure; the scripts beside it write them.
import type { Knowledge } from "../decide/identity.ts";
import type { Witness } from "../decide/rules.ts";
import type { Candidate, Facts, Grant, Identity, LoginGrant, ProviderValues, Restored, UserObject, ValueKey } from "../subject.ts";

/** What the last pass wrote and saw, so that an unchanged subject needs no call. */
export interface Applied {
  readonly identity: Identity;
  readonly profile: string;
  /** When the login grant ends that the role remembers (ms, 0 = none). */
  readonly ends: number;
  readonly role: { readonly uid: string; readonly resourceVersion: string };
  readonly accountUid: string;
  readonly bindingUid: string;
  /** Missing where tokens are requested instead of kept in a Secret. */
  readonly secret?: { readonly name: string; readonly uid: string };
  /** The last change of the role, while it is still to be proved. */
  readonly witness?: Witness;
}

/** Another manager wrote over an object of ours, which then had this version. */
export interface Rival {
  readonly at: number;
  readonly resourceVersion: string;
}

/** See the scripts for who writes what. Times in ms of redis TIME. */
export interface SubjectRecord {
  readonly gen: number;
  readonly obs: number;
  readonly stamp: string;
  readonly grants: readonly Grant[];
  readonly candidates: readonly Candidate[];
  readonly login: LoginGrant | undefined;
  readonly facts: Facts | undefined;
  readonly restored: Restored | undefined;
  readonly applied: Applied | undefined;
  readonly conf: string;
  readonly look: boolean;
  /** Names of Secrets that were seen to be the account's, and that no label leads to. */
  readonly strays: readonly string[];
  readonly rivals: readonly Rival[];
  /** Others' bindings that name the impersonator's account, as the last resync found them. */
  readonly alien: string;
  readonly result: string;
  /** Since when `result` is so; failed and retrying are one trouble. 0 = not known. */
  readonly since: number;
  readonly reason: string;
  readonly written: string;
  readonly owner: string;
  readonly fails: number;
  readonly lastFail: number;
  readonly retryAt: number;
  readonly next: number;
  readonly removedAt: number;
  readonly settledAt: number;
  readonly changedAt: number;
}

/** Redis answers hashes as a flat list of field, value, field, … */
export function fieldsOf(flat: readonly unknown[]): Map<string, string> {
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < flat.length; i += 2) fields.set(String(flat[i]), String(flat[i + 1]));
  return fields;
}

/** `<resourceVersion> <json>` or `<resourceVersion> gone <ms>`. */
function live<T>(id: string, text: string): T[] {
  const json = text.slice(text.indexOf(" ") + 1);
  return json.startsWith("gone ") ? [] : [{ id, ...(JSON.parse(json) as T) }];
}

/** Reads every field that the scripts write; unknown ones are a newer version's. */
export function recordOf(fields: ReadonlyMap<string, string>): SubjectRecord {
  const number = (name: string): number => Number(fields.get(name) ?? 0);
  const text = (name: string): string => fields.get(name) ?? "";
  const json = (name: string): unknown => (fields.has(name) ? JSON.parse(text(name)) : undefined);
  const grants: Grant[] = [];
  const candidates: Candidate[] = [];
  for (const [field, value] of fields) {
    if (field.startsWith("g:")) grants.push(...live<Grant>(field.slice(2), value));
    if (field.startsWith("e:")) candidates.push(...live<Candidate>(field.slice(2), value));
  }
  const restored = text("restored");
  const space = restored.indexOf(" ");
  const drop = number("loginDrop");
  return {
    gen: number("gen"),
    obs: number("obs"),
    stamp: text("stamp"),
    grants,
    candidates,
    login: fields.has("loginEnd") ? { at: number("loginAt"), end: number("loginEnd"), ...(drop > 0 ? { drop } : {}) } : undefined,
    facts: json("facts") as Facts | undefined,
    restored: space > 0 ? { ...(JSON.parse(restored.slice(space + 1)) as ProviderValues), end: Number(restored.slice(0, space)) } : undefined,
    applied: json("applied") as Applied | undefined,
    conf: text("conf"),
    look: fields.has("look"),
    strays: (json("strays") ?? []) as string[],
    rivals: rivalsOf(text("rivals")),
    alien: text("alien"),
    result: text("result"),
    since: number("since"),
    reason: text("reason"),
    written: text("written"),
    owner: text("owner"),
    fails: number("fails"),
    lastFail: number("lastFail"),
    retryAt: number("retryAt"),
    next: number("next"),
    removedAt: number("removedAt"),
    settledAt: number("settledAt"),
    changedAt: number("changedAt"),
  };
}

/** `<ms>/<resourceVersion> …` */
function rivalsOf(text: string): Rival[] {
  const parts = text.split(" ").filter((part) => part !== "");
  return parts.map((part) => ({ at: Number(part.slice(0, part.indexOf("/"))), resourceVersion: part.slice(part.indexOf("/") + 1) }));
}

/** What `decide` may know. */
export function knowledgeOf(user: string, record: SubjectRecord, now: number): Knowledge {
  const { grants, candidates, login, facts, restored } = record;
  return { user, grants, candidates, login, facts, restored, now };
}

/** A user's record as the copies and the hook need it. */
export interface UserRecord {
  readonly n: string;
  readonly facts: Facts;
  readonly clusters: readonly string[];
  /** A UserAttribute has spoken, and not yet gone. */
  readonly attributed: boolean;
  /** Values with their times, for a merge in memory: `<key>:<provider>` → ms. */
  readonly times: ReadonlyMap<string, number>;
}

export function userRecordOf(fields: ReadonlyMap<string, string>): UserRecord {
  const providers: Record<string, ProviderValues> = Object.create(null) as Record<string, ProviderValues>;
  const clusters: string[] = [];
  const times = new Map<string, number>();
  for (const field of [...fields.keys()].sort()) {
    const value = fields.get(field)!;
    if (field.startsWith("c:")) clusters.push(field.slice(2));
    if (!field.startsWith("f:")) continue;
    const [, key, provider] = /^f:([^:]+):(.*)$/s.exec(field)!;
    const [, at, json] = /^(\S+) (.*)$/s.exec(value)!;
    times.set(`${key}:${provider}`, Number(at));
    if (json !== "null") providers[provider!] = { ...providers[provider!], [key as ValueKey]: JSON.parse(json!) as string[] };
  }
  const user = fields.get("user");
  const sorted = Object.fromEntries(Object.entries(providers).sort(([a], [b]) => (a < b ? -1 : 1)));
  return {
    n: fields.get("n") ?? "0",
    facts: { user: user ? (JSON.parse(user.slice(user.indexOf(" ") + 1)) as UserObject | null) : null, providers: sorted },
    clusters,
    attributed: [...fields.keys()].some((field) => field.startsWith("ua:")),
    times,
  };
}

export type Verdict = "ok" | "newer" | "lost";
/** What a run did besides its result. `revokes`: somebody may do less than before. `rival`: the version of an object of ours that another manager had written; `rivalOver`: it has now written what we want. */
export interface Done {
  readonly revokes?: "removed" | "narrowed" | undefined;
  readonly rival?: string | undefined;
  readonly rivalOver?: boolean;
}
/** What a run found, for settle.lua. `next` (ms, 0 = never): when the decision changes by itself. */
export interface Settlement extends Done {
  readonly result: "ready" | "waiting" | "removed";
  readonly reason: string;
  readonly applied: Applied | undefined;
  readonly next: number;
}
/** The answers of take.lua: `go` holds the lock from here on. */
export type Taken =
  | { readonly answer: "busy" | "wait"; readonly waitMs: number }
  | { readonly answer: "done" | "version" }
  | { readonly answer: "go"; readonly takeover: boolean; readonly read: Read };
/** A read of the record by its owner. `now`: redis TIME in ms, the only clock that decides. `complete`: an import stands behind it. */
export interface Read {
  readonly complete: boolean;
  readonly now: number;
  readonly record: SubjectRecord;
}

/** The answer of take.lua. */
export function takenFrom([answer, ...rest]: readonly unknown[]): Taken {
  if (answer === "busy" || answer === "wait") return { answer, waitMs: Number(rest[0]) };
  if (answer !== "go") return { answer: answer === "version" ? "version" : "done" };
  return { answer: "go", takeover: rest[0] === 1, read: readFrom(rest.slice(1)) };
}

/** The answer of read.lua after its first word: complete, now, fields. */
export function readFrom([complete, now, ...fields]: readonly unknown[]): Read {
  return { complete: complete === 1, now: Number(now), record: recordOf(fieldsOf(fields)) };
}

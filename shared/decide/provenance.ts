// Where each name of an impersonator comes from: the bindings, logins, providers and rules behind a decision that was made. Decides nothing itself. Pure.
import type { V1PolicyRule } from "@kubernetes/client-node";
import type { Identity } from "../subject.ts";
import { BUILT_IN_GROUPS, VALUE_KEYS } from "../subject.ts";
import type { Knowledge } from "./identity.ts";
import { entitles, spokenIn } from "./identity.ts";
import type { Name, Profile } from "./rules.ts";
import { namesIn, rulesFor } from "./rules.ts";

/** `at`, `until`: RFC 3339; `at` null where nobody wrote it down. */
export type Origin =
  | { readonly by: "built-in" | "user" }
  | { readonly by: "binding"; readonly id: string; readonly group?: string }
  | { readonly by: "login"; readonly at: string | null; readonly until: string }
  | { readonly by: "provider"; readonly provider: string; readonly at: string | null }
  | { readonly by: "role"; readonly until: string };
export interface Explained extends Name {
  readonly from: readonly Origin[];
}
/** When a provider said this (ms); undefined = not known. */
export type SaidAt = (key: string, provider: string) => number | undefined;

const time = (ms: number | undefined): string | null => (ms === undefined || ms <= 0 ? null : new Date(ms).toISOString());

/** Every name of the role, in its order. */
export function provenanceOf(known: Knowledge, identity: Identity, profile: Profile, saidAt: SaidAt): Explained[] {
  const names = namesIn(rulesFor(identity, profile) as unknown as V1PolicyRule[]);
  return names.map((name) => ({ ...name, from: name.resource === "users" ? reasonsOf(known, identity) : saidBy(known, name, saidAt) }));
}

/** Why the user has an impersonator: bindings of its own, and the login with what entitles to it. */
function reasonsOf({ grants, candidates, login, now }: Knowledge, { groups }: Pick<Identity, "groups">): Origin[] {
  const own: Origin[] = grants.map(({ id }) => ({ by: "binding", id }));
  if (!login || login.end <= now) return own;
  const entitling = candidates.filter((candidate) => entitles(candidate, groups));
  const through = entitling.map((candidate): Origin => ({ by: "binding", id: candidate.id, ...("group" in candidate ? { group: candidate.group } : {}) }));
  return [...own, { by: "login", at: time(login.at), until: new Date(login.end).toISOString() }, ...through];
}

/** Whoever said a group or an extra. */
function saidBy(known: Knowledge, { resource, name }: Name, saidAt: SaidAt): Origin[] {
  const key = VALUE_KEYS.find((one) => resource === one || resource === `userextras/${one}`)!;
  const builtIn: Origin[] = resource === "groups" && BUILT_IN_GROUPS.some((group) => group === name) ? [{ by: "built-in" }] : [];
  const said = spokenIn(known).filter(({ values }) => values[key]?.includes(name));
  return [
    ...builtIn,
    ...said.map((one): Origin => {
      if (one.by === "provider") return { by: "provider", provider: one.provider, at: time(saidAt(key, one.provider)) };
      return one.by === "role" ? { by: "role", until: new Date(one.end).toISOString() } : { by: "user" };
    }),
  ];
}

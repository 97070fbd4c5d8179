// Grants and facts → who may be impersonated on this cluster, or nobody and why. Pure: the only clock is `now`, which the ledger gives.
import type { Candidate, ExtraKey, Facts, Grant, Identity, LoginGrant, ProviderValues, Restored } from "../subject.ts";
import { BUILT_IN_GROUPS, EXTRA_KEYS, canonical, groupRefusalOf, refusalOf, shown } from "../subject.ts";

/** What the record knows of a subject at `now` (ms, redis TIME). */
export interface Knowledge {
  readonly user: string;
  readonly grants: readonly Grant[];
  readonly candidates: readonly Candidate[];
  readonly login: LoginGrant | undefined;
  readonly facts: Facts | undefined;
  readonly restored: Restored | undefined;
  readonly now: number;
}

/** The settings that a decision depends on. */
export interface Policy {
  readonly source: "rancher" | "logins";
  readonly denyPrefixes: readonly string[];
  readonly groupsMax: number;
}

/** `next` (ms, 0 = never): when this decision changes by itself. `dropped`: names that were left out, and why. */
export type Decision =
  | {
      readonly kind: "present";
      readonly identity: Identity;
      readonly loginEnds: LoginGrant | undefined;
      readonly next: number;
      readonly dropped: readonly string[];
    }
  | { readonly kind: "absent"; readonly reason: string; readonly waiting: boolean; readonly next: number }
  | { readonly kind: "refused"; readonly reason: string; readonly next: number };

/** Who this subject may act as. Never trims, never truncates: what is refused is named. */
export function decide(known: Knowledge, policy: Policy): Decision {
  const user = known.facts?.user ?? null;
  const bound = known.grants.length > 0;
  const { values, dropped, restored } = valuesOf(known, policy);
  const groups = canonical([...BUILT_IN_GROUPS, ...values.groups]);
  const login = runningLogin(known);
  const entitled = policy.source === "logins" || entitling(known.candidates, groups);
  if (!bound && !(login && entitled)) return { kind: "absent", reason: login ? "no longer entitled" : "no grant", waiting: false, next: 0 };
  const refusal = refusalOf(known.user, policy.denyPrefixes);
  if (refusal !== undefined) return { kind: "refused", reason: `user id ${shown(known.user)} ${refusal}`, next: 0 };
  const ends = [bound ? undefined : login?.end, restored?.end].filter((end) => end !== undefined);
  const next = ends.length > 0 ? Math.min(...ends) : 0;
  if (policy.source === "rancher" && user === null) return { kind: "absent", reason: "user unknown", waiting: true, next };
  if (user !== null && !user.enabled) return { kind: "absent", reason: "user disabled", waiting: bound, next };
  const excess = groups.length - BUILT_IN_GROUPS.length;
  if (excess > policy.groupsMax) return { kind: "refused", reason: `${excess} groups, over the limit of ${policy.groupsMax} (UNDERSTUDY_GROUPS_MAX)`, next };
  const identity: Identity = { user: known.user, groups, principalid: values.principalid, username: values.username };
  return { kind: "present", identity, loginEnds: isDropped(known) ? undefined : known.login, next, dropped };
}

/** The login grant, while it counts. */
function runningLogin(known: Knowledge): LoginGrant | undefined {
  const { login, now } = known;
  return login === undefined || login.end <= now || isDropped(known) ? undefined : login;
}

/** A removal ended it a minute ago: not even a role may remember it. */
const isDropped = ({ login, now }: Knowledge): boolean => login?.drop !== undefined && login.drop <= now;

/** Whether one of the candidates covers a user with these groups. */
function entitling(candidates: readonly Candidate[], groups: readonly string[]): boolean {
  return candidates.some((candidate) => "global" in candidate || groups.includes(candidate.group));
}

/**
 * Union over the providers, so that UI, kubectl and curl tokens of one person never flap. While no provider has spoken: what the seen role says, else the User object.
 */
function valuesOf(known: Knowledge, policy: Policy) {
  const providers: ProviderValues[] = Object.values(known.facts?.providers ?? {});
  const restored = providers.length === 0 && known.restored && known.restored.end > known.now ? known.restored : undefined;
  const user = known.facts?.user;
  const spoken = providers.length > 0 ? providers : restored ? [restored] : user ? [{ principalid: user.principalid, username: user.username }] : [];
  const dropped: string[] = [];
  const kept = (key: "groups" | ExtraKey, refusal: (value: string) => string | undefined): string[] =>
    canonical(spoken.flatMap((values: ProviderValues) => values[key] ?? [])).filter((value) => {
      const why = refusal(value);
      if (why !== undefined) dropped.push(`${key} ${shown(value)} ${why}`);
      return why === undefined;
    });
  const groups = kept("groups", (value) => groupRefusalOf(value, policy.denyPrefixes, policy.source === "rancher"));
  const [principalid, username] = EXTRA_KEYS.map((key) => kept(key, (value) => refusalOf(value)));
  return { values: { groups, principalid: principalid!, username: username! }, dropped, restored };
}

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
  const entitled = policy.source === "logins" || known.candidates.some((candidate) => entitles(candidate, groups));
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

/** Whether somebody has access, or is who they are, only because the seen role says so: nobody has told as much since Redis was lost. */
export function isRestored(known: Knowledge, policy: Policy): boolean {
  if (known.restored === undefined) return false;
  if (known.login?.at === 0) return true;
  const [seen, told] = [known, { ...known, restored: undefined }].map((one) => decide(one, policy)).map((one) => one.kind === "present" && one.identity);
  return JSON.stringify(seen) !== JSON.stringify(told);
}

/** The login grant, while it counts. */
function runningLogin(known: Knowledge): LoginGrant | undefined {
  const { login, now } = known;
  return login === undefined || login.end <= now || isDropped(known) ? undefined : login;
}

/** A removal ended it a minute ago: not even a role may remember it. */
const isDropped = ({ login, now }: Knowledge): boolean => login?.drop !== undefined && login.drop <= now;

/** Whether a candidate covers a user with these groups. */
export const entitles = (candidate: Candidate, groups: readonly string[]): boolean => "global" in candidate || groups.includes(candidate.group);

/** Whose word counts, and what it says. */
export type Spoken = { readonly values: ProviderValues } & (
  | { readonly by: "provider"; readonly provider: string }
  | { readonly by: "role"; readonly end: number }
  | { readonly by: "user" }
);

/** Every provider's. While none has spoken: what the seen role says, else the User object. */
export function spokenIn({ facts, restored, now }: Knowledge): Spoken[] {
  const providers = Object.entries(facts?.providers ?? {});
  if (providers.length > 0) return providers.map(([provider, values]) => ({ by: "provider", provider, values }));
  if (restored && restored.end > now) return [{ by: "role", end: restored.end, values: restored }];
  const user = facts?.user;
  return user ? [{ by: "user", values: { principalid: user.principalid, username: user.username } }] : [];
}

/** Union over the providers, so that UI, kubectl and curl tokens of one person never flap. */
function valuesOf(known: Knowledge, policy: Policy) {
  const spoken = spokenIn(known);
  const restored = spoken.find((one) => one.by === "role");
  const dropped: string[] = [];
  const kept = (key: "groups" | ExtraKey, refusal: (value: string) => string | undefined): string[] =>
    canonical(spoken.flatMap(({ values }) => values[key] ?? [])).filter((value) => {
      const why = refusal(value);
      if (why !== undefined) dropped.push(`${key} ${shown(value)} ${why}`);
      return why === undefined;
    });
  const groups = kept("groups", (value) => groupRefusalOf(value, policy.denyPrefixes, policy.source === "rancher"));
  const [principalid, username] = EXTRA_KEYS.map((key) => kept(key, (value) => refusalOf(value)));
  return { values: { groups, principalid: principalid!, username: username! }, dropped, restored };
}

// What ledger and role remember of each other: the record's `applied` as objects and back, what a role tells a ledger that forgot, and whose the seen objects are. Pure.
import type { KubernetesObject, V1ClusterRole, V1ObjectMeta } from "@kubernetes/client-node";
import type { Applied } from "../ledger/record.ts";
import { IMPERSONATOR_LABEL, INSTALL_ANNOTATION, NAMESPACE, PREFIX, USER_ANNOTATION } from "../names.ts";
import type { ProviderValues } from "../subject.ts";
import { canonical } from "../subject.ts";
import type { TokenMode, Wanted } from "./objects.ts";
import { accountFor, bindingFor, loginEndsDiffer, loginEndsOf, roleFor, roleRefIsOwn, secretFor } from "./objects.ts";
import type { Kind, Seen } from "./plan.ts";
import { ownerOf } from "./plan.ts";
import type { Profile, Witness } from "./rules.ts";
import { beyondRanchers, namesIn } from "./rules.ts";

/** What was wanted when `applied` was noted. */
export function wantedThen(applied: Applied, install: string): Wanted {
  return {
    identity: applied.identity,
    loginEnds: applied.ends > 0 ? { at: 0, end: applied.ends } : undefined,
    profile: applied.profile as Profile,
    install,
    tokenMode: applied.secret ? "secret" : "request",
  };
}

/** What may stand for an observation. Not where the account has to change too: of that only the uid is known, and a change needs its version. */
export const remembersAll = (applied: Applied, tokenMode: TokenMode): boolean => (tokenMode === "secret") === (applied.secret !== undefined);

/** What `applied` describes, as objects. They are unchanged since, or the next write's precondition will say so. */
export function rememberedObjects(applied: Applied, install: string): Seen {
  const wanted = wantedThen(applied, install);
  const named = <T extends { metadata?: V1ObjectMeta }>(object: T, meta: V1ObjectMeta): T => ({ ...object, metadata: { ...object.metadata, ...meta } });
  const role = named(roleFor(wanted), { ...applied.role });
  const account = named(accountFor(wanted, role.metadata!, applied.secret?.name ?? ""), { uid: applied.accountUid });
  return {
    role,
    account,
    binding: named(bindingFor(wanted, role.metadata!), { uid: applied.bindingUid }),
    secrets: applied.secret ? [named(secretFor(wanted, account.metadata!, applied.secret.name), { uid: applied.secret.uid })] : [],
  };
}

/** What a finished set-up leaves in the record. `witness`: what is still to be proved. */
export function appliedFrom({ identity, profile, loginEnds }: Wanted, { role, account, binding, secrets }: Seen, witness?: Witness): Applied {
  const secret = secrets[0]?.metadata;
  const seenEnd = loginEndsOf(role!);
  return {
    identity,
    profile,
    ends: loginEndsDiffer(seenEnd, loginEnds) ? (loginEnds?.end ?? 0) : seenEnd,
    role: { uid: role!.metadata!.uid!, resourceVersion: role!.metadata!.resourceVersion! },
    accountUid: account!.metadata!.uid!,
    bindingUid: binding!.metadata!.uid!,
    ...(secret ? { secret: { name: secret.name!, uid: secret.uid! } } : {}),
    ...(witness ? { witness } : {}),
  };
}

/** What a role of ours remembers of its user, for a ledger that has forgotten; undefined where there is none of ours. */
export function memoryOf(role: V1ClusterRole | undefined, user: string, install: string): { ends: number; values: ProviderValues } | undefined {
  if (!role || holderOf(role, user, install, new Set()) !== "ours") return undefined;
  const names = namesIn(role.rules);
  const of = (resource: string): string[] => canonical(names.filter((name) => name.resource === resource).map((name) => name.name));
  return { ends: loginEndsOf(role), values: { groups: of("groups"), principalid: of("userextras/principalid"), username: of("userextras/username") } };
}

/** What is not ours under this subject's name. `why`: Rancher's, and what keeps it from being adopted. */
export interface InTheWay {
  readonly kind: Kind;
  readonly holder: "rancher" | "foreign";
  readonly why?: string;
}

/** How the reason begins of whoever waits because Rancher has made the impersonator. */
export const RANCHERS = "managed by Rancher";
/** Why nothing is written while it stands there. */
export function inTheWayReason({ kind, holder, why }: InTheWay): string {
  if (holder === "foreign") return `foreign object: the ${kind} of this user's name belongs to somebody else; delete or rename it`;
  return why === undefined ? RANCHERS : `${RANCHERS}, and not adopted because ${why}: put that right or delete it, then: understudy enqueue`;
}

/** The objects that are ours to change, and the first that stands in the way of a set-up. An object that lost its marks is known by its uid or its owner. `adopt`: Rancher's become ours. */
export function ownOnly(
  seen: Seen,
  user: string,
  { install, adopt }: { readonly install: string; readonly adopt: boolean },
  applied: Applied | undefined,
): { own: Seen; inTheWay: InTheWay | undefined } {
  const holder = { ClusterRole: holderOf(seen.role, user, install, uidsOf(applied)), ServiceAccount: "nobody", ClusterRoleBinding: "nobody" } as Record<
    "ClusterRole" | "ServiceAccount" | "ClusterRoleBinding",
    ReturnType<typeof holderOf>
  >;
  const known = new Set(uidsOf(applied));
  if (holder.ClusterRole === "ours" && seen.role?.metadata?.uid) known.add(seen.role.metadata.uid);
  holder.ServiceAccount = holderOf(seen.account, user, install, known);
  holder.ClusterRoleBinding = holderOf(seen.binding, user, install, known);
  const theirs = <T>(kind: keyof typeof holder, object: T): T | undefined => (holder[kind] === "rancher" ? object : undefined);
  const [role, account, binding] = [theirs("ClusterRole", seen.role), theirs("ServiceAccount", seen.account), theirs("ClusterRoleBinding", seen.binding)];
  const why = adopt ? whyNotRanchers({ role, account, binding }, user) : undefined;
  if (adopt && why === undefined) {
    for (const kind of Object.keys(holder) as (keyof typeof holder)[]) if (holder[kind] === "rancher") holder[kind] = "ours";
  }
  const other = (Object.keys(holder) as (keyof typeof holder)[]).find((kind) => holder[kind] === "rancher" || holder[kind] === "foreign");
  return {
    own: {
      role: holder.ClusterRole === "ours" ? seen.role : undefined,
      account: holder.ServiceAccount === "ours" ? seen.account : undefined,
      binding: holder.ClusterRoleBinding === "ours" ? seen.binding : undefined,
      secrets: holder.ServiceAccount === "ours" || holder.ServiceAccount === "nobody" ? seen.secrets : [],
    },
    inTheWay: other && { kind: other, holder: holder[other] as "rancher" | "foreign", ...(why === undefined ? {} : { why }) },
  };
}

/** Why what stands there is no impersonator as Rancher makes it, or is wider; undefined = it may be adopted. */
function whyNotRanchers({ role, account, binding }: Omit<Seen, "secrets">, user: string): string | undefined {
  const name = `${PREFIX}${user}`;
  if ([role, account, binding].some((object) => object && object.metadata?.name !== name)) return `Rancher's would be called ${name}`;
  const [more] = role ? beyondRanchers(role, user) : [];
  if (more !== undefined) return `its ClusterRole ${more}`;
  if (binding && !roleRefIsOwn(binding)) return `its ClusterRoleBinding binds ${binding.roleRef.kind} ${binding.roleRef.name}`;
  const other = binding?.subjects?.find((subject) => subject.kind !== "ServiceAccount" || subject.name !== name || subject.namespace !== NAMESPACE);
  return other && `its ClusterRoleBinding binds ${other.kind} ${other.name} too`;
}

function uidsOf(applied: Applied | undefined): ReadonlySet<string> {
  return new Set(applied ? [applied.role.uid, applied.accountUid, applied.bindingUid] : []);
}

/** Whose the objects under this subject's name are: ours, Rancher's (its label and none of our marks), or somebody else's. */
export function holderOf(
  object: KubernetesObject | undefined,
  user: string,
  install: string,
  ownUids: ReadonlySet<string>,
): "nobody" | "ours" | "rancher" | "foreign" {
  if (!object) return "nobody";
  const { annotations = {}, labels = {}, uid = "" } = object.metadata ?? {};
  if (annotations[USER_ANNOTATION] === user && annotations[INSTALL_ANNOTATION] === install) return "ours";
  const marked = Object.keys(annotations).some((key) => key.startsWith("understudy.io/"));
  // A mark that was cut off by hand: known by the uid that we recorded, or by its owner.
  if (ownUids.has(uid) || ownUids.has(ownerOf(object) ?? "")) return "ours";
  return !marked && labels[IMPERSONATOR_LABEL] === "true" ? "rancher" : "foreign";
}

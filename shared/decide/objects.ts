// Identity → the four objects of an impersonator, and how a seen one differs from them. Pure.
import type { V1ClusterRole, V1ClusterRoleBinding, V1ObjectMeta, V1OwnerReference, V1Secret, V1ServiceAccount } from "@kubernetes/client-node";
import {
  IMPERSONATOR_LABEL,
  INSTALL_ANNOTATION,
  LOGIN_ENDS_ANNOTATION,
  NAMESPACE,
  SEALED_BY_ANNOTATION,
  SECRET_ACCOUNT_ANNOTATION,
  SECRET_ACCOUNT_LABEL,
  SECRET_ACCOUNT_UID_ANNOTATION,
  SECRET_REF_ANNOTATION,
  USER_ANNOTATION,
  nameOf,
} from "../names.ts";
import type { Identity, LoginGrant } from "../subject.ts";
import { timeIn } from "../time.ts";
import type { Decision } from "./identity.ts";
import type { Profile } from "./rules.ts";
import { rulesFor, sameRules } from "./rules.ts";

const RBAC = "rbac.authorization.k8s.io";
export const SECRET_TYPE = "kubernetes.io/service-account-token";

/** `secret`: a token Secret, made with the account. `request`: none; whoever needs a token asks for a short-lived one. */
export type TokenMode = "secret" | "request";

/** What the objects are made from. */
export interface Wanted {
  readonly identity: Identity;
  readonly loginEnds: LoginGrant | undefined;
  readonly profile: Profile;
  readonly install: string;
  readonly tokenMode: TokenMode;
}

/** What a decision asks for, under these settings; undefined = nobody may be impersonated. */
export const wantedFor = (decision: Decision, { profile, install, tokenMode }: Pick<Wanted, "profile" | "install" | "tokenMode">): Wanted | undefined =>
  decision.kind === "present" ? { identity: decision.identity, loginEnds: decision.loginEnds, profile, install, tokenMode } : undefined;

const labels = { [IMPERSONATOR_LABEL]: "true" };
/** Whose and for whom: on each of the four objects. */
const marks = (wanted: Wanted) => ({ [USER_ANNOTATION]: wanted.identity.user, [INSTALL_ANNOTATION]: wanted.install });
const owner = (apiVersion: string, kind: string, meta: V1ObjectMeta): V1OwnerReference => ({ apiVersion, kind, name: meta.name!, uid: meta.uid! });

/** The ClusterRole: owner of all the others, and what a removal removes first. */
export function roleFor(wanted: Wanted, sealedBy?: string): V1ClusterRole {
  const annotations: Record<string, string> = marks(wanted);
  if (wanted.loginEnds) annotations[LOGIN_ENDS_ANNOTATION] = new Date(wanted.loginEnds.end).toISOString();
  if (sealedBy !== undefined) annotations[SEALED_BY_ANNOTATION] = sealedBy;
  return {
    apiVersion: `${RBAC}/v1`,
    kind: "ClusterRole",
    metadata: { name: nameOf(wanted.identity.user), labels, annotations },
    rules: rulesFor(wanted.identity, wanted.profile) as unknown as NonNullable<V1ClusterRole["rules"]>,
  };
}

/** The ServiceAccount: may do nothing by itself, is mounted nowhere, and names the one Secret that counts, where there is to be one. */
export function accountFor(wanted: Wanted, role: V1ObjectMeta, secretName: string): V1ServiceAccount {
  return {
    apiVersion: "v1",
    kind: "ServiceAccount",
    automountServiceAccountToken: false,
    metadata: {
      name: nameOf(wanted.identity.user),
      namespace: NAMESPACE,
      labels,
      annotations: { ...marks(wanted), ...(wanted.tokenMode === "secret" ? { [SECRET_REF_ANNOTATION]: `${NAMESPACE}/${secretName}` } : {}) },
      ownerReferences: [owner(`${RBAC}/v1`, "ClusterRole", role)],
    },
  };
}

/** The token Secret, with the account's uid from the start: without it a lagging token controller deletes it as the previous account's. */
export function secretFor(wanted: Wanted, account: V1ObjectMeta, name: string): V1Secret {
  const accountName = nameOf(wanted.identity.user);
  return {
    apiVersion: "v1",
    kind: "Secret",
    type: SECRET_TYPE,
    metadata: {
      name,
      namespace: NAMESPACE,
      labels: { ...labels, [SECRET_ACCOUNT_LABEL]: accountName },
      annotations: { ...marks(wanted), [SECRET_ACCOUNT_ANNOTATION]: accountName, [SECRET_ACCOUNT_UID_ANNOTATION]: account.uid! },
      ownerReferences: [owner("v1", "ServiceAccount", account)],
    },
  };
}

/** The ClusterRoleBinding: the role of this name to the account of this name. */
export function bindingFor(wanted: Wanted, role: V1ObjectMeta): V1ClusterRoleBinding {
  const name = nameOf(wanted.identity.user);
  return {
    apiVersion: `${RBAC}/v1`,
    kind: "ClusterRoleBinding",
    metadata: { name, labels, annotations: marks(wanted), ownerReferences: [owner(`${RBAC}/v1`, "ClusterRole", role)] },
    subjects: [{ kind: "ServiceAccount", name, namespace: NAMESPACE }],
    roleRef: { apiGroup: RBAC, kind: "ClusterRole", name },
  };
}

/** The Secret that an account names; undefined when it names none of its own. */
export function secretRefOf(account: V1ServiceAccount): string | undefined {
  const [namespace, name, ...rest] = (account.metadata?.annotations?.[SECRET_REF_ANNOTATION] ?? "").split("/");
  return namespace === NAMESPACE && name && rest.length === 0 && name.startsWith(`${account.metadata?.name}-token-`) ? name : undefined;
}

/** When the login grant that a role remembers ends (ms), or 0. */
export function loginEndsOf(role: V1ClusterRole): number {
  const end = timeIn(role.metadata?.annotations?.[LOGIN_ENDS_ANNOTATION]);
  return Number.isNaN(end) ? 0 : end;
}

/** A remembered end may lag by a tenth of the grant, so that a renewing login costs no write. */
export function loginEndsDiffer(seenEnd: number, wanted: LoginGrant | undefined): boolean {
  if (wanted === undefined) return seenEnd !== 0;
  return seenEnd > wanted.end || seenEnd < wanted.end - Math.max(0, wanted.end - wanted.at) / 10;
}

type Difference = string | undefined;

/** Whether a label may make its rules other roles' rules. */
export const isAggregated = ({ metadata }: V1ClusterRole): boolean => Object.keys(metadata?.labels ?? {}).some((label) => label.startsWith(`${RBAC}/`));

/** Anything by which the role would allow more or less than the identity, or be swept by somebody else. */
export function roleDiffers(seen: V1ClusterRole, wanted: Wanted): Difference {
  if (seen.aggregationRule) return "an aggregationRule was added";
  if (!sameRules(seen.rules, rulesFor(wanted.identity, wanted.profile))) return "the rules are not the identity's";
  if (isAggregated(seen)) return "an aggregation label was added";
  if (loginEndsDiffer(loginEndsOf(seen), wanted.loginEnds)) return "the login grant has another end";
  return marksDiffer(seen.metadata, roleFor(wanted).metadata!, [LOGIN_ENDS_ANNOTATION]);
}

export function accountDiffers(seen: V1ServiceAccount, wanted: Wanted): Difference {
  if (wanted.tokenMode === "secret" && secretRefOf(seen) === undefined) return "it names no token Secret";
  if (wanted.tokenMode === "request" && seen.metadata?.annotations?.[SECRET_REF_ANNOTATION] !== undefined) return "it names a token Secret";
  if (seen.automountServiceAccountToken !== false) return "its token would be mounted";
  return marksDiffer(seen.metadata, accountFor(wanted, {}, "").metadata!, [SECRET_REF_ANNOTATION]);
}

export function secretDiffers(seen: V1Secret, wanted: Wanted, account: V1ObjectMeta): Difference {
  return marksDiffer(seen.metadata, secretFor(wanted, account, "").metadata!, []);
}

/** The subjects; the roleRef cannot be changed and is looked at apart. */
export function bindingDiffers(seen: V1ClusterRoleBinding, wanted: Wanted): Difference {
  const subjects = seen.subjects ?? [];
  const [subject] = subjects;
  const name = nameOf(wanted.identity.user);
  const right = subjects.length === 1 && subject!.kind === "ServiceAccount" && subject!.name === name && subject!.namespace === NAMESPACE && !subject!.apiGroup;
  if (!right) return "its subjects are not the impersonator's account";
  return marksDiffer(seen.metadata, bindingFor(wanted, {}).metadata!, []);
}

/** Whether the (immutable) roleRef is the impersonator's own role. */
export function roleRefIsOwn(seen: V1ClusterRoleBinding): boolean {
  return seen.roleRef.kind === "ClusterRole" && seen.roleRef.apiGroup === RBAC && seen.roleRef.name === seen.metadata?.name;
}

/** Our labels and annotations have to be there; what others add besides is theirs. */
function marksDiffer(seen: V1ObjectMeta | undefined, wanted: V1ObjectMeta, except: readonly string[]): Difference {
  const missing = (have: Record<string, string> | undefined, need: Record<string, string> | undefined): string | undefined =>
    Object.entries(need ?? {}).find(([key, value]) => !except.includes(key) && have?.[key] !== value)?.[0];
  const label = missing(seen?.labels, wanted.labels);
  if (label) return `label ${label} is not ours`;
  const annotation = missing(seen?.annotations, wanted.annotations);
  if (annotation) return `annotation ${annotation} is not ours`;
  return (seen?.ownerReferences?.length ?? 0) > (wanted.ownerReferences?.length ?? 0) ? "it has a second owner" : undefined;
}

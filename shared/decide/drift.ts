// Whether an object that a watch showed is still what was settled. Judged by content: our own writes, a token's fill and its first use are no drift. Pure.
import type { KubernetesObject, RbacV1Subject, V1ClusterRole, V1ClusterRoleBinding, V1Secret } from "@kubernetes/client-node";
import type { Applied } from "../ledger/record.ts";
import { INSTALL_ANNOTATION, NAMESPACE, SECRET_ACCOUNT_ANNOTATION, SECRET_ACCOUNT_LABEL, USER_ANNOTATION, nameOf, userOf } from "../names.ts";
import { wantedThen } from "./memory.ts";
import { accountDiffers, bindingDiffers, isAggregated, loginEndsOf, roleDiffers, roleRefIsOwn, secretDiffers, secretRefOf } from "./objects.ts";
import type { Kind } from "./plan.ts";
import { ownerOf } from "./plan.ts";
import { isOfOurs, otherManagerOf } from "./rival.ts";
import type { Profile } from "./rules.ts";
import { beyond, rulesFor } from "./rules.ts";

/** One event of a watch. `gone`: it was deleted, or lost the label that the watch selects by. Secrets come without their contents. */
export interface Sight {
  readonly kind: Kind;
  readonly object: KubernetesObject;
  readonly gone: boolean;
}
/** `tampering`: what somebody may do, or be, that nobody was to. `stray`: the Secret that no label leads to. */
export interface Drift {
  readonly what: string;
  readonly tampering?: string;
  readonly stray?: string;
}

/** The impersonator's name that it goes by: its own, or of a Secret its account's. */
export function nameIn({ kind, object }: Pick<Sight, "kind" | "object">): string {
  const { name = "", annotations = {}, labels = {} } = object.metadata ?? {};
  return kind === "Secret" ? (annotations[SECRET_ACCOUNT_ANNOTATION] ?? labels[SECRET_ACCOUNT_LABEL] ?? name.replace(/-token-[^-]*$/, "")) : name;
}

/** Whose it is; undefined where neither its mark nor its name says so. */
export function userIn(sight: Pick<Sight, "kind" | "object">): string | undefined {
  const of = nameIn(sight);
  const marked = sight.object.metadata?.annotations?.[USER_ANNOTATION];
  return marked !== undefined && nameOf(marked) === of ? marked : userOf(of);
}

/** Whether it is a role as we wrote it before what was settled, and is only heard of now. https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions */
export function isOwnPast({ kind, object, gone }: Sight, { role }: Applied): boolean {
  const { uid, resourceVersion } = object.metadata ?? {};
  const isPast = kind === "ClusterRole" && !gone && uid === role.uid && Number(resourceVersion) < Number(role.resourceVersion);
  return isPast && otherManagerOf(object) === undefined;
}

/** How it differs from what was settled; undefined = it does not, or is nothing that counts. */
export function driftIn({ kind, object, gone }: Sight, user: string, applied: Applied, install: string): Drift | undefined {
  const { name, uid } = object.metadata ?? {};
  const secret = kind === "Secret" && name !== applied.secret?.name;
  if (secret) return gone ? undefined : strayIn(object, user);
  const known = { ClusterRole: applied.role.uid, ServiceAccount: applied.accountUid, ClusterRoleBinding: applied.bindingUid, Secret: applied.secret?.uid }[
    kind
  ];
  if (gone) return uid === known ? { what: "it was deleted, or lost its label" } : undefined;
  const drift = contentDrift(kind, object, applied, install);
  // Deleted and made anew: whoever did so may have widened it on the way.
  return uid === known ? drift : { ...drift, what: "another object stands in its place" };
}

function contentDrift(kind: Kind, object: KubernetesObject, applied: Applied, install: string): Drift | undefined {
  if (kind === "ClusterRole") return roleDrift(object, applied, install);
  if (kind === "ClusterRoleBinding") return bindingDrift(object as V1ClusterRoleBinding, applied, install);
  const wanted = wantedThen(applied, install);
  const owner = kind === "Secret" ? applied.accountUid : applied.role.uid;
  const what =
    kind === "Secret"
      ? secretDiffers(object, wanted, { uid: applied.accountUid })
      : (accountDiffers(object, wanted) ?? (secretRefOf(object) === applied.secret?.name ? undefined : "it names another Secret"));
  return said(what ?? ownerDiffers(object, owner));
}

const said = (what: string | undefined): Drift | undefined => (what === undefined ? undefined : { what });
const ownerDiffers = (object: KubernetesObject, uid: string): string | undefined => (ownerOf(object) === uid ? undefined : "its owner is another one");

/** Any name or right more than the identity's is tampering, and whoever gets them by a label. */
function roleDrift(object: V1ClusterRole, applied: Applied, install: string): Drift | undefined {
  const more = beyond(object.rules, rulesFor(applied.identity, applied.profile as Profile));
  // The end that was noted is the one that the role said, so that here no tenth of the grant is allowed for.
  const ends = loginEndsOf(object) === applied.ends ? undefined : "the login grant has another end";
  const what = roleDiffers(object, wantedThen(applied, install)) ?? ends;
  if (what === undefined) return undefined;
  const wider = [
    more.length > 0 && `it allowed ${more.slice(0, 5).join(", ")}`,
    object.aggregationRule && "it had an aggregationRule",
    isAggregated(object) && "a label gave its rules to other roles",
  ].find(Boolean);
  return { what, ...(wider ? { tampering: wider.slice(0, 500) } : {}) };
}

/** Whoever else is bound may act as the user; another role is another right of the user's account. */
function bindingDrift(object: V1ClusterRoleBinding, applied: Applied, install: string): Drift | undefined {
  if (!roleRefIsOwn(object)) return { what: "it binds another role", tampering: `it bound ${object.roleRef.kind} ${object.roleRef.name}`.slice(0, 500) };
  const what = bindingDiffers(object, wantedThen(applied, install));
  const isOwn = ({ kind, name, namespace }: RbacV1Subject): boolean => kind === "ServiceAccount" && name === object.metadata?.name && namespace === NAMESPACE;
  const others = (object.subjects ?? []).filter((subject) => !isOwn(subject));
  if (others.length > 0)
    return { what: what ?? "its subjects", tampering: `it bound ${others.map(({ kind, name }) => `${kind} ${name}`).join(", ")}`.slice(0, 500) };
  return said(what ?? ownerDiffers(object, applied.role.uid));
}

/** A second token of the account, which nobody would revoke. One of ours is the last one: its end is not yet heard of where a new one was just settled. */
function strayIn(object: V1Secret, user: string): Drift | undefined {
  const { name, annotations } = object.metadata ?? {};
  if (annotations?.[SECRET_ACCOUNT_ANNOTATION] !== nameOf(user)) return undefined;
  const what = "it is another Secret of the account";
  return isOfOurs(object) ? { what, stray: name! } : { what, tampering: `Secret ${name} held a token of the account`, stray: name! };
}

/** Whether an object that should not be there is ours: written late by a process that had been paused. */
export function isLeftBehind({ object, gone }: Sight, user: string, install: string): boolean {
  const { annotations = {} } = object.metadata ?? {};
  return !gone && annotations[USER_ANNOTATION] === user && annotations[INSTALL_ANNOTATION] === install;
}

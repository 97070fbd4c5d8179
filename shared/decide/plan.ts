// Wanted × seen → the next step towards equality, with its reason in words. Pure. Asked again after every step, so that what was written is what is seen.
import type { KubernetesObject, V1ClusterRole, V1ClusterRoleBinding, V1ObjectMeta, V1Secret, V1ServiceAccount } from "@kubernetes/client-node";
import { SECRET_REF_ANNOTATION, USER_ANNOTATION, secretNameOf } from "../names.ts";
import type { Wanted } from "./objects.ts";
import {
  SECRET_TYPE,
  accountDiffers,
  accountFor,
  bindingDiffers,
  bindingFor,
  roleDiffers,
  roleFor,
  roleRefIsOwn,
  secretDiffers,
  secretFor,
  secretRefOf,
} from "./objects.ts";
import { rulesFor, sameRules } from "./rules.ts";

/** In the order of set-up. */
export const KINDS = ["ClusterRole", "ServiceAccount", "Secret", "ClusterRoleBinding"] as const;
export type Kind = (typeof KINDS)[number];

/** The objects of one subject as the cluster last showed them. `secrets`: every token Secret of the account. */
export interface Seen {
  role?: V1ClusterRole | undefined;
  account?: V1ServiceAccount | undefined;
  secrets: readonly V1Secret[];
  binding?: V1ClusterRoleBinding | undefined;
}

/** What this pass has done so far, as far as the next step depends on it. */
export interface Pass {
  /** The lock was taken over: the role is written once even if equal, which voids what the dead owner still has in hand. */
  readonly takeover: boolean;
  readonly me: string;
  readonly nonce: string;
  sealed: boolean;
  /** The role was deleted by this pass, or found absent by a GET begun after the ledger was read. */
  absenceSeen: boolean;
  ownAccount: boolean;
  rotated: boolean;
  /** The ledger was asked again since the role was written. */
  checked: boolean;
}

/** A write with its reason, or a question that has to be answered before the next one. */
export type Step =
  | { readonly do: "create"; readonly kind: Kind; readonly object: KubernetesObject; readonly reason: string }
  /** `rotates`: the account names a new token Secret from here on. */
  | { readonly do: "change"; readonly kind: Kind; readonly object: KubernetesObject; readonly reason: string; readonly rotates?: true }
  | { readonly do: "delete"; readonly kind: Kind; readonly name: string; readonly uid: string; readonly resourceVersion?: string; readonly reason: string }
  /** Somebody deleted it, and a finalizer keeps it: what is made as its child dies with it. */
  | { readonly do: "wait"; readonly until: "ClusterRole" | "ServiceAccount"; readonly name: string; readonly reason: string }
  | { readonly do: "look-again" | "check" | "done" };

/** The next step towards `wanted`; `undefined` = nobody may be impersonated and nothing of ours may stay. */
export function nextStep(wanted: Wanted | undefined, seen: Seen, pass: Pass): Step {
  return wanted ? towardsPresent(wanted, seen, pass) : towardsAbsent(seen, pass);
}

/** Role first: that ends the access, whatever becomes of the rest. */
function towardsAbsent(seen: Seen, pass: Pass): Step {
  const reason = "nobody may act as this user here";
  if (seen.role) return { ...remove("ClusterRole", seen.role.metadata!, reason), resourceVersion: seen.role.metadata!.resourceVersion! };
  if (!pass.absenceSeen) return { do: "look-again" };
  if (seen.binding) return remove("ClusterRoleBinding", seen.binding.metadata!, reason);
  const [secret] = seen.secrets;
  if (secret) return remove("Secret", secret.metadata!, reason);
  if (seen.account) return remove("ServiceAccount", seen.account.metadata!, reason);
  return { do: "done" };
}

/** Role, account, Secret, and the binding last: its presence is the evidence that set-up was complete. */
function towardsPresent(wanted: Wanted, seen: Seen, pass: Pass): Step {
  return (
    leftovers(seen) ??
    roleStep(wanted, seen, pass) ??
    gone("ClusterRole", seen.role!) ??
    accountStep(wanted, seen, pass) ??
    gone("ServiceAccount", seen.account!) ??
    secretStep(wanted, seen, pass) ??
    bindingStep(wanted, seen, pass) ?? { do: "done" }
  );
}

/** What an earlier role's removal or a foreign hand left behind goes before the new role comes: with it the old children would be in force at once. */
function leftovers({ role, binding, account, secrets }: Seen): Step | undefined {
  const reason = "it belongs to an earlier owner";
  if (binding && (!role || ownerOf(binding) !== role.metadata?.uid)) return remove("ClusterRoleBinding", binding.metadata!, reason);
  if (account && (!role || ownerOf(account) !== role.metadata?.uid))
    return secrets[0] ? remove("Secret", secrets[0].metadata!, reason) : remove("ServiceAccount", account.metadata!, reason);
  const stale = secrets.find((secret) => !account || ownerOf(secret) !== account.metadata?.uid);
  return stale && remove("Secret", stale.metadata!, reason);
}

/** The role, once even if equal after a take-over. */
function roleStep(wanted: Wanted, { role }: Seen, pass: Pass): Step | undefined {
  if (!role) return { do: "create", kind: "ClusterRole", object: roleFor(wanted), reason: "it is missing" };
  const seal = pass.takeover && !pass.sealed;
  const differs = roleDiffers(role, wanted);
  if (!differs && !seal) return undefined;
  const fresh = roleFor(wanted, pass.takeover ? pass.me : undefined);
  // The same rules in another order stay in that order: whoever compares lists, as Rancher does, would write them back.
  const object = sameRules(role.rules, rulesFor(wanted.identity, wanted.profile)) ? { ...fresh, rules: role.rules! } : fresh;
  return { do: "change", kind: "ClusterRole", object: versioned(object, role.metadata!), reason: differs ?? "it is sealed against a run that may still write" };
}

/** The account, and with it the name of its Secret. */
function accountStep(wanted: Wanted, { role, account, secrets }: Seen, pass: Pass): Step | undefined {
  const name = secretNameOf(wanted.identity.user, pass.nonce);
  const fresh = accountFor(wanted, role!.metadata!, name);
  if (!account) return { do: "create", kind: "ServiceAccount", object: fresh, reason: "it is missing" };
  const differs = accountDiffers(account, wanted);
  if (differs === undefined) return undefined;
  const ref = secretRefOf(account) ?? adopted(account, secrets);
  const step = { do: "change", kind: "ServiceAccount", object: overlaid(account, fresh, ref ?? name), reason: differs } as const;
  return ref === undefined && wanted.tokenMode === "secret" ? { ...step, rotates: true } : step;
}

/** The one Secret of an account that was never ours: Rancher before 2.11 did not write down which. */
function adopted({ metadata }: V1ServiceAccount, secrets: readonly V1Secret[]): string | undefined {
  const [secret] = secrets;
  const never = metadata?.annotations?.[USER_ANNOTATION] === undefined;
  return never && secrets.length === 1 && secret!.metadata!.name!.startsWith(`${metadata?.name}-token-`) ? secret!.metadata!.name : undefined;
}

/** Exactly one token Secret, the one that the account names; none where tokens are requested. */
function secretStep(wanted: Wanted, { role, account, secrets }: Seen, pass: Pass): Step | undefined {
  if (wanted.tokenMode === "request") return secrets[0] && remove("Secret", secrets[0].metadata!, "tokens are requested, and none is kept");
  const ref = secretRefOf(account!)!;
  const named = secrets.find((secret) => secret.metadata!.name === ref);
  if (!named) {
    // A revoked token would live again under its old name: the same name makes the same JWT.
    if (!pass.ownAccount && !pass.rotated) {
      const name = secretNameOf(wanted.identity.user, pass.nonce);
      const object = overlaid(account!, accountFor(wanted, role!.metadata!, name), name);
      return { do: "change", kind: "ServiceAccount", object, reason: "its token Secret is gone: a new one gets a new name", rotates: true };
    }
    return { do: "create", kind: "Secret", object: secretFor(wanted, account!.metadata!, ref), reason: "it is missing" };
  }
  if (named.type !== SECRET_TYPE) return remove("Secret", named.metadata!, "it is no token Secret");
  const stray = secrets.find((secret) => secret !== named);
  if (stray) return remove("Secret", stray.metadata!, "the account names another one");
  const differs = secretDiffers(named, wanted, account!.metadata!);
  if (differs === undefined) return undefined;
  const { metadata } = secretFor(wanted, account!.metadata!, ref);
  const object = {
    ...named,
    metadata: {
      ...versioned({ metadata: metadata! }, named.metadata!).metadata,
      labels: { ...named.metadata!.labels, ...metadata!.labels },
      annotations: { ...named.metadata!.annotations, ...metadata!.annotations },
    },
  };
  return { do: "change", kind: "Secret", object, reason: differs };
}

/** The write that completes, never on an older reading of the ledger than the role's own. */
function bindingStep(wanted: Wanted, { role, binding }: Seen, pass: Pass): Step | undefined {
  const fresh = bindingFor(wanted, role!.metadata!);
  if (binding && !roleRefIsOwn(binding))
    return remove("ClusterRoleBinding", binding.metadata!, "its roleRef, which cannot be changed, is not the impersonator's role");
  const differs = binding ? bindingDiffers(binding, wanted) : "it is missing";
  if (differs === undefined) return undefined;
  if (!pass.checked) return { do: "check" };
  return binding
    ? { do: "change", kind: "ClusterRoleBinding", object: versioned(fresh, binding.metadata!), reason: differs }
    : { do: "create", kind: "ClusterRoleBinding", object: fresh, reason: differs };
}

/** No children for an owner that is on its way out: the garbage collector would take them, and we would make them again, for as long as a finalizer keeps it. */
function gone(until: "ClusterRole" | "ServiceAccount", { metadata }: KubernetesObject): Step | undefined {
  return metadata?.deletionTimestamp && { do: "wait", until, name: metadata.name!, reason: `the ${until} ${metadata.name} is being deleted` };
}

/** The uid of the object that owns it. */
export const ownerOf = (object: KubernetesObject): string | undefined => object.metadata?.ownerReferences?.[0]?.uid;

function remove(kind: Kind, { name, uid }: V1ObjectMeta, reason: string): Extract<Step, { do: "delete" }> {
  return { do: "delete", kind, name: name!, uid: uid!, reason };
}

/** A change carries the version that was observed, so that Kubernetes refuses it when somebody else was faster; and the uid, without which a PUT of a deleted ClusterRole makes it anew. */
function versioned<T extends KubernetesObject>(object: T, seen: V1ObjectMeta): T {
  return { ...object, metadata: { ...object.metadata, uid: seen.uid!, resourceVersion: seen.resourceVersion! } };
}

/** Other controllers write pull secrets and annotations into ServiceAccounts; those stay. */
function overlaid(seen: V1ServiceAccount, fresh: V1ServiceAccount, secretName: string): V1ServiceAccount {
  const metadata = {
    ...fresh.metadata!,
    labels: { ...seen.metadata!.labels, ...fresh.metadata!.labels },
    annotations: { ...seen.metadata!.annotations, ...fresh.metadata!.annotations },
  };
  if (fresh.metadata!.annotations![SECRET_REF_ANNOTATION] === undefined) delete metadata.annotations[SECRET_REF_ANNOTATION];
  else metadata.annotations[SECRET_REF_ANNOTATION] = `${fresh.metadata!.namespace}/${secretName}`;
  return versioned({ ...seen, ...fresh, metadata }, seen.metadata!);
}

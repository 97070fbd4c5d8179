// Whether somebody else keeps writing over our objects. Two controllers that do not agree would do so for ever; ours is the one that stops. Pure.
import type { KubernetesObject, V1ManagedFieldsEntry } from "@kubernetes/client-node";
import type { Rival } from "../ledger/record.ts";
import type { Wanted } from "./objects.ts";
import { accountDiffers, bindingDiffers, roleDiffers, roleRefIsOwn } from "./objects.ts";
import type { Kind, Seen } from "./plan.ts";

/** The field manager of our writes: an API server takes it from the User-Agent, up to the slash. */
const MANAGER = "understudy";
const RIVALS_MAX = 3;
const WITHIN_MS = 600_000;

/** An object of ours that another field manager wrote last. */
export interface Overwritten {
  readonly kind: Kind;
  readonly manager: string;
  readonly resourceVersion: string;
}

/** The first of a subject's objects that is no longer what was settled, by another manager's hand. `settled`: what was wanted then. */
export function overwrittenIn({ role, account, binding }: Seen, settled: Wanted): Overwritten | undefined {
  const found: [Kind, KubernetesObject | undefined, string | undefined][] = [
    ["ClusterRole", role, role && roleDiffers(role, settled)],
    ["ServiceAccount", account, account && accountDiffers(account, settled)],
    ["ClusterRoleBinding", binding, binding && (roleRefIsOwn(binding) ? bindingDiffers(binding, settled) : "it binds another role")],
  ];
  for (const [kind, object, differs] of found) {
    const manager = differs === undefined ? undefined : otherManagerOf(object!);
    if (manager !== undefined) return { kind, manager, resourceVersion: object!.metadata!.resourceVersion! };
  }
  return undefined;
}

/** Who else wrote it last; undefined where that was us: whoever made what we adopted, or filled something in, still owns fields of it. https://kubernetes.io/docs/reference/using-api/server-side-apply/#managers */
export function otherManagerOf(object: KubernetesObject): string | undefined {
  const at = ({ time }: V1ManagedFieldsEntry): number => new Date(time ?? 0).getTime();
  const latest = (entries: readonly V1ManagedFieldsEntry[]): V1ManagedFieldsEntry | undefined => entries.toSorted((a, b) => at(b) - at(a))[0];
  const entries = (object.metadata?.managedFields ?? []).filter(({ manager }) => manager !== undefined);
  const own = latest(entries.filter(({ manager }) => manager === MANAGER));
  const other = latest(entries.filter(({ manager }) => manager !== MANAGER));
  // The times are whole seconds: in the same one it was the other.
  return other && (!own || at(other) >= at(own)) ? other.manager : undefined;
}

/** Whether anything in it was ever written by us. */
export const isOfOurs = ({ metadata }: KubernetesObject): boolean => (metadata?.managedFields ?? []).some(({ manager }) => manager === MANAGER);

/** Whether nothing in it was ever written by us, as far as it says who did. */
export const isMadeByOthers = (object: KubernetesObject): boolean => (object.metadata?.managedFields ?? []).length > 0 && !isOfOurs(object);

/** Whether a subject is left alone from now on: three times in ten minutes, this one included. It stays so until a person asks, or the other one has written what we want. */
export function isStopped(rivals: readonly Rival[], overwritten: Overwritten | undefined, now: number): boolean {
  if (wasStopped(rivals)) return true;
  const recent = rivals.filter(({ at, resourceVersion }) => at > now - WITHIN_MS && resourceVersion !== overwritten?.resourceVersion);
  return overwritten !== undefined && recent.length + 1 >= RIVALS_MAX;
}

/** Whether it was stopped before now. */
export const wasStopped = (rivals: readonly Rival[]): boolean => rivals.length >= RIVALS_MAX;

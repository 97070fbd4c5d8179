// The five lists of the management cluster → the indexes: how an import begins, and all that `plan` reads of the sources. Tells nobody.
import type { KubernetesObject } from "@kubernetes/client-node";
import type { ClusterClient, List } from "../shared/kube/client.ts";
import type { Bindings } from "./bindings.ts";
import type { Binding, BindingKind, SourceKind } from "./rancher.ts";
import { SOURCES, isBindingKind, misreadAt, readAttribute, readBinding, readUser, sourcePath } from "./rancher.ts";

export type SourceLists = readonly { readonly kind: SourceKind; readonly list: List<KubernetesObject> }[];
/** An object that changes nothing, and why, so that a person can mend it. */
export type OnRefused = (kind: SourceKind, object: KubernetesObject, reason: string) => void;

/** @throws ApiError when one of them cannot be had whole. */
export const listSources = (client: ClusterClient, signal?: AbortSignal): Promise<SourceLists> =>
  Promise.all(SOURCES.map(async (kind) => ({ kind, list: await client.list(sourcePath(kind), {}, undefined, signal) })));

/** Replaces all that the indexes hold. */
export function fillFrom(lists: SourceLists, bindings: Bindings, globalRoles: readonly string[], onRefused: OnRefused): void {
  bindings.clear();
  for (const { kind, list } of lists) {
    bindings.versions.set(kind, list.resourceVersion);
    for (const object of list.items) {
      if (isBindingKind(kind)) {
        const binding = inForce(kind, object, globalRoles, onRefused);
        if (binding) bindings.put(binding);
      } else if (!rememberUser(kind, object, bindings)) {
        // One that cannot be read says nothing, neither that it is gone.
        bindings.unread.add(`${kind} ${object.metadata?.name}`);
        onRefused(kind, object, misreadAt(kind, object));
      }
    }
  }
  bindings.loaded = true;
}

/** Whether it could be read. */
function rememberUser(kind: "users" | "userattributes", object: KubernetesObject, bindings: Bindings): boolean {
  const user = kind === "users" ? readUser(object) : undefined;
  const attribute = kind === "userattributes" ? readAttribute(object) : undefined;
  if (user) bindings.users.set(user.user, user);
  if (attribute) bindings.attributes.set(attribute.user, attribute.providers);
  return user !== undefined || attribute !== undefined;
}

/** The binding that an object is, if it is one that counts now. */
export function inForce(kind: BindingKind, object: KubernetesObject, globalRoles: readonly string[], onRefused: OnRefused): Binding | undefined {
  const reading = readBinding(kind, object, globalRoles);
  if (!reading) onRefused(kind, object, "it is not a binding");
  else if ("refused" in reading) onRefused(kind, object, reading.refused);
  return reading && "binding" in reading ? reading.binding : undefined;
}

// The objects of a simulated cluster, with what optimistic concurrency rests on: uids, versions, preconditions, finalizers, and the changes that watches tell.
import { randomUUID } from "node:crypto";
import type { V1ManagedFieldsEntry, V1OwnerReference } from "@kubernetes/client-node";
import { alreadyExists, conflict, expired, invalid, notFound } from "./refusal.ts";
import type { Resource } from "./resources.ts";
import { apiVersionOf } from "./resources.ts";

/** An object as it travels: times are text. */
export interface Thing {
  apiVersion: string;
  kind: string;
  metadata: Metadata;
  [field: string]: unknown;
}
export interface Metadata {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: V1OwnerReference[];
  managedFields?: V1ManagedFieldsEntry[];
}
export interface Change {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly resource: Resource;
  readonly object: Thing;
  readonly before: Thing | undefined;
  readonly version: number;
}
/** Who writes, and whether it is only asked what would be. */
export interface Write {
  readonly manager: string;
  readonly dryRun?: boolean;
}
export interface Preconditions {
  readonly uid?: string;
  readonly resourceVersion?: string;
}

/** How many changes a watch may be behind before it is told to list again. */
const HISTORY_MAX = 10_000;
const now = (): string => new Date().toISOString().replace(/\.\d+Z$/, "Z");
export const copyOf = <T>(object: T): T => structuredClone(object);

export class Store {
  readonly #objects = new Map<Resource, Map<string, Thing>>();
  readonly #byUid = new Map<string, { readonly resource: Resource; readonly object: Thing }>();
  /** Owner → its children, by uid. */
  readonly #children = new Map<string, Set<string>>();
  readonly #history: Change[] = [];
  readonly #listeners = new Set<(change: Change) => void>();
  #version = 0;

  get version(): number {
    return this.#version;
  }
  get(resource: Resource, namespace: string | undefined, name: string): Thing | undefined {
    return this.#of(resource).get(keyOf(namespace, name));
  }
  /** In the order of their keys. */
  list(resource: Resource, namespace?: string): Thing[] {
    const all = [...this.#of(resource)].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
    return namespace === undefined ? all : all.filter(({ metadata }) => metadata.namespace === namespace);
  }
  /** @throws Refusal 409 where the name is taken. */
  create(resource: Resource, given: Thing, { manager, dryRun }: Write): Thing {
    const { name, namespace } = given.metadata;
    if (this.get(resource, namespace, name)) throw alreadyExists(resource, name);
    const { deletionTimestamp: _, managedFields: _other, ...metadata } = given.metadata;
    const object: Thing = {
      ...given,
      apiVersion: apiVersionOf(resource),
      kind: resource.kind,
      metadata: { ...metadata, uid: randomUUID(), creationTimestamp: now() },
    };
    object.metadata.managedFields = fieldsAfter(undefined, object, manager);
    return dryRun ? object : this.#put("ADDED", resource, object, undefined);
  }
  /** @throws Refusal 404; 409 where uid or version is another one; 422 where a fixed field changes. */
  replace(resource: Resource, given: Thing, { manager, dryRun }: Write): Thing {
    const { name, namespace, uid, resourceVersion } = given.metadata;
    const known = this.get(resource, namespace, name);
    if (!known)
      throw uid === undefined ? notFound(resource, name) : conflict(resource, name, `Precondition failed: UID in precondition: ${uid}, UID in object meta: `);
    check(resource, known, { ...(uid === undefined ? {} : { uid }), ...(resourceVersion === undefined ? {} : { resourceVersion }) });
    for (const field of resource.fixed ?? []) if (!sameJson(given[field], known[field])) throw invalid(resource, name, field, "field is immutable");
    const kept = { uid: known.metadata.uid!, creationTimestamp: known.metadata.creationTimestamp!, resourceVersion: known.metadata.resourceVersion! };
    const { deletionTimestamp } = known.metadata;
    const metadata: Metadata = { ...given.metadata, ...kept, ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }) };
    metadata.managedFields = known.metadata.managedFields ?? [];
    const object: Thing = { ...given, apiVersion: known.apiVersion, kind: known.kind, metadata };
    if (sameJson(object, known)) return known;
    metadata.managedFields = fieldsAfter(known, object, manager);
    if (dryRun) return object;
    return deletionTimestamp !== undefined && !isHeld(object) ? this.#drop(resource, object) : this.#put("MODIFIED", resource, object, known);
  }
  /** Gone at once, or, where a finalizer holds it, marked. @throws Refusal 404; 409 where it is not the one that was meant. */
  remove(resource: Resource, namespace: string | undefined, name: string, preconditions: Preconditions, dryRun = false, finalizer?: string): Thing {
    const known = this.get(resource, namespace, name);
    if (!known) throw notFound(resource, name);
    check(resource, known, preconditions);
    const finalizers = [...new Set([...(known.metadata.finalizers ?? []), ...(finalizer === undefined ? [] : [finalizer])])];
    const marked: Thing = { ...known, metadata: { ...known.metadata, deletionTimestamp: known.metadata.deletionTimestamp ?? now() } };
    if (finalizers.length > 0) marked.metadata.finalizers = finalizers;
    if (dryRun || (isHeld(known) && known.metadata.deletionTimestamp !== undefined)) return known;
    return isHeld(marked) ? this.#put("MODIFIED", resource, marked, known) : this.#drop(resource, known);
  }
  /** Those that name it as an owner. */
  childrenOf(uid: string): { readonly resource: Resource; readonly object: Thing }[] {
    return [...(this.#children.get(uid) ?? [])].flatMap((uidOfChild) => this.find(uidOfChild) ?? []);
  }
  find(uid: string): { readonly resource: Resource; readonly object: Thing } | undefined {
    return this.#byUid.get(uid);
  }

  /** Every change from now on, until the returned function is called. */
  follow(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  /** What happened after a version. @throws Refusal 410 where that is not known any more. */
  since(version: number): readonly Change[] {
    const oldest = this.#history[0]?.version ?? this.#version + 1;
    if (version < oldest - 1) throw expired(`too old resource version: ${version} (${oldest})`);
    return this.#history.filter((change) => change.version > version);
  }

  #of(resource: Resource): Map<string, Thing> {
    const known = this.#objects.get(resource) ?? new Map<string, Thing>();
    this.#objects.set(resource, known);
    return known;
  }
  #put(type: "ADDED" | "MODIFIED", resource: Resource, given: Thing, before: Thing | undefined): Thing {
    const object = this.#versioned(given);
    const { namespace, name, uid } = object.metadata;
    this.#of(resource).set(keyOf(namespace, name), object);
    this.#forgetOwners(before);
    this.#byUid.set(uid!, { resource, object });
    for (const owner of object.metadata.ownerReferences ?? []) this.#children.set(owner.uid, (this.#children.get(owner.uid) ?? new Set()).add(uid!));
    this.#tell({ type, resource, object, before, version: this.#version });
    return object;
  }
  #drop(resource: Resource, given: Thing): Thing {
    const before = this.get(resource, given.metadata.namespace, given.metadata.name);
    const object = this.#versioned(given);
    this.#of(resource).delete(keyOf(given.metadata.namespace, given.metadata.name));
    this.#forgetOwners(before);
    this.#byUid.delete(given.metadata.uid!);
    this.#tell({ type: "DELETED", resource, object, before, version: this.#version });
    return object;
  }
  #forgetOwners(before: Thing | undefined): void {
    for (const { uid } of before?.metadata.ownerReferences ?? []) {
      const children = this.#children.get(uid);
      children?.delete(before!.metadata.uid!);
      if (children?.size === 0) this.#children.delete(uid);
    }
  }
  #versioned(object: Thing): Thing {
    return { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
  }
  #tell(change: Change): void {
    this.#history.push(change);
    if (this.#history.length > HISTORY_MAX) this.#history.splice(0, HISTORY_MAX / 10);
    for (const listener of this.#listeners) listener(change);
  }
}

const keyOf = (namespace: string | undefined, name: string): string => `${namespace ?? ""}/${name}`;
/** A namespace is held by its spec until it is empty. */
const isHeld = ({ metadata, spec }: Thing): boolean =>
  (metadata.finalizers ?? []).length > 0 || ((spec as { finalizers?: string[] } | undefined)?.finalizers ?? []).length > 0;
/** Keys in any order; what is undefined is not there. */
const sameJson = (a: unknown, b: unknown): boolean => canonical(a) === canonical(b);
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_key, one: unknown) =>
    one !== null && typeof one === "object" && !Array.isArray(one) ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1))) : one,
  ) ?? "";

function check(resource: Resource, { metadata }: Thing, { uid, resourceVersion }: Preconditions): void {
  if (uid !== undefined && uid !== metadata.uid)
    throw conflict(resource, metadata.name, `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${metadata.uid}`);
  if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion)
    throw conflict(resource, metadata.name, "the object has been modified; please apply your changes to the latest version and try again");
}

/** Who owns which top fields, and those of `data`: the writer owns what it changed. https://kubernetes.io/docs/reference/using-api/server-side-apply/#managers */
function fieldsAfter(before: Thing | undefined, after: Thing, manager: string): V1ManagedFieldsEntry[] {
  const changed = Object.keys(after).filter((field) => !["apiVersion", "kind"].includes(field) && canonical(before?.[field]) !== canonical(after[field]));
  const inside = (field: string): object =>
    field === "data" ? { ".": {}, ...Object.fromEntries(Object.keys(after["data"] ?? {}).map((key) => [`f:${key}`, {}])) } : {};
  const known = before?.metadata.managedFields ?? [];
  const own = known.find((entry) => entry.manager === manager);
  const fieldsV1 = { ...own?.fieldsV1, ...Object.fromEntries(changed.map((field) => [`f:${field}`, inside(field)])) };
  const entry = { manager, operation: "Update", apiVersion: after.apiVersion, time: now() as unknown as Date, fieldsType: "FieldsV1", fieldsV1 };
  return [...known.filter((one) => one !== own), entry];
}

// The verbs on stored objects: get, list in pages, create, update, patch, delete. A watch is in watch.ts.
import { randomUUID } from "node:crypto";
import type { Target } from "./path.ts";
import { PATCHES } from "./patch.ts";
import { Refusal, badRequest, expired, notFound, terminating } from "./refusal.ts";
import type { Resource } from "./resources.ts";
import { KUBERNETES, NAMESPACES, apiVersionOf } from "./resources.ts";
import { selectorOf } from "./selectors.ts";
import type { Preconditions, Store, Thing, Write } from "./store.ts";
import { copyOf } from "./store.ts";

/** One request, read. */
export interface Asked {
  readonly target: Target;
  readonly query: URLSearchParams;
  readonly body: unknown;
  readonly contentType: string;
  /** Before the first slash of its User-Agent. */
  readonly manager: string;
}
export interface Answer {
  readonly status: number;
  readonly body: object;
}
/** Of lists that are read page by page; an older one has to begin anew. */
const SNAPSHOTS_MAX = 100;
const PAGE_MAX = 100_000;

export class Verbs {
  readonly #store: Store;
  readonly #snapshots = new Map<string, { readonly rest: Thing[]; readonly version: string }>();
  constructor(store: Store) {
    this.#store = store;
  }

  get({ target: { resource, namespace, name } }: Asked): Answer {
    const object = this.#store.get(resource, namespace, name!);
    if (!object) throw notFound(resource, name!);
    return { status: 200, body: object };
  }

  /** Pages of one snapshot. @throws Refusal 410 for a page of a snapshot that is forgotten. */
  list({ target: { resource, namespace }, query }: Asked): Answer {
    const token = query.get("continue");
    const found = token ? this.#snapshots.get(token) : { rest: this.#selected(resource, namespace, query), version: String(this.#store.version) };
    if (!found) throw expired("The provided continue parameter is too old to display a consistent list result.");
    const size = Number(query.get("limit") ?? 0) || PAGE_MAX;
    const page = found.rest.slice(0, size);
    // As built-in kinds have it, and custom ones do not.
    const items = KUBERNETES.includes(resource) ? page.map(({ apiVersion: _apiVersion, kind: _kind, ...item }) => item) : page;
    const metadata: Record<string, unknown> = { resourceVersion: found.version };
    if (found.rest.length > size)
      Object.assign(metadata, { continue: this.#keep(found.rest.slice(size), found.version), remainingItemCount: found.rest.length - size });
    return { status: 200, body: { kind: `${resource.kind}List`, apiVersion: apiVersionOf(resource), metadata, items } };
  }
  #selected(resource: Resource, namespace: string | undefined, query: URLSearchParams): Thing[] {
    return this.#store.list(resource, namespace).filter(selectorOf(query.get("labelSelector"), query.get("fieldSelector")));
  }
  #keep(rest: Thing[], version: string): string {
    const token = randomUUID();
    this.#snapshots.set(token, { rest, version });
    if (this.#snapshots.size > SNAPSHOTS_MAX) this.#snapshots.delete(this.#snapshots.keys().next().value!);
    return token;
  }

  create(asked: Asked): Answer {
    const { target } = asked;
    const object = thingIn(asked);
    const { namespace } = target;
    const home = namespace === undefined ? undefined : this.#store.get(NAMESPACES, undefined, namespace);
    if (namespace !== undefined && !home) throw notFound(NAMESPACES, namespace);
    if (home?.metadata.deletionTimestamp) throw terminating(target.resource, object.metadata.name, namespace!);
    // It holds a namespace until its contents have gone.
    if (target.resource === NAMESPACES) Object.assign(object, { spec: { finalizers: ["kubernetes"] }, status: { phase: "Active" } });
    return { status: 201, body: this.#store.create(target.resource, object, writeOf(asked)) };
  }

  /** https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions */
  update(asked: Asked): Answer {
    const { resource, namespace, name } = asked.target;
    const object = thingIn(asked);
    if (object.metadata.name !== name) throw badRequest(`the name of the object (${object.metadata.name}) does not match the name on the URL (${name})`);
    const absent = this.#store.get(resource, namespace, name) === undefined;
    if (absent && resource.upserts && object.metadata.uid === undefined) return { status: 201, body: this.#store.create(resource, object, writeOf(asked)) };
    if (absent && !resource.upserts) throw notFound(resource, name);
    return { status: 200, body: this.#store.replace(resource, object, writeOf(asked)) };
  }

  patch(asked: Asked): Answer {
    const { resource, namespace, name } = asked.target;
    const known = this.#store.get(resource, namespace, name!);
    if (!known) throw notFound(resource, name!);
    const apply = PATCHES[asked.contentType];
    if (!apply) throw new Refusal(415, "UnsupportedMediaType", `the body of the request was in an unknown format: ${asked.contentType}`);
    const object = apply(copyOf(known), asked.body) as Thing;
    return { status: 200, body: this.#store.replace(resource, object, writeOf(asked)) };
  }

  delete(asked: Asked): Answer {
    const { resource, namespace, name } = asked.target;
    const { preconditions = {}, propagationPolicy } = (asked.body ?? {}) as { preconditions?: Preconditions; propagationPolicy?: string };
    const finalizer = { Orphan: "orphan", Foreground: "foregroundDeletion" }[propagationPolicy ?? ""];
    const { dryRun } = writeOf(asked);
    return { status: 200, body: this.#store.remove(resource, namespace, name!, preconditions, dryRun, finalizer) };
  }
}

const writeOf = ({ manager, query }: Asked): Required<Write> => ({ manager, dryRun: query.get("dryRun") === "All" });

/** The object in a body, in the request's namespace. @throws Refusal 400. */
function thingIn({ body, target: { resource, namespace } }: Asked): Thing {
  const object = body as Partial<Thing> | null;
  if (object === null || typeof object !== "object" || !object.metadata?.name) throw badRequest(`the body is no ${resource.kind} with a name`);
  if (object.kind !== undefined && object.kind !== resource.kind) throw badRequest(`${object.kind} in the body, ${resource.kind} in the path`);
  return { ...object, metadata: { ...object.metadata, ...(namespace === undefined ? {} : { namespace }) } } as Thing;
}

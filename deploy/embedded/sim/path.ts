// A request's path and method → what is asked of which object. https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
import { REVIEWS } from "./discovery.ts";
import type { Resource } from "./resources.ts";
import { ACCOUNTS, NAMESPACES, prefixOf } from "./resources.ts";

export type Verb = "get" | "list" | "watch" | "create" | "update" | "patch" | "delete" | "deletecollection";
export interface Target {
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  /** `token` of a service account is the only one. */
  readonly subresource: string | undefined;
}

/** Undefined where nothing is served there. */
export function targetOf(path: string, resources: readonly Resource[]): Target | undefined {
  for (const resource of [...resources, ...REVIEWS]) {
    const prefix = `${prefixOf(resource)}/`;
    if (!path.startsWith(prefix)) continue;
    const parts = path.slice(prefix.length).split("/").map(decodeURIComponent);
    const scoped = parts[0] === "namespaces" && parts.length > 2;
    const [plural, name, subresource, ...rest] = scoped ? parts.slice(2) : parts;
    if (plural !== resource.plural || rest.length > 0 || (scoped && !resource.namespaced)) continue;
    if (resource.namespaced && !scoped && name !== undefined) continue;
    if (subresource !== undefined && (resource !== ACCOUNTS || subresource !== "token")) continue;
    return { resource, namespace: scoped ? parts[1] : undefined, name, subresource };
  }
  return undefined;
}

/** Undefined for a method that Kubernetes does not have. */
export function verbOf(method: string, { name }: Target, query: URLSearchParams): Verb | undefined {
  const watch = ["true", "1"].includes(query.get("watch") ?? "");
  if (method === "GET") return watch ? "watch" : name === undefined ? "list" : "get";
  if (method === "DELETE") return name === undefined ? "deletecollection" : "delete";
  return ({ POST: "create", PUT: "update", PATCH: "patch" } as const)[method];
}

/** As RBAC is asked: a namespace is in itself, and who lists by one name alone asks for that one. */
export function attributesOf(verb: Verb, { resource, namespace, name, subresource }: Target, query: URLSearchParams) {
  const one = name ?? /^metadata\.name=([^,]+)$/.exec(query.get("fieldSelector") ?? "")?.[1];
  return {
    verb,
    group: resource.group,
    resource: subresource === undefined ? resource.plural : `${resource.plural}/${subresource}`,
    namespace: resource === NAMESPACES ? one : namespace,
    name: one,
  };
}

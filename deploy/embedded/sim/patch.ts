// The patches that kubectl sends: merge patches, and strategic ones as far as the kinds served here know them.
import type { Thing } from "./store.ts";

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json => value !== null && typeof value === "object" && !Array.isArray(value);

/** RFC 7386. */
function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged: Json = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

/** Lists that are merged and not replaced, and by which field; "" = by the value itself. Every other list of these kinds is atomic. */
const MERGED: Readonly<Record<string, string>> = { ownerReferences: "uid", finalizers: "", secrets: "name", imagePullSecrets: "name" };
const DELETE_FROM = "$deleteFromPrimitiveList/";

/** https://github.com/kubernetes/community/blob/main/contributors/devel/sig-api-machinery/strategic-merge-patch.md */
function strategicPatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged: Json = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    const list = MERGED[key];
    if (key.startsWith(DELETE_FROM)) {
      const field = key.slice(DELETE_FROM.length);
      merged[field] = ((merged[field] ?? []) as unknown[]).filter((one) => !(value as unknown[]).includes(one));
    } else if (key.startsWith("$")) continue;
    else if (value === null) delete merged[key];
    else
      merged[key] =
        list !== undefined && Array.isArray(value) ? mergedList((merged[key] ?? []) as Json[], value as Json[], list) : strategicPatch(merged[key], value);
  }
  return merged;
}

function mergedList(known: readonly unknown[], patch: readonly Json[], by: string): unknown[] {
  if (by === "") return [...new Set([...known, ...patch])];
  const items = [...(known as Json[])];
  for (const { $patch, ...item } of patch) {
    const at = items.findIndex((one) => one[by] === item[by]);
    if ($patch === "delete") items.splice(at, at < 0 ? 0 : 1);
    else if (at < 0) items.push(item);
    else items[at] = { ...items[at], ...item };
  }
  return items;
}

export const PATCHES: Readonly<Record<string, (object: Thing, patch: unknown) => unknown>> = {
  "application/merge-patch+json": mergePatch,
  "application/strategic-merge-patch+json": strategicPatch,
};

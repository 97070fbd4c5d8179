// Bytes of a request's body → what its schema says, or what is wrong with them and where. Both listeners of a producer read theirs with it. Pure.
import type { z } from "zod";
import { shown } from "../shared/subject.ts";

/** The body as the schema has it; `problem` names each place, and no value. */
export function readBody<T>(raw: Uint8Array, schema: z.ZodType<T>): { readonly body: T } | { readonly problem: string } {
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(raw);
    json = JSON.parse(text);
  } catch {
    return { problem: "the body is not JSON in UTF-8" };
  }
  const wrong = wrongKey(text);
  if (wrong !== undefined) return { problem: `the body has a key ${wrong}; write each key once` };
  const parsed = schema.safeParse(json);
  if (parsed.success) return { body: parsed.data };
  const places = parsed.error.issues.map((issue) => `${issue.path.join(".") || "body"}: ${issue.message}`);
  return { problem: places.join("; ").slice(0, 1000) };
}

/** A key that JSON.parse would hide: `__proto__`, or one that stands twice in its object, of which another reader of the signed body may take the first. */
function wrongKey(text: string): string | undefined {
  const keys: Set<string>[] = [];
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"\s*:?|[{}]/g)) {
    if (token === "{") keys.push(new Set());
    else if (token === "}") keys.pop();
    else if (token.endsWith(":")) {
      const key = JSON.parse(token.slice(0, -1)) as string;
      if (key === "__proto__") return shown(key);
      if (keys.at(-1)!.has(key)) return `${shown(key)} twice`;
      keys.at(-1)!.add(key);
    }
  }
  return undefined;
}

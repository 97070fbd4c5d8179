// Label and field selectors, as a query carries them. https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
import { badRequest } from "./refusal.ts";
import type { Thing } from "./store.ts";

export type Selector = (object: Thing) => boolean;

/** @throws Refusal 400 where it cannot be read. */
export function selectorOf(labels: string | null, fields: string | null): Selector {
  const tests = [...parts(labels ?? "").map(labelTest), ...(fields ?? "").split(",").filter(Boolean).map(fieldTest)];
  return (object) => tests.every((test) => test(object));
}

/** At commas that are in no parentheses. */
const parts = (text: string): string[] => text.split(/,(?![^(]*\))/).filter((part) => part.trim() !== "");

function labelTest(text: string): Selector {
  const [, not, bare, key = bare, operator, value = ""] = /^\s*(!?)(?:([^\s!=()]+)|([^\s!=()]+)\s*(==|=|!=| in | notin )\s*(.*))\s*$/.exec(text) ?? [];
  if (key === undefined) throw badRequest(`unable to parse requirement: ${text}`);
  const values = (
    operator?.trim().endsWith("in")
      ? value
          .trim()
          .replace(/^\(|\)$/g, "")
          .split(",")
      : [value]
  ).map((one) => one.trim());
  const negative = not === "!" || operator === "!=" || operator === " notin ";
  return ({ metadata }) => {
    const own = metadata.labels?.[key];
    return (operator === undefined ? own !== undefined : own !== undefined && values.includes(own)) !== negative;
  };
}

function fieldTest(text: string): Selector {
  const [, field, operator, value] = /^([\w.]+)(=|==|!=)(.*)$/.exec(text) ?? [];
  const read: Readonly<Record<string, (object: Thing) => unknown>> = {
    "metadata.name": ({ metadata }) => metadata.name,
    "metadata.namespace": ({ metadata }) => metadata.namespace,
    type: (object) => object["type"],
  };
  const get = read[field ?? ""];
  if (!get) throw badRequest(`field label not supported: ${field ?? text}`);
  return (object) => (get(object) === value) !== (operator === "!=");
}

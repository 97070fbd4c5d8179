// `--sample FILE`: other people and bindings, as the Kubernetes objects that they are on a Rancher management cluster.
import { readFileSync } from "node:fs";
import { LineCounter, parseAllDocuments } from "yaml";
import { z } from "zod";
import { UsageError } from "../settings.ts";
import { SAMPLE_KINDS, type SampleObject } from "./sample.ts";

const name = z.string().min(1);
const object = z.looseObject({
  kind: z.enum(SAMPLE_KINDS),
  metadata: z.looseObject({ name, namespace: name.optional() }),
});

/** Every document of a YAML file, items of a List included. @throws UsageError naming file, line and what is wrong. */
export function readSample(path: string): SampleObject[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UsageError(`--sample: ${path} cannot be read (${(error as { code?: string }).code ?? "error"})`, { cause: error });
  }
  const lineCounter = new LineCounter();
  const found: SampleObject[] = [];
  for (const document of parseAllDocuments(text, { lineCounter })) {
    if (!("contents" in document)) continue;
    const [broken] = document.errors;
    const line = lineCounter.linePos(broken?.pos[0] ?? document.contents?.range?.[0] ?? 0).line;
    if (broken) throw new UsageError(`--sample: ${path}:${line}: ${broken.message.split("\n")[0]}`);
    const value = document.toJS() as { kind?: unknown; items?: unknown[] } | null;
    const objects = value?.kind === "List" ? (value.items ?? []) : [value];
    // An empty document is what a trailing `---` leaves.
    for (const one of objects) if (one !== null) found.push(sampleObject(one, `${path}:${line}`));
  }
  if (found.length === 0) throw new UsageError(`--sample: ${path} holds no object`);
  return found;
}

function sampleObject(value: unknown, at: string): SampleObject {
  const read = object.safeParse(value);
  if (read.success) return read.data as unknown as SampleObject;
  const [issue] = read.error.issues;
  throw new UsageError(`--sample: ${at}: ${issue!.path.join(".")}: ${issue!.message}`);
}

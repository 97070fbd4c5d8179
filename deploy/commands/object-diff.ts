// One object as it is against as it would be: a unified diff of YAML, for people at a terminal in colour. Asks nobody.
import { styleText } from "node:util";
import type { KubernetesObject, V1ObjectMeta } from "@kubernetes/client-node";
import { FILE_HEADERS_ONLY, createTwoFilesPatch } from "diff";
import { stringify } from "yaml";
import type { ForeseenStep } from "../../shared/decide/foresight.ts";
import { visible } from "./output.ts";
import { RBAC } from "./rights.ts";

/** What the server writes by itself, and every object has. */
const SERVERS: readonly (keyof V1ObjectMeta)[] = ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"];
const NOTHING = "/dev/null";

export function objectDiff({ kind, name, before, after }: Pick<ForeseenStep, "kind" | "name" | "before" | "after">): string {
  const whose = (object: KubernetesObject | undefined, when: string): string => (object ? `${kind}/${name} ${when}` : NOTHING);
  const texts = [yamlOf(kind, before), yamlOf(kind, after)] as const;
  return createTwoFilesPatch(whose(before, "as it is"), whose(after, "as it would be"), ...texts, "", "", {
    context: 3,
    headerOptions: FILE_HEADERS_ONLY,
  }).trimEnd();
}

/** Keys in one order, so that only what differs is shown. A Secret's contents are nobody's to read: of it there are only its type and metadata. */
function yamlOf(kind: ForeseenStep["kind"], object: KubernetesObject | undefined): string {
  if (!object) return "";
  const { data: _data, stringData: _stringData, ...rest } = object as KubernetesObject & { readonly data?: unknown; readonly stringData?: unknown };
  const metadata = Object.fromEntries(Object.entries(object.metadata ?? {}).filter(([key]) => !SERVERS.includes(key as keyof V1ObjectMeta)));
  // What comes from a list does not say what it is.
  const apiVersion = kind === "ClusterRole" || kind === "ClusterRoleBinding" ? `${RBAC}/v1` : "v1";
  const text = stringify({ ...rest, apiVersion, kind, metadata }, { sortMapEntries: true, lineWidth: 0, aliasDuplicateObjects: false });
  return visible(text);
}

const COLOURS = { "+": "green", "-": "red", "@": "cyan" } as const;
/** In colour where stdout is a terminal and NO_COLOR is not set. */
export const coloured = (diff: string): string =>
  diff
    .split("\n")
    .map((line, at) =>
      at < 2 ? styleText("bold", line) : line[0] !== undefined && line[0] in COLOURS ? styleText(COLOURS[line[0] as keyof typeof COLOURS], line) : line,
    )
    .join("\n");

// Whether the worker fence bites: the admission policy that `understudy bootstrap` prints, asked by server-side dry runs of two roles that it has to refuse.
// A dry run writes nothing; what is asked with any other account than the worker's is not refused, for the fence is the worker's alone.
import { roleFor } from "../decide/objects.ts";
import type { ClusterClient } from "./client.ts";
import { answerError } from "./errors.ts";
import { COLLECTIONS } from "./paths.ts";

/** Name of the policy and of its binding. */
export const WORKER_FENCE = "understudy-worker-fence";
/** What the policy says of the two roles. An older policy that says something else counts as none: it is applied anew. */
export const FENCE_TEXTS = {
  anyName: "understudy fence: a rule without resourceNames allows every name",
  reserved: "understudy fence: reserved names cannot be impersonated",
} as const;

/** Created, or refused by whoever refuses: RBAC, the name that is taken, any admission policy. */
const ANSWERS: ReadonlySet<number> = new Set([201, 403, 409, 422]);

/** A role as workers write it, but for one rule: so whatever else a policy looks at is as it should be. */
function roleWith(groups: { readonly resourceNames?: readonly string[] }): string {
  const identity = { user: "understudy-fence-probe", groups: [], principalid: [], username: [] };
  const role = roleFor({ identity, loginEnds: undefined, profile: "strict", install: "understudy", tokenMode: "secret" });
  return JSON.stringify({ ...role, rules: [...role.rules!, { verbs: ["impersonate"], apiGroups: [""], resources: ["groups"], ...groups }] });
}
const PROBES = [
  { json: roleWith({}), text: FENCE_TEXTS.anyName },
  { json: roleWith({ resourceNames: ["system:masters"] }), text: FENCE_TEXTS.reserved },
];

/** True only where both are refused by the fence and by its words: another policy's refusal, or one for want of a right, proves nothing. @throws ApiError when the server does not say. */
export async function fenceBites(client: ClusterClient): Promise<boolean> {
  for (const { json, text } of PROBES) {
    const { status, body, headers } = await client.ask("POST", COLLECTIONS.ClusterRole, { query: { dryRun: "All" }, json });
    if (!ANSWERS.has(status)) throw answerError({ cluster: client.cluster, method: "POST", path: COLLECTIONS.ClusterRole }, status, headers, body);
    const { message = "" } = JSON.parse(body) as { message?: string };
    if (!message.includes(`'${WORKER_FENCE}'`) || !message.includes(text)) return false;
  }
  return true;
}

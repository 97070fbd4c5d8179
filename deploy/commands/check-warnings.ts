// What `check` warns of on a cluster although all works: people who are cluster-admin there, and a clock that is not ours.
import type { V1ClusterRoleBinding } from "@kubernetes/client-node";
import type { ClusterClient } from "../../shared/kube/client.ts";
import { answerError, isStatus } from "../../shared/kube/errors.ts";
import { COLLECTIONS } from "../../shared/kube/paths.ts";
import { groupRefusalOf, refusalOf, shown } from "../../shared/subject.ts";

const CLOCK_MS_MAX = 5_000;
const NAMED_MAX = 10;

/** A subject of a ClusterRoleBinding to cluster-admin. */
export interface Admin {
  readonly kind: "User" | "Group";
  readonly name: string;
  readonly binding: string;
}

/** Only those whom the deny list lets through: nobody can be made to act as the others. Empty where bindings may not be listed, which is a missing right. @throws ApiError for the rest. */
export async function adminsOn(client: ClusterClient, denyPrefixes: readonly string[]): Promise<Admin[]> {
  const bindings = await client.list<V1ClusterRoleBinding>(COLLECTIONS.ClusterRoleBinding).catch((error: unknown) => {
    if (isStatus(error, 403)) return { items: [] };
    throw error;
  });
  const admins = bindings.items.filter(({ roleRef }) => roleRef.kind === "ClusterRole" && roleRef.name === "cluster-admin");
  return admins.flatMap(({ metadata, subjects = [] }) =>
    subjects.flatMap(({ kind, name }) => {
      if (kind !== "User" && kind !== "Group") return [];
      const refusal = kind === "User" ? refusalOf(name, denyPrefixes) : groupRefusalOf(name, denyPrefixes, false);
      return refusal === undefined ? [{ kind, name, binding: metadata?.name ?? "" }] : [];
    }),
  );
}

export function adminWarnings(whose: string, admins: readonly Admin[]): string[] {
  if (admins.length === 0) return [];
  const named = admins.slice(0, NAMED_MAX).map(({ kind, name, binding }) => `${kind} ${shown(name)} by ${binding}`);
  if (admins.length > NAMED_MAX) named.push(`${admins.length - NAMED_MAX} more`);
  return [
    `${whose}: cluster-admin is bound to ${named.join(", ")}: whoever gets the token of such a person's impersonator is administrator there; bind them to less, or put their prefix into UNDERSTUDY_DENY_PREFIXES`,
  ];
}

/** A cluster may keep its version from everybody; its clock is on every answer. @throws ApiError when it does not answer. */
export async function askVersion(client: ClusterClient): Promise<{ version: string | null; clockAheadMs: number | null }> {
  const asked = Date.now();
  const { status, body, headers } = await client.ask("GET", "/version");
  const clockAheadMs = aheadMs(headers["date"], asked, Date.now());
  if (status === 403) return { version: null, clockAheadMs };
  if (status >= 300) throw answerError({ cluster: client.cluster, method: "GET", path: "/version" }, status, headers, body);
  return { version: (JSON.parse(body) as { gitVersion?: string }).gitVersion ?? null, clockAheadMs };
}

/** The header counts whole seconds, and the answer was written at some time between: so much is no difference. */
function aheadMs(date: unknown, asked: number, answered: number): number | null {
  const at = Date.parse(String(date));
  if (Number.isNaN(at)) return null;
  return at > answered ? at - answered : at + 1_000 < asked ? at + 1_000 - asked : 0;
}

export function clockWarnings(whose: string, clockAheadMs: number | null): string[] {
  if (clockAheadMs === null || Math.abs(clockAheadMs) <= CLOCK_MS_MAX) return [];
  const seconds = Math.round(Math.abs(clockAheadMs) / 1_000);
  return [
    `${whose}: its clock is ${seconds} s ${clockAheadMs > 0 ? "ahead of" : "behind"} this machine's; logins and tokens carry times: let NTP set both, and those of the auth proxies`,
  ];
}

// Settings that are right each by itself and wrong together. What each one may be is config.ts's. Pure.
import { listOf } from "./setting-values.ts";

type Given = Readonly<Record<string, string>>;
/** What a setting comes to; undefined where it is not set, and where it is refused anyway: that needs no second line. */
type Valid = (
  name:
    | "UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE"
    | "UNDERSTUDY_CREDENTIALS_LISTEN"
    | "UNDERSTUDY_DASHBOARD_TRUSTED_HEADER"
    | "UNDERSTUDY_DASHBOARD_USERS"
    | "UNDERSTUDY_DASHBOARD_WRITE",
) => unknown;

/** One line for each, with the fix. */
export const conflictsIn = (given: Given, valid: Valid): string[] => [
  ...managementConflicts(given, valid),
  ...credentialsConflicts(given, valid),
  ...dashboardConflicts(valid),
];

/** What is on the management cluster needs its kubeconfig. */
function managementConflicts(given: Given, valid: Valid): string[] {
  if (given["UNDERSTUDY_MANAGEMENT_KUBECONFIG"] !== undefined) return [];
  const namespace = valid("UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE");
  return [
    ...(given["UNDERSTUDY_SOURCE"] === "rancher" ? ["UNDERSTUDY_SOURCE: rancher needs UNDERSTUDY_MANAGEMENT_KUBECONFIG"] : []),
    ...(namespace === undefined ? [] : ["UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE: it needs UNDERSTUDY_MANAGEMENT_KUBECONFIG, whatever the source"]),
  ];
}

/** What the credentials listener gives away makes its caller a person, so it has a secret, and one of its own. */
function credentialsConflicts(given: Given, valid: Valid): string[] {
  const own = listOf(given["UNDERSTUDY_CREDENTIALS_SECRETS"] ?? "");
  const hooks = listOf(given["UNDERSTUDY_HOOK_SECRETS"] ?? "");
  if (valid("UNDERSTUDY_CREDENTIALS_LISTEN") !== undefined && own.length === 0)
    return ["UNDERSTUDY_CREDENTIALS_SECRETS: UNDERSTUDY_CREDENTIALS_LISTEN needs one: openssl rand -base64 32"];
  return own.some((secret) => hooks.includes(secret))
    ? ["UNDERSTUDY_CREDENTIALS_SECRETS: one of them is in UNDERSTUDY_HOOK_SECRETS too; whoever reports logins must not get tokens: openssl rand -base64 32"]
    : [];
}

/** Who somebody is has one source; and a name that nobody can have would be a typing error that nobody notices. */
function dashboardConflicts(valid: Valid): string[] {
  const users = (valid("UNDERSTUDY_DASHBOARD_USERS") ?? new Map()) as ReadonlyMap<string, string>;
  const header = valid("UNDERSTUDY_DASHBOARD_TRUSTED_HEADER");
  const writers = ((valid("UNDERSTUDY_DASHBOARD_WRITE") ?? []) as readonly string[]).filter((name) => name !== "*");
  if (header !== undefined && users.size > 0) return ["UNDERSTUDY_DASHBOARD_TRUSTED_HEADER: set it or UNDERSTUDY_DASHBOARD_USERS, not both"];
  if (header !== undefined || writers.every((name) => users.has(name))) return [];
  return users.size > 0
    ? ["UNDERSTUDY_DASHBOARD_WRITE: each name has to be one of UNDERSTUDY_DASHBOARD_USERS"]
    : ["UNDERSTUDY_DASHBOARD_WRITE: names need UNDERSTUDY_DASHBOARD_USERS or UNDERSTUDY_DASHBOARD_TRUSTED_HEADER; * is everybody who may look"];
}

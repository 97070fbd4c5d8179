// The last word of every scenario: requests with an impersonator's own token and headers, and the objects as an administrator sees them.
import assert from "node:assert/strict";
import type { ApiServer } from "../apiserver/start.ts";
import { nameOf } from "../../shared/names.ts";

export const NAMESPACE = "cattle-impersonation-system";
const RBAC = "/apis/rbac.authorization.k8s.io/v1";
export interface Who {
  readonly user: string;
  readonly groups?: readonly string[];
  readonly extras?: Readonly<Record<string, readonly string[]>>;
  readonly uid?: string;
}

// oxlint-disable-next-line no-explicit-any -- an object as the server answers it: tests say what it has to hold
type Seen = any;

/** The four kinds as they stand, by an administrator. */
export async function objectsOf(server: ApiServer, user: string): Promise<{ role: Seen; binding: Seen; account: Seen; secrets: Seen[] }> {
  const name = nameOf(user);
  const get = async (path: string): Promise<Seen> => {
    const { status, body } = await server.call("GET", path);
    return status === 200 ? body : undefined;
  };
  const secrets = ((await get(`/api/v1/namespaces/${NAMESPACE}/secrets`))?.items ?? []) as Seen[];
  return {
    role: await get(`${RBAC}/clusterroles/${name}`),
    binding: await get(`${RBAC}/clusterrolebindings/${name}`),
    account: await get(`/api/v1/namespaces/${NAMESPACE}/serviceaccounts/${name}`),
    secrets: secrets.filter((secret) => secret.metadata.annotations?.["kubernetes.io/service-account.name"] === name),
  };
}

/** The token that its ServiceAccount names. */
export async function tokenOf(server: ApiServer, user: string): Promise<string> {
  const { account } = await objectsOf(server, user);
  const ref = String(account?.metadata.annotations["rancher.io/service-account.secret-ref"]).split("/")[1];
  const { body } = await server.call("GET", `/api/v1/namespaces/${NAMESPACE}/secrets/${ref}`);
  return Buffer.from(body.data?.token ?? "", "base64").toString();
}

/** A token of its ServiceAccount for ten minutes, as an administrator asks for one. */
export async function requestedToken(server: ApiServer, user: string): Promise<string> {
  const path = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/${nameOf(user)}/token`;
  const { body } = await server.call("POST", path, { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { expirationSeconds: 600 } });
  return String(body.status?.token ?? "");
}

/** One SelfSubjectReview with the token as somebody: the status, and who the API server takes it for. */
export async function actAs(
  server: ApiServer,
  token: string,
  who: Who,
): Promise<{ status: number; username?: string; groups?: string[]; extra?: Record<string, string[]> }> {
  const headers: Record<string, string | string[]> = { authorization: `Bearer ${token}`, "impersonate-user": who.user };
  if (who.groups?.length) headers["impersonate-group"] = [...who.groups];
  for (const [key, values] of Object.entries(who.extras ?? {})) headers[`impersonate-extra-${key}`] = [...values];
  if (who.uid !== undefined) headers["impersonate-uid"] = who.uid;
  const { status, body } = await server.call(
    "POST",
    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" },
    headers,
  );
  return status === 201 ? { status, ...body.status.userInfo } : { status };
}

/** May act as exactly this identity (built-in groups besides), and as nobody else. `given`: a token that is in no Secret. */
export async function assertActsAsExactly(server: ApiServer, who: Who, given?: string): Promise<void> {
  const token = given ?? (await tokenOf(server, who.user));
  const groups = [...(who.groups ?? []), "system:cattle:authenticated"];
  const whole = await actAs(server, token, { ...who, groups });
  assert.equal(whole.status, 201, `${who.user} may be exactly this`);
  assert.equal(whole.username, who.user);
  assert.deepEqual([...(whole.groups ?? [])].sort(), [...new Set([...groups, "system:authenticated"])].sort());
  for (const [key, values] of Object.entries(who.extras ?? {})) assert.deepEqual([...(whole.extra?.[key] ?? [])].sort(), [...values].sort());
  const refused = async (what: string, other: Who): Promise<void> => assert.equal((await actAs(server, token, other)).status, 403, what);
  await refused("a stranger", { user: "u-stranger" });
  await refused("a foreign group", { user: who.user, groups: ["github_org://foreign"] });
  await refused("system:masters", { user: who.user, groups: ["system:masters"] });
  await refused("a foreign principalid", { user: who.user, extras: { principalid: ["github_user://foreign"] } });
  await refused("a foreign username", { user: who.user, extras: { username: ["foreign"] } });
  await refused("an extra key that is not granted", { user: who.user, extras: { scopes: ["x"] } });
  await refused("a uid", { user: who.user, uid: "1234" });
  assert.equal((await server.call("GET", "/api/v1/pods", undefined, { authorization: `Bearer ${token}` })).status, 403, "the account itself may do nothing");
}

/** Nothing of the impersonator is left. */
export async function assertGone(server: ApiServer, user: string): Promise<void> {
  const { role, binding, account, secrets } = await objectsOf(server, user);
  assert.deepEqual([role, binding, account, secrets], [undefined, undefined, undefined, []]);
}

/** Calls by our processes in an audit log since a position: method, path, who called. Reviews asked as the impersonator count. */
export interface Called {
  readonly verb: string;
  readonly uri: string;
  /** Of the object, of a created one too; empty for a list. */
  readonly name: string;
  readonly code: number;
  readonly agent: string;
  readonly at: string;
  readonly received: string;
}
export async function callsSince(server: ApiServer, position: number): Promise<{ calls: Called[]; position: number }> {
  const { readFile } = await import("node:fs/promises");
  const log = await readFile(server.auditLog, "utf8");
  // The server may be in the middle of a line.
  const text = log.slice(0, log.lastIndexOf("\n") + 1);
  const calls = text
    .slice(position)
    .split("\n")
    .filter((line) => line.includes('"understudy/'))
    .map((line) => {
      const event = JSON.parse(line);
      return {
        verb: event.verb,
        uri: event.requestURI,
        name: event.objectRef?.name ?? "",
        code: event.responseStatus?.code,
        agent: event.userAgent,
        at: event.stageTimestamp,
        received: event.requestReceivedTimestamp,
      };
    });
  return { calls: calls.filter(({ verb }) => verb !== "watch"), position: text.length };
}
export const writesOf = (calls: readonly Called[]): Called[] =>
  calls.filter(({ verb, uri }) => ["create", "update", "patch", "delete", "deletecollection"].includes(verb) && !uri.includes("selfsubjectreviews"));

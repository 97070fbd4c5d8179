// How the demo asks: the hook as an auth proxy does, and an API server as an administrator or with an impersonator's own token. Judges nothing.
import type { AuthenticationV1TokenRequest, V1ClusterRole, V1Secret, V1SelfSubjectReview, V1ServiceAccount, V1Status } from "@kubernetes/client-node";
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { Webhook } from "standardwebhooks";
import { secretRefOf } from "../../shared/decide/objects.ts";
import type { Name } from "../../shared/decide/rules.ts";
import { headersFor, namesIn } from "../../shared/decide/rules.ts";
import { NAMESPACE, nameOf } from "../../shared/names.ts";
import { tokenIn } from "../../shared/kube/token.ts";

const GONE_MS_MAX = 15_000;
const REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const REVIEW = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" };

export type Ask = (
  method: string,
  path: string,
  body?: unknown,
  headers?: Readonly<Record<string, string | string[]>>,
) => Promise<{ readonly status: number; readonly body: unknown }>;

/** As an auth proxy calls the hook: a Standard Webhooks signature, and up to five seconds of patience. */
export async function login({ hook, secret }: { readonly hook: string; readonly secret: string }, said: object): Promise<{ status: number; text: string }> {
  const id = `msg_${randomUUID()}`;
  const at = new Date();
  const body = JSON.stringify(said);
  const headers = {
    "content-type": "application/json",
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
    "webhook-signature": new Webhook(secret).sign(id, at, body),
  };
  const answer = await fetch(`${hook}/v1/logins?wait=5`, { method: "POST", headers, body, signal: AbortSignal.timeout(20_000) });
  return { status: answer.status, text: await answer.text() };
}

/** An answer of the hook in a few words: the state on each cluster, or why not. */
export function shortly(text: string): string {
  const { state, clusters, detail } = JSON.parse(text) as { state?: string; clusters?: { cluster: string; state: string }[]; detail?: string };
  return clusters ? clusters.map((one) => `${one.state} on ${one.cluster}`).join(", ") : (state ?? detail ?? text);
}

export const rolePath = (user: string): string => `/apis/rbac.authorization.k8s.io/v1/clusterroles/${nameOf(user)}`;

/** What its role allows to become, besides the user. */
export async function roleNames(cluster: Ask, user: string): Promise<Name[]> {
  const { body } = await cluster("GET", rolePath(user));
  return namesIn((body as V1ClusterRole).rules).filter(({ resource }) => resource !== "users");
}
export const text = (names: readonly Name[]): string =>
  [...Map.groupBy(names, ({ resource }) => resource.replace("userextras/", ""))]
    .map(([what, of]) => `${what} ${of.map(({ name }) => name).join(" ")}`)
    .join(" · ");

/** As an administrator reads it out of its Secret, or asks for one where none is kept; a proxy gets it from the credentials listener. */
export async function tokenOf(cluster: Ask, user: string): Promise<string> {
  const path = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/${nameOf(user)}`;
  const ref = secretRefOf((await cluster("GET", path)).body as V1ServiceAccount);
  const asked = { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { expirationSeconds: 600 } };
  const token =
    ref === undefined
      ? ((await cluster("POST", `${path}/token`, asked)).body as AuthenticationV1TokenRequest).status?.token
      : tokenIn((await cluster("GET", `/api/v1/namespaces/${NAMESPACE}/secrets/${ref}`)).body as V1Secret);
  if (token === undefined) throw new Error(`${user} has no token`);
  return token;
}

/** Asks the API server who this token with these headers is. */
export async function review(cluster: Ask, token: string, user: string, names: readonly Name[]): Promise<{ status: number; username: string; said: string }> {
  const headers: Record<string, string[]> = { authorization: [`Bearer ${token}`] };
  for (const [name, value] of headersFor(user, names)) (headers[name.toLowerCase()] ??= []).push(value);
  const { status, body } = await cluster("POST", REVIEWS, REVIEW, headers);
  if (status !== 201) return { status, username: "", said: `${status} ${(body as V1Status).message ?? ""}` };
  const { username = "", groups = [], extra = {} } = (body as V1SelfSubjectReview).status?.userInfo ?? {};
  return { status, username, said: `${status} and becomes ${username}, groups ${groups.join(" ")}, ${JSON.stringify(extra)}` };
}

/** The first answer that will do, or the last when the time is over. */
export async function until<T>(ask: () => Promise<T>, will: (answer: T) => boolean): Promise<T> {
  for (const deadline = performance.now() + GONE_MS_MAX; ; await pause(5)) {
    const answer = await ask();
    if (will(answer) || performance.now() > deadline) return answer;
  }
}

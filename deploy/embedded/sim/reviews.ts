// What is asked and not kept: who am I, may I, and a token for a service account.
import { allows } from "./rbac.ts";
import { badRequest, notFound } from "./refusal.ts";
import { ACCOUNTS, type Resource } from "./resources.ts";
import type { Store } from "./store.ts";
import type { Tokens, User } from "./tokens.ts";
import type { Answer, Asked } from "./verbs.ts";

/** Undefined where the kind is one that is kept. */
export function answerReview(store: Store, { kind }: Resource, user: User, body: unknown): Answer | undefined {
  if (kind === "SelfSubjectReview") {
    const { username, uid, groups, extra } = user;
    const userInfo = { username, ...(uid === undefined ? {} : { uid }), groups, ...(Object.keys(extra).length > 0 ? { extra } : {}) };
    return { status: 201, body: { kind, apiVersion: "authentication.k8s.io/v1", metadata: { creationTimestamp: null }, status: { userInfo } } };
  }
  if (kind !== "SelfSubjectAccessReview") return undefined;
  const { spec } = (body ?? {}) as { spec?: { resourceAttributes?: ResourceAttributes; nonResourceAttributes?: { verb?: string; path?: string } } };
  const { resourceAttributes: about, nonResourceAttributes: path } = spec ?? {};
  if (!about && !path) throw badRequest("spec: exactly one of nonResourceAttributes or resourceAttributes must be specified");
  const { verb = "", group = "", resource = "", subresource, namespace, name } = about ?? {};
  const asked = about
    ? { verb, group, resource: subresource ? `${resource}/${subresource}` : resource, namespace: namespace || undefined, name: name || undefined }
    : { verb: path!.verb ?? "", path: path!.path ?? "" };
  return {
    status: 201,
    body: { kind, apiVersion: "authorization.k8s.io/v1", metadata: { creationTimestamp: null }, spec, status: { allowed: allows(store, user, asked) } },
  };
}
interface ResourceAttributes {
  readonly verb?: string;
  readonly group?: string;
  readonly resource?: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
}

const SECONDS = 3600;
/** https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/ */
export function answerToken(store: Store, tokens: Tokens, { target: { namespace, name }, body }: Asked): Answer {
  const account = store.get(ACCOUNTS, namespace, name!);
  if (!account) throw notFound(ACCOUNTS, name!);
  const { expirationSeconds = SECONDS } = ((body ?? {}) as { spec?: { expirationSeconds?: number } }).spec ?? {};
  const { token, end } = tokens.forRequest(account, expirationSeconds);
  const metadata = { name, namespace, creationTimestamp: new Date().toISOString() };
  const status = { token, expirationTimestamp: end.toISOString() };
  return { status: 201, body: { kind: "TokenRequest", apiVersion: "authentication.k8s.io/v1", metadata, spec: { expirationSeconds }, status } };
}

// An impersonator's token: out of its Secret, or asked for with a TokenRequest. Neither is kept here, and no error holds one.
import type { AuthenticationV1TokenRequest, V1Secret } from "@kubernetes/client-node";
import { NAMESPACE, nameOf } from "../names.ts";
import type { ClusterClient } from "./client.ts";
import { ApiError } from "./errors.ts";

/** Of a requested token; the fence lets none live longer. */
export const REQUEST_SECONDS = 3600;
const REQUEST = JSON.stringify({ apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { expirationSeconds: REQUEST_SECONDS } });

/** `expiresAt`: ms of the API server's clock; it may give less than the hour that was asked for. */
export interface RequestedToken {
  readonly token: string;
  readonly expiresAt: number;
}

/**
 * A token of the user's ServiceAccount for an hour, for the API server's own audience. Changes no object: it is no write.
 * @throws ApiError 404 when the ServiceAccount is not there; the rest as for every call.
 * @see https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
 */
export async function requestToken(client: ClusterClient, user: string, signal: AbortSignal): Promise<RequestedToken> {
  const path = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/${nameOf(user)}/token`;
  const { status } = await client.call<AuthenticationV1TokenRequest>("POST", path, { json: REQUEST, signal });
  const expiresAt = Date.parse(String(status?.expirationTimestamp));
  if (!status?.token || !Number.isFinite(expiresAt)) throw new ApiError({ cluster: client.cluster, method: "POST", path }, { status: 200, reason: "NoToken" });
  return { token: status.token, expiresAt };
}

/** `token`: undefined while the token controller has not filled it. */
export interface SecretToken {
  readonly token: string | undefined;
  readonly uid: string;
  /** When the Secret was made (ms). */
  readonly createdAt: number;
}

/** The token in a Secret. @throws ApiError 404 when it is not there; the rest as for every call. */
export async function secretToken(client: ClusterClient, name: string, signal: AbortSignal): Promise<SecretToken> {
  const { data, metadata } = await client.call<V1Secret>("GET", `/api/v1/namespaces/${NAMESPACE}/secrets/${name}`, { signal });
  const base64 = data?.["token"];
  return {
    token: base64 ? Buffer.from(base64, "base64").toString("utf8") : undefined,
    uid: metadata?.uid ?? "",
    createdAt: Date.parse(String(metadata?.creationTimestamp)),
  };
}

// An impersonator's token: out of its Secret, or asked for with a TokenRequest. Neither is kept here, and no error holds one.
import type { AuthenticationV1TokenRequest, V1Secret } from "@kubernetes/client-node";
import { nameOf } from "../names.ts";
import { timeIn } from "../time.ts";
import type { ClusterClient } from "./client.ts";
import { ApiError } from "./errors.ts";
import { COLLECTIONS } from "./paths.ts";

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
  const path = `${COLLECTIONS.ServiceAccount}/${nameOf(user)}/token`;
  const { status } = await client.call<AuthenticationV1TokenRequest>("POST", path, { json: REQUEST, signal });
  const expiresAt = timeIn(status?.expirationTimestamp);
  if (!status?.token || !Number.isFinite(expiresAt)) throw new ApiError({ cluster: client.cluster, method: "POST", path }, { status: 200, reason: "NoToken" });
  return { token: status.token, expiresAt };
}

/** The token in a Secret; undefined while the token controller has not filled it. */
export function tokenIn(secret: V1Secret | undefined): string | undefined {
  const base64 = secret?.data?.["token"];
  return base64 ? Buffer.from(base64, "base64").toString("utf8") : undefined;
}

/** `token`: as `tokenIn`. */
export interface SecretToken {
  readonly token: string | undefined;
  readonly uid: string;
  /** When the Secret was made (ms). */
  readonly createdAt: number;
}

/** The token in a Secret. @throws ApiError 404 when it is not there; the rest as for every call. */
export async function secretToken(client: ClusterClient, name: string, signal: AbortSignal): Promise<SecretToken> {
  const secret = await client.call<V1Secret>("GET", `${COLLECTIONS.Secret}/${name}`, { signal });
  return { token: tokenIn(secret), uid: secret.metadata?.uid ?? "", createdAt: timeIn(secret.metadata?.creationTimestamp) };
}

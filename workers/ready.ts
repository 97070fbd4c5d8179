// Asks the API server as the impersonator, with its own token; only when it answers as it must is a subject `ready`. A SubjectAccessReview would not do: it never touches authentication.
import type { V1Secret, V1SelfSubjectReview } from "@kubernetes/client-node";
import type { Witness } from "../shared/decide/rules.ts";
import { headersFor } from "../shared/decide/rules.ts";
import type { ClusterClient } from "../shared/kube/client.ts";
import { answerError } from "../shared/kube/errors.ts";
import { requestToken, tokenIn } from "../shared/kube/token.ts";
import { pause } from "../shared/kube/watch.ts";
import { getSecret } from "./cluster.ts";

const PROOF_MS_MAX = 2_000;
/** What was not proved in that time is asked again, at first soon, then after as long as it has waited already. */
const UNPROVED_MS = { min: 1_000, max: 30_000 };
/** Why a proof is waited for, in words. */
export const UNSEEN = "the API server does not see the change yet";
const REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const REVIEW = JSON.stringify({ apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" });

/** A SelfSubjectReview's answer. 401 and 403 are answers too. */
export interface Review {
  readonly status: number;
  readonly username: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

/** Who the API server takes this token with these headers for. */
export async function review(client: ClusterClient, token: string, headers: readonly (readonly [string, string])[], signal: AbortSignal): Promise<Review> {
  const { status, body } = await client.asImpersonator(token, headers, "POST", REVIEWS, REVIEW, signal);
  if (status !== 201) {
    if (status !== 401 && status !== 403) throw answerError({ cluster: client.cluster, method: "POST", path: REVIEWS }, status, {}, body);
    return { status, username: "", groups: [], extra: {} };
  }
  const { userInfo } = (JSON.parse(body) as V1SelfSubjectReview).status ?? {};
  return { status, username: userInfo?.username ?? "", groups: userInfo?.groups ?? [], extra: userInfo?.extra ?? {} };
}

export interface ProofRequest {
  readonly user: string;
  /** As it was seen; its token may have come since. Undefined where tokens are requested. */
  readonly secret: V1Secret | undefined;
  /** This run made it, so it is hardly filled yet: its fill wakes the subject. */
  readonly fresh: boolean;
  readonly witness: Witness;
  /** For how long (ms) the subject has been waiting, where it was for a proof before; else 0. */
  readonly waitedMs: number;
  /** Behind several API servers the proof holds for the one that answered. */
  readonly settleMs: number;
}
/** Why a subject is not ready yet; `againMs`: when to ask again, where nothing else will wake it. */
export interface NotReady {
  readonly reason: string;
  readonly againMs: number | undefined;
}

/** Undefined once an API server answers the impersonator as the role says. No worker slot waits for a token: it comes when the token controller has time. */
export async function whyNotReady(
  client: ClusterClient,
  { user, secret, fresh, witness, waitedMs, settleMs }: ProofRequest,
  signal: AbortSignal,
): Promise<NotReady | undefined> {
  const token = secret ? await tokenOf(client, secret, fresh, signal) : (await requestToken(client, user, signal)).token;
  if (token === undefined) return { reason: "the token controller has not filled its Secret yet", againMs: undefined };
  if (!(await proveReady(client, token, user, witness, signal)))
    return { reason: UNSEEN, againMs: Math.min(Math.max(UNPROVED_MS.min, waitedMs), UNPROVED_MS.max) };
  await pause(settleMs, signal);
  return undefined;
}

/** Out of the Secret, asked for again where it may have been filled since. */
async function tokenOf(client: ClusterClient, secret: V1Secret, fresh: boolean, signal: AbortSignal): Promise<string | undefined> {
  return tokenIn(secret) ?? (fresh ? undefined : tokenIn(await getSecret(client, secret.metadata!.name!, signal)));
}

/** True once a review answers as the role says; false when it did not within two seconds. The caches of an API server are a few milliseconds behind, seldom more. */
async function proveReady(client: ClusterClient, token: string, user: string, witness: Witness, signal: AbortSignal): Promise<boolean> {
  const deadline = performance.now() + PROOF_MS_MAX;
  const headers = headersFor(user, witness.names);
  for (let waitMs = 2; !signal.aborted; waitMs = Math.min(waitMs * 2, 100)) {
    const { status, username } = await review(client, token, headers, signal);
    if (witness.allowed ? status === 201 && username === user : status === 403) return true;
    if (performance.now() + waitMs > deadline) return false;
    await pause(waitMs, signal);
  }
  return false;
}

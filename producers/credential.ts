// One credential: who gets it, and why somebody does not. The HTTP around it is credentials.ts's.
import { BulkheadRejectedError } from "cockatiel";
import { allowedHeaders } from "../shared/decide/rules.ts";
import type { ClusterClient } from "../shared/kube/client.ts";
import { ApiError } from "../shared/kube/errors.ts";
import type { Ledger } from "../shared/ledger/ledger.ts";
import type { SubjectRecord } from "../shared/ledger/record.ts";
import { statusOf } from "../shared/ledger/status.ts";
import type { Config } from "../shared/run/config.ts";
import type { Subject } from "../shared/subject.ts";
import { inTime } from "./patience.ts";
import type { Token, Tokens } from "./tokens.ts";
import { MovedError } from "./tokens.ts";

const RETRY_AFTER_SECONDS = 2;
const SOON_SECONDS = 1;

export interface CredentialParts {
  readonly ledger: Ledger;
  readonly config: Pick<Config, "profile">;
  readonly tokens: Tokens;
  clientOf(cluster: string): ClusterClient | undefined;
}
/** All that a proxy needs to be this person on this cluster. */
export interface Credential {
  readonly client: ClusterClient;
  readonly token: Token;
  readonly headers: readonly (readonly [string, string])[];
}
/** `passes`: it may be otherwise in a moment, so that waiting makes sense. */
export interface Refusal {
  readonly status: 400 | 401 | 403 | 404 | 503;
  readonly detail: string;
  readonly retryAfter?: number;
  readonly passes?: boolean;
}

/** One read of Redis; a call to the cluster only where no token is in memory. */
export async function credentialFor(parts: CredentialParts, subject: Subject): Promise<Credential | Refusal> {
  const client = parts.clientOf(subject.cluster);
  if (!client) return { status: 404, detail: `cluster ${subject.cluster} is not configured` };
  const [record, mark] = await inTime(Promise.all([parts.ledger.record(subject), parts.ledger.mark()]));
  if (!mark.complete) return { status: 503, detail: "the import does not stand yet", retryAfter: SOON_SECONDS, passes: true };
  if (!record) return { status: 404, detail: "no such subject" };
  const refusal = whyNot(subject, record, mark.run);
  if (refusal) return refusal;
  try {
    const token = await parts.tokens.tokenFor(client, subject.user, record);
    return { client, token, headers: allowedHeaders(record.applied!.identity, parts.config.profile) };
  } catch (error) {
    return whyNoToken(subject.cluster, error);
  }
}

/** Undefined for a subject that is ready. */
function whyNot(subject: Subject, record: SubjectRecord, run: string): Refusal | undefined {
  const { state, reason, generation, observedGeneration } = statusOf(subject, record, run);
  const detail = reason === "" ? state : `${state}: ${reason}`;
  if (state === "ready" && record.applied) return undefined;
  if (state === "pending" || state === "ready") return { status: 503, detail, retryAfter: SOON_SECONDS, passes: true };
  // Refused by what was known before; what has come since is still being looked at.
  return { status: 403, detail, passes: generation > observedGeneration };
}

/** @throws what is no cluster's fault. */
function whyNoToken(cluster: string, error: unknown): Refusal {
  if (error instanceof MovedError) return { status: 503, detail: error.message, retryAfter: SOON_SECONDS, passes: true };
  if (error instanceof BulkheadRejectedError) return { status: 503, detail: `too many ask cluster ${cluster} for a token`, retryAfter: RETRY_AFTER_SECONDS };
  if (!(error instanceof ApiError)) throw error;
  return {
    status: 503,
    detail: `cluster ${cluster} gives no token: ${error.status || "no answer"} ${error.reason}`.trimEnd(),
    retryAfter: RETRY_AFTER_SECONDS,
  };
}

// What an API server's answer means for us, without its body: bodies and headers carry tokens, Secrets and names that belong in no log. Pure.
import { TerminalError, WaitError } from "../jobs.ts";

/** A call that did not succeed. `status` 0 = no answer at all. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  /** Kubernetes' `Status.reason`, or the network error's code. */
  readonly reason: string;
  readonly causes: readonly string[];
  readonly retryAfterMs: number | undefined;
  /** The server may have done it, or may still do it. */
  readonly mayHaveLanded: boolean;

  constructor(call: Call, answer: Answer) {
    const { status, reason, causes = [], fields = [] } = answer;
    const where = fields.length > 0 ? ` at ${fields.join(", ")}` : "";
    super(`${call.method} ${call.path} on cluster ${call.cluster}: ${status || "no answer"} ${reason}${where}`.trimEnd());
    this.status = status;
    this.reason = reason;
    this.causes = causes;
    this.retryAfterMs = answer.retryAfterMs;
    this.mayHaveLanded = call.method !== "GET" && (status >= 500 || (status === 0 && !NEVER_SENT.has(reason)));
  }
}
const NEVER_SENT: ReadonlySet<string> = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT"]);

export interface Call {
  readonly cluster: string;
  readonly method: string;
  /** Without the query. */
  readonly path: string;
}
interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly causes?: readonly string[];
  readonly fields?: readonly string[];
  readonly retryAfterMs?: number | undefined;
}

/** Reads only code words out of a Status (reason, causes, field paths): https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/ */
export function answerError(call: Call, status: number, headers: Record<string, unknown>, body: string): ApiError {
  let parsed: { reason?: unknown; details?: { causes?: { reason?: unknown; field?: unknown }[]; kind?: unknown } } = {};
  try {
    parsed = (JSON.parse(body) as typeof parsed | null) ?? {};
  } catch {
    // Proxies answer HTML, flow control answers plain text: the status alone has to do.
  }
  const word = (value: unknown): string => (typeof value === "string" && /^[A-Za-z0-9.[\]_-]{1,80}$/.test(value) ? value : "");
  const causes = (Array.isArray(parsed.details?.causes) ? parsed.details.causes : []).slice(0, 5);
  const about = word(parsed.details?.kind);
  const seconds = /^\d+$/.test(String(headers["retry-after"])) ? Number(headers["retry-after"]) : undefined;
  return new ApiError(call, {
    status,
    reason: word(parsed.reason),
    causes: [...causes.map((cause) => word(cause?.reason)), about && `kind:${about}`].filter((text) => text !== ""),
    fields: causes.map((cause) => word(cause?.field)).filter((text) => text !== ""),
    retryAfterMs: seconds === undefined ? undefined : Math.min(seconds, 600) * 1000,
  });
}

/** A failure without an answer: connection refused, reset, timed out, aborted. */
export function networkError(call: Call, error: unknown): ApiError {
  const { code, cause, name } = error as { code?: unknown; cause?: { code?: unknown }; name?: unknown };
  // An aborted call is a DOMException, whose code is a number of old.
  const reason = [code, cause?.code, name].find((word) => typeof word === "string");
  return new ApiError(call, { status: 0, reason: typeof reason === "string" ? reason : "unknown" });
}

/** API error → what to do next (jobs.ts has the table). Conflicts and absences are states of the world, which the caller knows better. */
export function meaningOf(error: ApiError, cluster: string): Error {
  if (error.retryAfterMs !== undefined && (error.status === 429 || error.status === 503))
    return new WaitError(`cluster ${cluster} asks us to slow down`, error.retryAfterMs, { cause: error });
  if (error.status === 429) return new WaitError(`cluster ${cluster} asks us to slow down`, 1000, { cause: error });
  if (error.causes.includes("NamespaceTerminating")) return new WaitError(`the namespace on cluster ${cluster} is terminating`, 5000, { cause: error });
  if (error.status === 422 || error.status === 413)
    return new TerminalError(`cluster ${cluster} refuses the object: ${error.message}; look at its admission policies and quotas`, { cause: error });
  return error;
}

/** For answers that are states of the world: 404 on a read, 409 on a create. */
export const isStatus = (error: unknown, ...statuses: number[]): boolean => error instanceof ApiError && statuses.includes(error.status);

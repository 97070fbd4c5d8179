// Who may call the hook: a Standard Webhooks signature, or a bearer secret for proxies that cannot sign. Several secrets at once, for rotation.
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { Webhook } from "standardwebhooks";

/** `at` (ms): when the caller says that it happened; `id` only with a signature. */
export interface Authenticated {
  readonly at: number;
  readonly id: string | undefined;
}
export type Caller = Authenticated | { readonly refused: string };

/**
 * @param signed what the signature is over: the body, or `METHOD target` where there is none
 * @see https://www.standardwebhooks.com
 */
export function authenticate(headers: IncomingHttpHeaders, signed: Buffer | string, secrets: readonly string[], now: number): Caller {
  if (secrets.length === 0) return { refused: "the hook has no secret: set UNDERSTUDY_HOOK_SECRETS" };
  const bearer = bearerIn(headers);
  if (bearer !== undefined) return isOneOf(bearer, secrets) ? { at: now, id: undefined } : { refused: "the bearer secret is wrong" };
  const id = headers["webhook-id"];
  const seconds = headers["webhook-timestamp"];
  const signature = headers["webhook-signature"];
  if (typeof id !== "string" || typeof seconds !== "string" || typeof signature !== "string")
    return { refused: "send Authorization: Bearer, or webhook-id, webhook-timestamp and webhook-signature" };
  if (id.length === 0 || id.length > 256) return { refused: "webhook-id has 1 to 256 characters" };
  // The library reads "17…x" and "17…e5" as the number in front, so they would carry the signature of another time.
  if (!/^\d{1,12}$/.test(seconds)) return { refused: "webhook-timestamp is the time in whole seconds" };
  const fits = secrets.some((secret) => verifies(secret, signed, { "webhook-id": id, "webhook-timestamp": seconds, "webhook-signature": signature }));
  // A clock that runs ahead must not win over later facts.
  return fits ? { at: Math.min(Number(seconds) * 1000, now), id } : { refused: "the signature is wrong, or more than five minutes old" };
}

function verifies(secret: string, signed: Buffer | string, headers: Record<"webhook-id" | "webhook-timestamp" | "webhook-signature", string>): boolean {
  try {
    const webhook = secret.startsWith("whsec_") ? new Webhook(secret) : new Webhook(Buffer.from(secret), { format: "raw" });
    webhook.verify(signed, headers, { jsonParse: false });
    return true;
  } catch {
    // Every refusal of the library means the same here.
    return false;
  }
}

/** Whether these headers bring one of the secrets as bearer. */
export function bearerFits(headers: IncomingHttpHeaders, secrets: readonly string[]): boolean {
  const bearer = bearerIn(headers);
  return bearer !== undefined && isOneOf(bearer, secrets);
}

/** Whether it is one of the secrets; how long that takes tells nothing of them. */
export const isOneOf = (given: string, secrets: readonly string[]): boolean => secrets.some((secret) => same(given, secret));

const bearerIn = (headers: IncomingHttpHeaders): string | undefined => /^Bearer ([^\s]+)$/i.exec(headers.authorization ?? "")?.[1];

/** Constant time: digests first, so that the lengths are equal too. */
function same(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

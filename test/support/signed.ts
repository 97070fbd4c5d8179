// Standard Webhooks signatures, made by hand: the product checks them with a library, and a proof of that must not use it.
import { createHmac, randomUUID } from "node:crypto";

export interface Signing {
  readonly id?: string;
  /** ms */
  readonly at?: number;
}
export type SignedHeaders = Record<"webhook-id" | "webhook-timestamp" | "webhook-signature", string>;

/**
 * @param content the body, or `METHOD target` where there is none
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export function signed(secret: string, content: string | Buffer, { id = randomUUID(), at = Date.now() }: Signing = {}): SignedHeaders {
  const key = secret.startsWith("whsec_") ? Buffer.from(secret.slice("whsec_".length), "base64") : Buffer.from(secret);
  const seconds = String(Math.floor(at / 1000));
  const mac = createHmac("sha256", key).update(`${id}.${seconds}.`).update(content).digest("base64");
  return { "webhook-id": id, "webhook-timestamp": seconds, "webhook-signature": `v1,${mac}` };
}

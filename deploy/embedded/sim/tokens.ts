// Tokens of service accounts: signed text that is good for as long as the account, and the Secret that holds it, are there. As on a real server the same
// pair of names makes the same token.
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { ACCOUNTS, SECRETS } from "./resources.ts";
import type { Store, Thing } from "./store.ts";

/** Whom a request is from. */
export interface User {
  readonly username: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}
interface Claims {
  readonly namespace: string;
  readonly account: string;
  readonly uid: string;
  /** The Secret that holds it. */
  readonly secret?: string;
  /** Seconds since 1970. */
  readonly exp?: number;
}
export const AUTHENTICATED = "system:authenticated";

export class Tokens {
  readonly #key = randomBytes(32);
  readonly #admin: Buffer;
  readonly #store: Store;
  /** Who may do everything. */
  readonly adminToken = randomBytes(16).toString("hex");

  constructor(store: Store) {
    this.#store = store;
    this.#admin = this.#sign(this.adminToken);
  }
  /** For a token Secret: for as long as it is there. */
  forSecret({ metadata: account }: Thing, { metadata }: Thing): string {
    return this.#issue({ namespace: account.namespace!, account: account.name, uid: account.uid!, secret: metadata.name });
  }
  /** By TokenRequest: until its end. */
  forRequest({ metadata }: Thing, seconds: number): { readonly token: string; readonly end: Date } {
    const exp = Math.floor(Date.now() / 1000) + seconds;
    return { token: this.#issue({ namespace: metadata.namespace!, account: metadata.name, uid: metadata.uid!, exp }), end: new Date(exp * 1000) };
  }
  /** Undefined where nobody has it, or has it any more. */
  whoHas(token: string): User | undefined {
    if (timingSafeEqual(this.#sign(token), this.#admin)) return { username: "admin", groups: ["system:masters", AUTHENTICATED], extra: {} };
    const [head, body, signature] = token.split(".");
    if (!body || !signature || !timingSafeEqual(this.#sign(signature), this.#sign(this.#sign(`${head}.${body}`).toString("base64url")))) return undefined;
    const claims = JSON.parse(Buffer.from(body, "base64url").toString()) as Claims;
    return this.#holds(claims, token) ? userOf(claims) : undefined;
  }

  #holds({ namespace, account, uid, secret, exp }: Claims, token: string): boolean {
    if (exp !== undefined && exp * 1000 < Date.now()) return false;
    if (this.#store.get(ACCOUNTS, namespace, account)?.metadata.uid !== uid) return false;
    if (secret === undefined) return true;
    const held = this.#store.get(SECRETS, namespace, secret);
    const { token: kept } = (held?.["data"] ?? {}) as { token?: string };
    return held?.metadata.deletionTimestamp === undefined && kept === Buffer.from(token).toString("base64");
  }
  #issue(claims: Claims): string {
    const part = (json: object): string => Buffer.from(JSON.stringify(json)).toString("base64url");
    const text = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
    return `${text}.${this.#sign(text).toString("base64url")}`;
  }
  #sign(text: string): Buffer {
    return createHmac("sha256", this.#key).update(text).digest();
  }
}

const userOf = ({ namespace, account, uid, secret }: Claims): User => ({
  username: `system:serviceaccount:${namespace}:${account}`,
  uid,
  groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`, AUTHENTICATED],
  extra: secret ? {} : { "authentication.kubernetes.io/credential-id": [`JTI=${uid}`] },
});

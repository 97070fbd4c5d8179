// Which token Secrets of impersonators' accounts count no more: Rancher's duplicates, and what was left of ours. Pure.
import type { KubernetesObject, V1ServiceAccount } from "@kubernetes/client-node";
import { PREFIX, SECRET_ACCOUNT_ANNOTATION, USER_ANNOTATION, nameOf } from "../names.ts";
import { holderOf } from "./memory.ts";
import { secretRefOf } from "./objects.ts";

/** A valid token that nobody uses, for as long as the account is the same one and names another. */
export interface StaleSecret {
  readonly name: string;
  readonly uid: string;
  readonly account: string;
  readonly accountUid: string;
}
/** An account whose Secrets are left alone, and why. */
export interface Untold {
  readonly account: string;
  readonly reason: string;
}

/** `secrets`: of the token type, their contents are not needed. Stale is only what an account does not name that names another one, and that one is there. */
export function findStale(
  accounts: readonly V1ServiceAccount[],
  secrets: readonly KubernetesObject[],
  install: string,
): { stale: StaleSecret[]; left: Untold[] } {
  const byName = new Map(accounts.map((account) => [account.metadata!.name!, account]));
  const stale: StaleSecret[] = [];
  const left: Untold[] = [];
  for (const [name = "", all] of Map.groupBy(secrets, ({ metadata }) => metadata?.annotations?.[SECRET_ACCOUNT_ANNOTATION])) {
    if (!name.startsWith(PREFIX)) continue;
    const account = byName.get(name);
    const reason = whyLeft(account, all, install);
    if (reason !== undefined && all.length > 1) left.push({ account: name, reason });
    if (reason !== undefined) continue;
    // What is called otherwise was made by hand: a worker sees to it where the account is ours.
    const others = all.map(({ metadata }) => metadata!).filter((secret) => isNotNamed(account, secret.name!) && secret.name!.startsWith(`${name}-token`));
    stale.push(...others.map((secret) => ({ name: secret.name!, uid: secret.uid!, account: name, accountUid: account!.metadata!.uid! })));
  }
  return { stale, left };
}

/** Asked again of the account as it is right before the delete: it may name this Secret meanwhile, or be another one, whose tokens are not these. */
export const isStillStale = (secret: StaleSecret, now: V1ServiceAccount | undefined): boolean =>
  now?.metadata?.uid === secret.accountUid && isNotNamed(now, secret.name);

/** An account that names none says nothing of any. */
function isNotNamed(account: V1ServiceAccount | undefined, name: string): boolean {
  const ref = account && secretRefOf(account);
  return ref !== undefined && ref !== name;
}

/** Undefined where the account itself says which one counts. Any guess might end the token in use. */
function whyLeft(account: V1ServiceAccount | undefined, secrets: readonly KubernetesObject[], install: string): string | undefined {
  if (!account) return "no impersonator has this account";
  const { name, annotations = {} } = account.metadata!;
  const user = annotations[USER_ANNOTATION] ?? "";
  const holder = holderOf(account, user, install, new Set());
  if (holder === "foreign" || (holder === "ours" && nameOf(user) !== name)) return "the account belongs to somebody else";
  const ref = secretRefOf(account);
  if (ref === undefined) return `it names none of its ${secrets.length} token Secrets, so that nobody can know which one is in use`;
  return secrets.some(({ metadata }) => metadata?.name === ref)
    ? undefined
    : "the token Secret that it names is not there, so that nobody can know which one is in use";
}

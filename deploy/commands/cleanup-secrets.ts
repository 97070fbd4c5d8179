// `cleanup --stale-secrets` of one cluster: finds the token Secrets that their account does not name, and deletes them. Never reads a token.
import type { V1ServiceAccount } from "@kubernetes/client-node";
import { SECRET_TYPE } from "../../shared/decide/objects.ts";
import type { StaleSecret, Untold } from "../../shared/decide/stale.ts";
import { findStale, isStillStale } from "../../shared/decide/stale.ts";
import type { ClusterClient } from "../../shared/kube/client.ts";
import { METADATA_ONLY_LIST } from "../../shared/kube/client.ts";
import { COLLECTIONS, LABELLED } from "../../shared/kube/paths.ts";
import { getAccount } from "../../workers/cluster.ts";
import type { Work } from "./cleanup-work.ts";
import { inLanes, removeInOrder } from "./cleanup-work.ts";
import { inTurns } from "./rights.ts";

/** So many are deleted by one reading of their accounts: seconds at the usual pace. */
const BATCH = 100;
const READS_AT_ONCE = 4;

/** Two paged lists. @throws ApiError when one cannot be had whole. */
export async function staleOn(client: ClusterClient, install: string, signal: AbortSignal): Promise<{ stale: StaleSecret[]; left: Untold[] }> {
  // Accounts after Secrets: a Secret that an account has come to name meanwhile is then seen as named.
  const secrets = await client.list(COLLECTIONS.Secret, { fieldSelector: `type=${SECRET_TYPE}` }, METADATA_ONLY_LIST, signal);
  const accounts = await client.list<V1ServiceAccount>(COLLECTIONS.ServiceAccount, LABELLED, undefined, signal);
  return findStale(accounts.items, secrets.items, install);
}

/** Deletes those that are stale still. Begun again it goes on where it was ended: what is gone is not found. */
export async function removeStale(work: Work, stale: readonly StaleSecret[]): Promise<void> {
  for (let from = 0; from < stale.length && !work.pace.stopped; from += BATCH) {
    const batch = stale.slice(from, from + BATCH);
    const names = [...new Set(batch.map(({ account }) => account))];
    const read = await inTurns(names, READS_AT_ONCE, (name) => getAccount(work.client, name, AbortSignal.timeout(30_000)));
    const now = new Map(names.map((name, at) => [name, read[at]]));
    const still = batch.filter((secret) => isStillStale(secret, now.get(secret.account)));
    await inLanes(work, still, ({ name, uid }) => removeInOrder(work, [{ do: "delete", kind: "Secret", name, uid, reason: "its account names another one" }]));
  }
}

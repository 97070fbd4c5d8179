// Watches the token Secrets of one cluster, metadata only, and wakes a subject whose Secret the token controller has filled. No worker slot waits for that.
import type { KubernetesObject, V1ManagedFieldsEntry } from "@kubernetes/client-node";
import type { ClusterClient } from "../shared/kube/client.ts";
import { METADATA_ONLY, METADATA_ONLY_LIST } from "../shared/kube/client.ts";
import { COLLECTIONS, LABELLED } from "../shared/kube/paths.ts";
import { follow } from "../shared/kube/watch.ts";
import type { Ledger } from "../shared/ledger/ledger.ts";
import { USER_ANNOTATION } from "../shared/names.ts";
import type { Log } from "../shared/run/log.ts";
import type { Metrics } from "../shared/run/metrics.ts";

export interface FillWatch {
  readonly client: ClusterClient;
  readonly ledger: Ledger;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Runs until the signal ends it. */
export async function watchFills({ client, ledger, log, metrics }: FillWatch, signal: AbortSignal): Promise<void> {
  const { cluster } = client;
  const wake = async (object: KubernetesObject): Promise<void> => {
    const user = object.metadata?.annotations?.[USER_ANNOTATION];
    // Only who waits for it is woken: a parked subject, or one whose run is about to park.
    if (user && isFilled(object) && (await ledger.awaitsToken({ cluster, user }))) await ledger.wake({ cluster, user }, "filled", "binding");
  };
  await follow(
    client,
    {
      path: COLLECTIONS.Secret,
      query: LABELLED,
      accept: { list: METADATA_ONLY_LIST, watch: METADATA_ONLY },
      onList: async ({ items }) => void (await Promise.all(items.map(wake))),
      onEvent: async (type, object) => (type === "DELETED" ? undefined : wake(object)),
      onRetry: (error, waitMs) => {
        metrics.watchRetries.inc({ kind: "secrets" });
        log.watchRetried({ cluster, kind: "secrets", err: error, waitMs: Math.round(waitMs) });
      },
    },
    signal,
  );
}

/** Whether there is a token, seen without reading it: somebody owns the field. */
function isFilled(object: KubernetesObject): boolean {
  return (object.metadata?.managedFields ?? []).some(
    ({ fieldsV1 }: V1ManagedFieldsEntry) => (fieldsV1 as { "f:data"?: { "f:token"?: object } } | undefined)?.["f:data"]?.["f:token"] !== undefined,
  );
}

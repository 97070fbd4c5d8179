// Where UNDERSTUDY_REQUIRE_FENCE says so: nothing is written on a cluster whose fence does not bite. Asks, remembers for a while, and decides nothing else.
import type { ClusterClient } from "../shared/kube/client.ts";
import { ApiError, meaningOf } from "../shared/kube/errors.ts";
import { fenceBites } from "../shared/kube/fence.ts";
import { FENCE_OFF } from "../shared/ledger/status.ts";
import type { Log } from "../shared/run/log.ts";

/** A policy that was deleted is noticed so late at most; one that came is seen by the next look at a subject. */
const ON_MS = 120_000;
const OFF_MS = 5_000;

/** The subject waits, and is looked at again in a while. */
export class UnfencedError extends Error {
  override readonly name = "UnfencedError";
}

/** What was last found out of each cluster by this process; a client with other credentials is asked anew. */
export class Fences {
  readonly #asked = new WeakMap<ClusterClient, { readonly at: number; readonly bites: Promise<boolean>; on?: boolean }>();
  readonly #log: Pick<Log, "fenceOff" | "fenceOn">;

  constructor(log: Pick<Log, "fenceOff" | "fenceOn">) {
    this.#log = log;
  }

  /** @throws UnfencedError where the fence does not bite; what an API error means, where the cluster does not say. */
  async assertOn(client: ClusterClient): Promise<void> {
    try {
      if (await this.#bites(client)) return;
    } catch (error) {
      throw error instanceof ApiError ? meaningOf(error, client.cluster) : error;
    }
    throw new UnfencedError(FENCE_OFF);
  }

  /** Many subjects ask at once, and one call answers all of them. */
  async #bites(client: ClusterClient): Promise<boolean> {
    const last = this.#asked.get(client);
    if (last && performance.now() - last.at < (last.on === false ? OFF_MS : ON_MS)) return last.bites;
    const asked: { at: number; bites: Promise<boolean>; on?: boolean } = { at: performance.now(), bites: fenceBites(client) };
    this.#asked.set(client, asked);
    try {
      asked.on = await asked.bites;
    } catch (error) {
      this.#asked.delete(client);
      throw error;
    }
    if (!asked.on && last?.on !== false) this.#log.fenceOff({ cluster: client.cluster });
    if (asked.on && last?.on === false) this.#log.fenceOn({ cluster: client.cluster });
    return asked.on;
  }
}

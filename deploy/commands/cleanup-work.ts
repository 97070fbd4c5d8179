// The deletes of `cleanup` on one cluster: in order, at a pace, each as a worker makes it. Knows nothing of what they are for.
import type { Kind } from "../../shared/decide/plan.ts";
import type { Removal } from "../../shared/decide/steps.ts";
import type { ClusterClient } from "../../shared/kube/client.ts";
import { ConflictError, remove } from "../../workers/cluster.ts";
import type { Pace } from "./pace.ts";
import { inTurns } from "./rights.ts";

/** At a distance of 100 ms these make 40 a second. */
const AT_ONCE = 4;
const DELETE_MS = 30_000;

/** What is not touched, and why. */
export interface Left {
  readonly kind: Kind;
  readonly name: string;
  readonly reason: string;
}
/** How far one cluster's deletes came. */
export interface Work {
  readonly client: ClusterClient;
  readonly pace: Pace;
  readonly left: Left[];
  deleted: number;
  onDone(): void;
}

/** Several items side by side. @throws the first error, once nothing is under way any more. */
export async function inLanes<T>({ pace }: Work, items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  const errors: unknown[] = [];
  await inTurns(items, AT_ONCE, async (item) => {
    if (errors.length > 0 || pace.stopped) return;
    await act(item).catch((error: unknown) => void errors.push(error));
  });
  if (errors.length > 0) throw errors[0];
}

/** One after the other. Where somebody else has written meanwhile, the rest is left for the next time. */
export async function removeInOrder(work: Work, steps: readonly Removal[]): Promise<void> {
  const { client, pace } = work;
  try {
    for (const step of steps) {
      // Of an orphan's children some are gone with their role before it is their turn: they count as well.
      if (!(await pace.turn(client.cluster, () => remove(client, step, AbortSignal.timeout(DELETE_MS))))) return;
      work.deleted += 1;
    }
  } catch (error) {
    if (!(error instanceof ConflictError)) throw error;
  }
  work.onDone();
}

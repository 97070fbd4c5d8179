// List, then watch, for ever: the supervised stream of one kind on one cluster. Survives 429, 410, 500, resets and silence; a list that breaks off is no list.
import type { KubernetesObject } from "@kubernetes/client-node";
import type { ClusterClient, List, WatchEvent } from "./client.ts";
import { ApiError } from "./errors.ts";

export interface Stream<T extends KubernetesObject> {
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  /** The version of a list that the caller already has: the first list is left out. */
  readonly from?: string;
  /** `Accept` of list and watch, where only metadata is wanted. */
  readonly accept?: { readonly list: string; readonly watch: string };
  /** A whole, consistent list: everything that it lacks is gone. */
  onList?(list: List<T>): Promise<void>;
  /** Instead of a list: whatever happened before this moment was not heard. */
  onGap?(): Promise<void>;
  onEvent(type: Exclude<WatchEvent["type"], "BOOKMARK">, object: T): Promise<void>;
  /** Something was heard: an event, a bookmark, a list, a watch that was taken. */
  onAlive?(): void;
  /** A list or watch ended with an error and is tried again after `waitMs`. */
  onRetry?(error: unknown, waitMs: number): void;
}

const SHORT_MS = 250;
const RETRY_AFTER_MS_MAX = 30_000;
/** Whoever waits for an event waits so long at most after the server is back. */
const BACKOFF_MS_MAX = 5_000;

/** Runs until the signal ends it. A callback that throws makes the stream list again, so nothing that it was told is lost. */
export async function follow<T extends KubernetesObject>(client: ClusterClient, stream: Stream<T>, signal: AbortSignal): Promise<void> {
  let version: string | undefined = stream.from;
  let failures = 0;
  while (!signal.aborted) {
    try {
      if (version === undefined) {
        version = await begin(client, stream, signal);
        stream.onAlive?.();
        failures = 0;
      }
      const opened = performance.now();
      const options = { query: stream.query, accept: stream.accept?.watch, onOpen: () => stream.onAlive?.() };
      for await (const { type, object } of client.watch(stream.path, version, options, signal)) {
        const position: string = version;
        version = undefined; // an event that is not dealt with must be listed again
        if (type !== "BOOKMARK") await stream.onEvent(type, object as T);
        version = object.metadata?.resourceVersion ?? position;
        failures = 0;
        stream.onAlive?.();
      }
      // A watch that ends as soon as it begins must not become a loop.
      if (performance.now() - opened < SHORT_MS) await pause(SHORT_MS, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status === 410) version = undefined;
      failures += 1;
      const waitMs = waitAfter(error, failures);
      stream.onRetry?.(error, waitMs);
      await pause(waitMs, signal);
    }
  }
}

/** Lists, or finds out where to watch from, and tells. Returns the version that the watch goes on from. */
async function begin<T extends KubernetesObject>(client: ClusterClient, stream: Stream<T>, signal: AbortSignal): Promise<string> {
  if (!stream.onList) {
    const version = await client.position(stream.path, stream.query, stream.accept?.list, signal);
    await stream.onGap?.();
    return version;
  }
  const list = await client.list<T>(stream.path, stream.query, stream.accept?.list, signal);
  await stream.onList(list);
  return list.resourceVersion;
}

/** What the server asked for, else twice as long each time, with jitter: a restarted API server must not meet everybody at once. */
function waitAfter(error: unknown, failures: number): number {
  if (error instanceof ApiError && error.retryAfterMs !== undefined) return Math.min(error.retryAfterMs, RETRY_AFTER_MS_MAX);
  if (error instanceof ApiError && error.status === 410) return 0;
  return Math.min(BACKOFF_MS_MAX, 100 * 2 ** Math.min(failures, 10)) * (0.5 + Math.random() / 2);
}

/** What a timer can hold, 24.8 days: it fires at once for more. https://nodejs.org/api/timers.html#settimeoutcallback-delay-args */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Waits, or returns at once when the signal ends it. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  if (ms > TIMER_MS_MAX) return pause(TIMER_MS_MAX, signal).then(() => pause(ms - TIMER_MS_MAX, signal));
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}

/** Acts now and then every `ms` until the signal ends it; an error is reported, and the next turn comes all the same. */
export async function every(ms: number, act: () => Promise<void>, onError: (error: unknown) => void, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await act().catch(onError);
    await pause(ms, signal);
  }
}

/** Waits for an end, good or bad, but not for longer. */
export async function settledWithin(work: Promise<unknown>, ms: number): Promise<"in time" | "late"> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"late">((resolve) => (timer = setTimeout(resolve, ms, "late")));
  const end = work.then(
    () => "in time" as const,
    () => "in time" as const,
  );
  return Promise.race([end, late]).finally(() => clearTimeout(timer));
}

// How long a caller is kept waiting: for Redis, and with `?wait` for a subject to become ready. Both listeners of a producer hold to it.

/** Redis away: a caller hears of it before its own patience ends. */
const STORE_MS_MAX = 1_400;
const HOLD_SECONDS_MAX = 5;
/** What is said of a `?wait` that is none. */
export const WAIT_REFUSAL = `wait: 0 to ${HOLD_SECONDS_MAX} seconds`;

/** Redis did not answer in time. */
class StoreAway extends Error {}

/** What asks Redis has a deadline of its own: a stopped Redis answers nothing at all. */
export async function inTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => (timer = setTimeout(() => reject(new StoreAway("redis did not answer in time")), STORE_MS_MAX)));
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** Seconds of `?wait`, or undefined for what is none. */
export function holdSeconds(query: unknown): number | undefined {
  const { wait = "0" } = query as { wait?: unknown };
  const seconds = typeof wait === "string" && /^\d(\.\d+)?$/.test(wait) ? Number(wait) : Number.NaN;
  return seconds >= 0 && seconds <= HOLD_SECONDS_MAX ? seconds : undefined;
}

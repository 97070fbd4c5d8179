// Waits for a state of the world with a deadline. Never sleeps blindly, and never swallows why it did not come true.
import { setTimeout as sleep } from "node:timers/promises";

type Probed<T> = T | false | undefined | null;

/** Probes until the answer is something else than false, undefined or null, and returns that answer. */
export async function waitUntil<T>(
  what: string,
  probe: () => Promise<Probed<T>> | Probed<T>,
  options: { readonly deadlineMs?: number; readonly everyMs?: number } = {},
): Promise<T> {
  const { deadlineMs = 20_000, everyMs = 25 } = options;
  const end = performance.now() + deadlineMs;
  let lastError: unknown;
  do {
    try {
      const answer = await within(end - performance.now(), probe);
      if (answer !== false && answer !== undefined && answer !== null) return answer;
      lastError = undefined;
    } catch (error) {
      if (error instanceof GiveUp) throw error.cause;
      lastError = error;
    }
    await sleep(everyMs);
  } while (performance.now() < end);
  const reason = lastError === undefined ? "" : `; the last probe said: ${textOf(lastError)}`;
  throw new Error(`${what}: not so within ${deadlineMs} ms${reason}`, { cause: lastError });
}

/** Thrown by a probe that knows waiting is in vain; waitUntil then throws its cause at once. */
export class GiveUp extends Error {
  constructor(cause: unknown) {
    super("waiting is in vain", { cause });
  }
}

// A probe that hangs must not outlive the deadline.
async function within<T>(ms: number, probe: () => Promise<T> | T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("the probe itself never answered")), ms);
  });
  try {
    return await Promise.race([probe(), late]);
  } finally {
    clearTimeout(timer);
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

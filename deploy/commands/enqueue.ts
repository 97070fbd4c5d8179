// `enqueue`: look at one subject now; the dashboard has a button for the same.
import { lookAgain } from "../../shared/ledger/ask.ts";
import type { Config } from "../../shared/run/config.ts";
import { openStore } from "../../shared/run/redis.ts";
import { subjectFrom } from "./ids.ts";
import type { Answer } from "./output.ts";

/** @throws UsageError for ids that can name no subject. */
export async function enqueue(config: Config, options: { cluster?: string; user?: string }): Promise<Answer> {
  const { cluster, user } = subjectFrom(options);
  await using store = await openStore(config.redisUrl!, config.redisPrefix, 5_000, () => undefined);
  const { gen, delayMs } = await lookAgain(store.ledger, { cluster, user });
  return {
    json: { cluster, user, generation: gen, delayMs },
    text: `${cluster}/${user} is looked at ${delayMs > 0 ? `in ${Math.ceil(delayMs / 1000)} s (it failed a moment ago)` : "now"}`,
    exitCode: 0,
  };
}

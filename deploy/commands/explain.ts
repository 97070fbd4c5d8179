// `explain`: where each name of one impersonator comes from, or why its user has none, from the ledger alone. Asks no cluster, writes nothing.
import type { Explanation } from "../../shared/ledger/explanation.ts";
import { explanationOf, originText } from "../../shared/ledger/explanation.ts";
import { historyOf } from "../../shared/ledger/history.ts";
import type { Config } from "../../shared/run/config.ts";
import { openStore } from "../../shared/run/redis.ts";
import { subjectFrom } from "./ids.ts";
import type { Answer } from "./output.ts";
import { table } from "./output.ts";
import { timelineOf, timelineText } from "./timeline.ts";

/** Reads two records, and the history where it is asked for. @throws UsageError for ids that can name no subject. */
export async function explain(config: Config, options: { cluster?: string; user?: string; history?: boolean }): Promise<Answer> {
  const { cluster, user } = subjectFrom(options);
  await using store = await openStore(config.redisUrl!, config.redisPrefix, 5_000, () => undefined);
  const { ledger } = store;
  const subject = { cluster, user };
  const [record, person, { run }, now] = await Promise.all([ledger.record(subject), ledger.userRecord(user), ledger.mark(), ledger.now()]);
  const json = explanationOf(subject, record, { person, run, now, settings: config });
  if (!options.history) return { json, text: textOf(json), exitCode: 0 };
  const history = await historyOf(ledger, subject);
  return { json: { ...json, history: timelineOf(history) }, text: `${textOf(json)}\n\n${timelineText(history)}`, exitCode: 0 };
}

function textOf({ cluster, user, state, wanted, why, login, names, refused, differs, removedAt, next }: Explanation): string {
  const lines = [
    `${cluster}/${user}: ${state}${wanted ? "" : ", and no impersonator is to be there"}`,
    ...why.map((text) => `why: ${text}`),
    ...(login ? [`login grant: ${login.at === null ? "" : `from ${login.at} `}until ${login.ends}`] : []),
    ...refused.map((text) => `left out: ${text}`),
    ...differs.removed.map((name) => `still applied: ${name}`),
    ...(removedAt === null ? [] : [`removed: ${removedAt}`]),
    `next look: ${next.at === null ? next.why : `${next.at}, ${next.why}`}`,
  ];
  const rows = names.map(({ resource, name, from, applied }) => [resource, name, applied ? "yes" : "not yet", from.map(originText).join("; ")]);
  return rows.length === 0 ? lines.join("\n") : `${lines.join("\n")}\n\n${table(["WHAT", "NAME", "APPLIED", "FROM"], rows)}`;
}

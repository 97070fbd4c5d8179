// What the last runs did to a subject: a short list beside its record, written by workers and read by people. Nothing is ever decided by it.
// Not a Redis stream: that takes a block of 4 KB for its first entry, and most subjects have two or three for years.
import { z } from "zod";
import type { Subject } from "../subject.ts";
import { subjectKey } from "../subject.ts";
import type { Notes } from "./notes.ts";
import { runScript } from "./scripts.ts";

const ENTRIES_MAX = 20;
const KEPT_MS = 30 * 86_400_000;
/** One entry holds so many names, writes or reasons of a kind, and says how many more there were: the audit log has them all. */
const LISTED_MAX = 50;
const REASON_LENGTH_MAX = 1000;

/** `released` = handed back, `newer` = a newer fact came meanwhile, `lost` = another run took over; the others are what the record then said. */
const OUTCOMES = ["ready", "pending", "waiting", "removed", "failed", "retrying", "released", "newer", "lost"] as const;
const VERSION = 1;
/** Times in ms of redis TIME. */
const Entry = z.object({
  v: z.literal(VERSION),
  /** When the newest fact had come that the run knew of. */
  fact: z.number(),
  began: z.number(),
  ended: z.number(),
  cause: z.string(),
  /** The bindings, the login and the providers behind the decision. */
  because: z.array(z.string()),
  /** Each write with its reason, in order. */
  steps: z.array(z.string()),
  outcome: z.enum(OUTCOMES),
  reason: z.string(),
  /** Names that the role gained and lost. */
  added: z.array(z.string()),
  removed: z.array(z.string()),
});
/** One run: what woke it, what it wrote, how it ended. Ids only, no secret. */
export type HistoryEntry = Readonly<Omit<z.infer<typeof Entry>, "v">>;

/** Where the outcome's own word says too little. */
const WORDS: Partial<Record<HistoryEntry["outcome"], string>> = {
  retrying: "tried again later",
  released: "handed back",
  newer: "a newer fact came meanwhile",
  lost: "another run took over",
};
export const outcomeText = (outcome: HistoryEntry["outcome"]): string => WORDS[outcome] ?? outcome;

type Where = Pick<Notes, "redis" | "tag">;
const keyOf = ({ tag }: Where, subject: Subject): string => `${tag}:history:${subjectKey(subject)}`;

/** Adds the newest entry. Written after the record was settled, not with it: a worker that dies between the two loses this entry and nothing else. */
export async function noteHistory(where: Where, subject: Subject, entry: HistoryEntry): Promise<void> {
  const { because, steps, added, removed, reason } = entry;
  const short = { because: listed(because), steps: listed(steps), added: listed(added), removed: listed(removed), reason: reason.slice(0, REASON_LENGTH_MAX) };
  await runScript(where.redis, "history", [keyOf(where, subject)], [JSON.stringify({ v: VERSION, ...entry, ...short }), ENTRIES_MAX, KEPT_MS]);
}

const listed = (list: readonly string[]): readonly string[] =>
  list.length <= LISTED_MAX ? list : [...list.slice(0, LISTED_MAX), `and ${list.length - LISTED_MAX} more`];

/** The last runs that wrote something or changed how the subject stands, newest first. Entries of another version are left out. */
export async function historyOf(where: Where, subject: Subject): Promise<HistoryEntry[]> {
  const entries = (await where.redis.lrange(keyOf(where, subject), 0, -1)).flatMap(entryIn);
  // A run is noted after it has released the lock: the next one may have been quicker.
  return entries.sort((a, b) => b.began - a.began);
}

function entryIn(text: string): HistoryEntry[] {
  const { data } = z.string().transform(jsonIn).pipe(Entry).safeParse(text);
  if (!data) return [];
  const { v: _version, ...entry } = data;
  return [entry];
}

/** Undefined for what is no JSON. */
function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

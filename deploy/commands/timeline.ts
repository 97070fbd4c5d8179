// A subject's history as people and programs read it: the fact, the run that it led to, what was written, and how it ended. Pure.
import { inUnit } from "../../shared/duration.ts";
import type { HistoryEntry } from "../../shared/ledger/history.ts";
import { outcomeText } from "../../shared/ledger/history.ts";
import { visible } from "./output.ts";

/** Times are RFC 3339; `fact` null where nobody wrote it down. */
export type TimelineEntry = Omit<HistoryEntry, "fact" | "began" | "ended"> & { readonly fact: string | null; readonly began: string; readonly ended: string };

const time = (ms: number): string => new Date(ms).toISOString();

export const timelineOf = (entries: readonly HistoryEntry[]): TimelineEntry[] =>
  entries.map((entry) => ({ ...entry, fact: entry.fact > 0 ? time(entry.fact) : null, began: time(entry.began), ended: time(entry.ended) }));

/** The parts of a run below each other, in the order in which they happened; runs newest first. */
export function timelineText(entries: readonly HistoryEntry[]): string {
  if (entries.length === 0) return "history: nothing was written for this subject, and nothing changed how it stands, in the last 30 days";
  return ["history, newest run first:", ...entries.map(entryText)].join("\n\n");
}

function entryText({ fact, began, ended, cause, because, steps, outcome, reason, added, removed }: HistoryEntry): string {
  const run = `run by ${cause}${because.length > 0 ? `, because of ${because.join(", ")}` : ""}`;
  const changed = [...added.map((name) => `    gains ${name}`), ...removed.map((name) => `    loses ${name}`)];
  const lines = [
    ...(fact > 0 ? [`${time(fact)}  the newest fact came`, `  ${durationText(began - fact)} later: ${run}`] : [`${time(began)}  ${run}`]),
    ...(steps.length > 0 ? steps.map((step) => `    ${step}`) : ["    nothing to write"]),
    ...changed,
    `  ${durationText(ended - began)} later: ${outcomeText(outcome)}${reason === "" ? "" : `: ${reason}`}`,
  ];
  return visible(lines.join("\n"));
}

/** `35 ms`, `1.2 s`, `3.5 min`, `30 d`: one unit, two figures at least. Clocks of two Redis may differ. */
function durationText(ms: number): string {
  const { unit, count } = inUnit(Math.max(0, ms));
  return `${count < 10 ? Math.round(count * 10) / 10 : Math.round(count)} ${unit}`;
}

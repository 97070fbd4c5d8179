// How a command answers: one JSON document on stdout and nothing else, or text for people.
import { shown } from "../../shared/subject.ts";

/** What a command found out. 3 = differences, or not as it should be. */
export interface Answer {
  readonly json: unknown;
  readonly text: string;
  readonly exitCode: 0 | 1 | 3;
}

/** stdout gets the answer and nothing else; logs and errors go to stderr. */
export function print({ json, text }: Answer, format: "text" | "json"): void {
  process.stdout.write(format === "json" ? `${JSON.stringify(json, undefined, 2)}\n` : text === "" ? "" : `${text}\n`);
}

/** Quoted where it holds more than plain characters: an id may hold what moves a terminal's cursor. */
export const plain = (text: string): string => (/^[\x20-\x7e]*$/.test(text) ? text : shown(text));

/** Columns as wide as their widest cell. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows.map((row) => row.map(plain))];
  const widths = head.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? "").length)));
  return cells
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** One line that counts, for a person at a terminal; elsewhere nothing, and never on stdout. */
export function openProgress(did: string, all: number): { step(): void; end(): void } {
  const shows = process.stderr.isTTY && all > 1;
  const show = (line: string): void => void (shows && process.stderr.write(`\r\u001b[K${line}`));
  let done = 0;
  show(`${did} 0 of ${all} clusters`);
  return { step: () => show(`${did} ${++done} of ${all} clusters`), end: () => show("") };
}

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

/** Somebody else may have written it: what moves a cursor, or turns a line around, is shown and not sent. */
export const visible = (text: string): string => text.replace(/[^\P{C}\n]/gu, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);

/** Quoted where it holds more than plain characters. */
const plain = (text: string): string => (/^[\x20-\x7e]*$/.test(text) ? text : shown(text));

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

/** `1 step`, `2 steps` */
export const count = (number: number, word: string): string => `${number} ${word}${number === 1 ? "" : "s"}`;

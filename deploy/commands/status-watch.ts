// `status --watch`: the same table in place on a terminal, every two seconds; where there is none, printed again whenever it changed.
import { pause } from "../../shared/kube/watch.ts";
import type { Config } from "../../shared/run/config.ts";
import { openStore } from "../../shared/run/redis.ts";
import { messageOf } from "./check-clusters.ts";
import type { Answer } from "./output.ts";
import { count } from "./output.ts";
import { answerOf, statusRows } from "./status.ts";

const EVERY_MS = 2_000;
/** Another screen, so that what was on this one is there again afterwards; its cursor would only flicker. */
const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";

interface Watched {
  readonly cluster?: string;
  readonly user?: string;
  readonly output: "text" | "json";
}
/** Ends when `stopped` says so, and leaves the terminal as it was. @throws Error when Redis does not answer. */
export async function watchStatus(config: Config, options: Watched, stopped: AbortSignal): Promise<undefined> {
  await using store = await openStore(config.redisUrl!, config.redisPrefix, 5_000, () => undefined);
  const screen = options.output === "text" && process.stdout.isTTY;
  let last = "";
  if (screen) process.stdout.write(ENTER);
  try {
    while (!stopped.aborted) {
      const answer = answerOf(await statusRows(store, options));
      const shows = screen ? frameOf(answer, process.stdout) : lineOf(answer, options.output);
      if (shows !== last) process.stdout.write(shows);
      last = shows;
      await pause(EVERY_MS, stopped);
    }
  } catch (error) {
    throw new Error(`redis does not answer any more: ${messageOf(error)}`, { cause: error });
  } finally {
    if (screen) process.stdout.write(LEAVE);
  }
}

/** One document a line for programs; tables with a blank line between them for people. */
const lineOf = ({ json, text }: Answer, output: Watched["output"]): string => (output === "json" ? `${JSON.stringify(json)}\n` : `${text}\n\n`);

/** Over what is there, line by line: a screen that is cleared first flickers. What does not fit is counted. */
function frameOf({ text }: Answer, stdout: { readonly rows: number; readonly columns: number }): string {
  // Some terminals do not say how large they are.
  const [rows, columns] = [stdout.rows || 24, stdout.columns || 80];
  const all = text.split("\n");
  const lines = all.length <= rows ? all : [...all.slice(0, rows - 1), `and ${count(all.length - rows + 1, "line")} more: --cluster or --user shows fewer`];
  return `\u001b[H${lines.map((line) => `${line.slice(0, columns)}\u001b[K`).join("\r\n")}\u001b[J`;
}

// How far a long command is, for a person at a terminal: one line on stderr that goes when it ends. Elsewhere nothing, and never on stdout.
import cliProgress from "cli-progress";

/** `what`: of what there are `all`. `more`: what else the line says, asked each time it is drawn. */
export function openProgress(what: string, all: number, more: () => string = () => ""): Disposable & { step(): void } {
  const bar = new cliProgress.SingleBar({
    barsize: 20,
    clearOnComplete: true,
    // Else it changes how the terminal wraps, and a Ctrl-C would leave it so.
    linewrap: true,
    format: (options, { progress, value, total }) => `${cliProgress.Format.BarFormat(progress, options)} ${value} of ${total} ${what}${more()}`,
  });
  // Does nothing where stderr is no terminal.
  if (all > 0) bar.start(all, 0);
  return { step: () => bar.increment(), [Symbol.dispose]: () => bar.stop() };
}

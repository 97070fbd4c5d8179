// How far a long command is, for a person at a terminal: one line on stderr that goes when it ends. Elsewhere nothing, and never on stdout.
import cliProgress from "cli-progress";

export interface Progress extends Disposable {
  readonly step: () => void;
  /** There are so many more than was known. */
  readonly grow: (by: number) => void;
}

/** `what`: of what there are `all`. `more`: what else the line says, asked each time it is drawn. */
export function openProgress(what: string, all: number, more: () => string = () => ""): Progress {
  const bar = new cliProgress.SingleBar({
    barsize: 20,
    clearOnComplete: true,
    // Else it changes how the terminal wraps, and a Ctrl-C would leave it so.
    linewrap: true,
    format: (options, { progress, value, total }) => `${cliProgress.Format.BarFormat(progress, options)} ${value} of ${total} ${what}${more()}`,
  });
  let total = 0;
  const grow = (by: number): void => {
    total += by;
    if (bar.isActive) bar.setTotal(total);
    // Does nothing where stderr is no terminal.
    else if (total > 0) bar.start(total, 0);
  };
  grow(all);
  return { step: () => bar.increment(), grow, [Symbol.dispose]: () => bar.stop() };
}

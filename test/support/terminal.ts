// A person at a shell: lines are typed into one bash that keeps its variables and functions, or into another that goes on until Ctrl-C.
import { type ChildProcess, spawn } from "node:child_process";
import { GiveUp, waitUntil } from "./wait-until.ts";

const SLOW = { deadlineMs: 60_000 };

export interface Typed {
  readonly code: number;
  /** Both streams, as a terminal shows them. */
  readonly screen: string;
}
export class Terminal implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #screen = "";
  #typed = 0;

  constructor(cwd: string, env: Readonly<Record<string, string | undefined>>) {
    // A process group of its own, as a terminal's: Ctrl-C reaches all of it.
    this.#child = spawn("bash", ["-c", "exec 2>&1; exec bash --noprofile --norc"], { cwd, env, detached: true, stdio: ["pipe", "pipe", "ignore"] });
    this.#child.stdout!.setEncoding("utf8").on("data", (text: string) => (this.#screen += text));
    this.#ended = new Promise((resolve) => this.#child.once("close", resolve));
  }

  get screen(): string {
    return this.#screen;
  }

  /** Types it and waits until the shell is there again. */
  async type(lines: string): Promise<Typed> {
    const from = this.#screen.length;
    const end = new RegExp(`\\ntyped-${++this.#typed} (\\d+)\\n$`);
    this.#write(`{ ${lines}\n} < /dev/null\nprintf '\\ntyped-${this.#typed} %s\\n' $?`);
    const [whole, code] = await waitUntil(`${lines} ends`, () => end.exec(this.#screen.slice(from)), SLOW);
    return { code: Number(code), screen: this.#screen.slice(from, this.#screen.length - whole.length) };
  }

  /** Types what goes on, and waits until it has said this. */
  async until(lines: string, said: RegExp): Promise<void> {
    this.#write(lines);
    await waitUntil(
      `${lines} says ${said}`,
      () => {
        if (this.#child.exitCode !== null) throw new GiveUp(new Error(`${lines} ended: ${this.#screen}`));
        return said.test(this.#screen);
      },
      SLOW,
    );
  }

  #write(lines: string): void {
    this.#child.stdin!.write(`${lines}\n`);
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#child.exitCode === null && this.#child.signalCode === null) process.kill(-this.#child.pid!, signal);
  }

  /** Ctrl-C, and then the end of the shell. */
  async interrupt(): Promise<void> {
    this.#signal("SIGINT");
    this.#child.stdin!.end();
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#signal("SIGKILL");
    await this.#ended;
  }
}

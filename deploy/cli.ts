// The commands of `understudy`. The only reader of environment and arguments; signals and exit codes are here and nowhere else.
// What a command needs is imported when it runs: `--help` should not load a Kubernetes client.
import { readFileSync } from "node:fs";
import closeWithGrace from "close-with-grace";
import { Command, CommanderError, Option } from "commander";
import type { Config } from "../shared/run/config.ts";
import type { Log } from "../shared/run/log.ts";
import { openLog, withoutSecrets } from "../shared/run/log.ts";
import type { Answer } from "./commands/output.ts";
import { print } from "./commands/output.ts";
import type { Need } from "./settings.ts";
import { UsageError, readConfig } from "./settings.ts";

const STOP_MS = 28_000;
const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };

/** Runs one command line. */
export async function main(argv: readonly string[]): Promise<void> {
  const program = new Command("understudy")
    .description("One Kubernetes service account per person, which may act as that person and as nobody else.")
    .version(version)
    .exitOverride()
    .showSuggestionAfterError()
    .addHelpText(
      "after",
      "\nSettings are environment variables (UNDERSTUDY_…); docs/reference.md lists them. Exit codes: 0 ok, 1 error, 2 usage, 3 not as it should be.",
    );
  addProcesses(program);
  addQuestions(program);
  addLedgerQuestions(program);
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    process.exitCode = exitCodeOf(error);
  }
}

/** Says what went wrong, once, on stderr. */
function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // commander has printed it
  if (error instanceof UsageError) {
    process.stderr.write(
      `${error.message
        .split("\n")
        .map((line) => `understudy: ${line}`)
        .join("\n")}\n`,
    );
    return 2;
  }
  process.stderr.write(`understudy: ${withoutSecrets(error instanceof Error ? error.message : String(error))}\n`);
  return 1;
}

type Start = (config: Config, log: Log, version: string) => Promise<AsyncDisposable>;

/** The commands that run until a signal ends them. */
function addProcesses(program: Command): void {
  const add = (name: string, about: string, needs: readonly Need[], start: Start): void => {
    program
      .command(name)
      .description(about)
      .action(() => runProcess(name, needs, start));
  };
  add("worker", "work on the queues: make each cluster equal to what the ledger says", ["redisUrl", "clusters"], async (...parts) =>
    (await import("../workers/main.ts")).startWorker(...parts),
  );
  add("producer", "watch the sources and listen for logins: write facts, wake subjects", ["redisUrl", "clusters"], async (...parts) =>
    (await import("../producers/main.ts")).startProducer(...parts),
  );
  add("dashboard", "show the page, and the queues (bull-board), read-only", ["redisUrl"], async (...parts) =>
    (await import("../workers/dashboard/server.ts")).startDashboard(...parts),
  );
  program
    .command("dev")
    .description("everything in one process with a Redis of its own, on the clusters that the settings name")
    .option("--once", "stop when all is settled, print a summary and exit 0 only if all are ready")
    .addOption(outputOption())
    .action(async (options: { once?: boolean; output: "text" | "json" }) =>
      (await import("./embedded/dev.ts")).startDev({
        environment: process.env,
        version,
        once: options.once ?? false,
        output: options.output,
        onStop: stopOnSignal,
      }),
    );
}

/** Starts a long-running process; a signal stops it in reverse order within half a minute. */
async function runProcess(name: string, needs: readonly Need[], start: Start): Promise<void> {
  const config = readConfig(process.env, needs);
  const log = openLog(config.logLevel, { process: name });
  const running = await start(config, log, version);
  stopOnSignal(running, log);
}

/** SIGTERM, SIGINT and an uncaught error all end in the same stop, in reverse order of the start. */
function stopOnSignal(running: AsyncDisposable, log: Log): void {
  closeWithGrace({ delay: STOP_MS, logger: false }, async ({ signal, err }) => {
    if (err) log.unexpected({ err });
    log.stopping({ signal });
    await running[Symbol.asyncDispose]();
    log.stopped();
    if (err) process.exitCode = 1;
  });
}

const outputOption = (): Option => new Option("--output <format>", "text for people, json for programs").choices(["text", "json"]).default("text");

type Options = { output: "text" | "json"; cluster?: string; user?: string; all?: boolean; history?: boolean; audience?: string[] };
type Ask = (config: Config, options: Options, version: string) => Promise<Answer>;
type AddQuestion = (name: string, about: string, needs: readonly Need[], ask: Ask, shape?: (command: Command) => Command) => void;

/** Adds a command that answers once and ends. */
const questionsOf =
  (program: Command): AddQuestion =>
  (name, about, needs, ask, shape = (command) => command) => {
    shape(program.command(name).description(about).addOption(outputOption())).action(async (options: Options) => {
      const answer = await ask(readConfig(process.env, needs), options, version);
      print(answer, options.output);
      process.exitCode = answer.exitCode;
    });
  };
const anySubject = (command: Command): Command => command.option("--cluster <id>", "only this cluster").option("--user <id>", "only this user");
const oneSubject = (command: Command): Command => command.requiredOption("--cluster <id>", "its cluster").requiredOption("--user <id>", "its user");

/** What asks the sources and the clusters themselves. */
function addQuestions(program: Command): void {
  const add = questionsOf(program);
  add("check", "ask whether everything that is needed is there: settings, Redis, sources, clusters, every right", [], async (...parts) =>
    (await import("./commands/check.ts")).check(...parts),
  );
  add(
    "bootstrap",
    "print what an administrator applies to a cluster: its worker's account, rights and fence; calls no cluster",
    [],
    async (...parts) => (await import("./commands/bootstrap.ts")).bootstrap(...parts),
    (command) =>
      command
        .requiredOption("--cluster <id>", "which, for the comments")
        .option("--audience <name...>", "with UNDERSTUDY_TOKEN_MODE=request: the API server's own audience, where it is none of the usual ones"),
  );
  add(
    "plan",
    "show what a worker would write after a lost Redis, and why; writes nothing and needs no Redis",
    ["clusters"],
    async (...parts) => (await import("./commands/plan.ts")).plan(...parts),
    (command) => command.option("--cluster <id>", "only this cluster"),
  );
  add(
    "verify",
    "ask a real cluster, with the impersonator's own token, who it becomes",
    ["redisUrl", "clusters"],
    async (...parts) => (await import("./commands/verify.ts")).verify(...parts),
    (command) => anySubject(command).option("--all", "every subject that should be ready"),
  );
}

/** What the ledger alone answers. */
function addLedgerQuestions(program: Command): void {
  const add = questionsOf(program);
  add(
    "status",
    "show how each subject stands",
    ["redisUrl"],
    async (config, options) => (await import("./commands/status.ts")).status(config, options),
    anySubject,
  );
  add(
    "explain",
    "show where each name of an impersonator comes from, or why its user has none",
    ["redisUrl"],
    async (config, options) => (await import("./commands/explain.ts")).explain(config, options),
    (command) => oneSubject(command).option("--history", "and what its last runs did"),
  );
  add(
    "enqueue",
    "look at one subject now",
    ["redisUrl"],
    async (config, options) => (await import("./commands/enqueue.ts")).enqueue(config, options),
    oneSubject,
  );
}

await main(process.argv.slice(2));

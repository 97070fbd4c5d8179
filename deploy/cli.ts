// The commands of `understudy`. The only reader of environment and arguments; signals and exit codes are here and nowhere else.
// What a command needs is imported when it runs: `--help` should not load a Kubernetes client.
import { readFileSync } from "node:fs";
import closeWithGrace from "close-with-grace";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import type { Config } from "../shared/run/config.ts";
import type { Log } from "../shared/run/log.ts";
import { openLog, withoutSecrets } from "../shared/run/log.ts";
import type { CleanupOptions } from "./commands/cleanup.ts";
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
  addCleanup(program);
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
    .description("everything in one process with a Redis of its own, on the clusters that the settings name, or without any settings a demo on simulated ones")
    .option("--once", "stop when all is settled, print a summary and exit 0 only if all are ready")
    .option("--sample <file>", "people and bindings of the simulated clusters: Kubernetes objects as YAML")
    .addOption(outputOption())
    .action(async (options: { once?: boolean; sample?: string; output: "text" | "json" }) =>
      (await import("./embedded/start.ts")).startDev({
        environment: process.env,
        version,
        once: options.once ?? false,
        output: options.output,
        sample: options.sample,
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

type Options = {
  output: "text" | "json";
  cluster?: string;
  user?: string;
  all?: boolean;
  history?: boolean;
  watch?: boolean;
  diff?: boolean;
  audience?: string[];
  kubeconfig?: boolean;
} & CleanupOptions;
/** Undefined: it has printed what there was to say. */
type Ask = (config: Config, options: Options, version: string) => Promise<Answer | undefined>;
type AddQuestion = (name: string, about: string, needs: readonly Need[], ask: Ask, shape?: (command: Command) => Command) => void;

/** Adds a command that answers once and ends. */
const questionsOf =
  (program: Command): AddQuestion =>
  (name, about, needs, ask, shape = (command) => command) => {
    shape(program.command(name).description(about).addOption(outputOption())).action(async (options: Options) => {
      const answer = await ask(readConfig(process.env, needs), options, version);
      if (!answer) return;
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
        .option("--kubeconfig", "instead, the shell commands that print its worker's kubeconfig once that is applied")
        .option("--audience <name...>", "with UNDERSTUDY_TOKEN_MODE=request: the API server's own audience, where it is none of the usual ones"),
  );
  add(
    "plan",
    "show what a worker would write after a lost Redis, and why; writes nothing and needs no Redis",
    ["clusters"],
    async (...parts) => (await import("./commands/plan.ts")).plan(...parts),
    (command) => command.option("--cluster <id>", "only this cluster").option("--diff", "and each object as it is against as it would be"),
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
    async (config, options) => {
      if (!options.watch) return (await import("./commands/status.ts")).status(config, options);
      return (await import("./commands/status-watch.ts")).watchStatus(config, options, firstSignal());
    },
    (command) => anySubject(command).option("--watch", "again every two seconds, until Ctrl-C"),
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

const STALE_TEXT = `
Stale: a token Secret of an impersonator's account, ours or Rancher's, that the account does not name (annotation rancher.io/service-account.secret-ref),
where it names another one that is there. An account that names none, or one that is missing, is left alone: nobody can know which of its tokens is in use.
Orphan: an impersonator of ours without a binding, a login that runs, or a record in the ledger; Rancher's too with UNDERSTUDY_ADOPT=true.
Without --yes nothing is deleted. Ended early, it goes on where it was when it is run again.`;

/** The one question that may end in deletes. */
function addCleanup(program: Command): void {
  const rate = (text: string): number => {
    if (/^[1-9]\d{0,2}$/.test(text)) return Number(text);
    throw new InvalidArgumentError("write a whole number from 1 to 999.");
  };
  questionsOf(program)(
    "cleanup",
    "count stale token Secrets and orphans, and delete them with --yes; let removals go on that were held back",
    [],
    async (...parts) => (await import("./commands/cleanup.ts")).cleanup(...parts, firstSignal()),
    (command) =>
      command
        .option("--cluster <id>", "only this cluster; for orphans also: it is right that they are many")
        .option("--stale-secrets", "token Secrets that their account does not name")
        .option("--orphans", "impersonators that nobody has a reason for")
        .option("--yes", "delete them")
        .option("--rate <number>", "deletes a second on each cluster", rate, 20)
        .option("--allow <cluster>", "let the removals there go on that `status` says are held, until the next import; needs Redis only")
        .addHelpText("after", STALE_TEXT),
  );
}

/** Ctrl-C lets a command come to its end and say how far it came; a second one ends it. */
function firstSignal(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
  return stop.signal;
}

await main(process.argv.slice(2));

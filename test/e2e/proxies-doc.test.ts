// docs/proxies.md tells the truth: its calls are made as they stand there, one after the other, and answered as they stand there.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { openQuiet } from "../support/evidence.ts";
import { HOOK_SECRET, type House } from "../support/house.ts";
import { collect } from "../support/kubectl.ts";
import { waitUntil } from "../support/wait-until.ts";

const PAGE = new URL("../../docs/proxies.md", import.meta.url);
const page = readFileSync(PAGE, "utf8");
const SECRET = "a-secret-for-credentials-0123456789";
let house: House;
before(async () => {
  const settings = {
    UNDERSTUDY_CREDENTIALS_LISTEN: "127.0.0.1:0",
    UNDERSTUDY_CREDENTIALS_SECRETS: SECRET,
    UNDERSTUDY_FORWARD_AUTH_USER_HEADER: "X-Forwarded-User",
  };
  house = await openQuiet({ clusters: ["c-one"], management: false, workers: 1, settings });
});
after(() => house?.[Symbol.asyncDispose]());

interface Call {
  readonly command: string;
  readonly answer: Answer;
}
/** What curl prints of an answer with `-i`. */
interface Answer {
  readonly status: string;
  readonly headers: readonly string[];
  readonly body: string;
}
function answerIn(text: string): Answer {
  const [head = "", ...rest] = text.replaceAll("\r", "").split("\n\n");
  const [status = "", ...headers] = head.split("\n");
  return { status, headers, body: rest.join("\n\n").trimEnd() };
}
/** A command goes on until curl's quotes are closed; a body of JSON that is too long for a line goes on behind a blank. */
function callsIn(text: string): Call[] {
  return [...text.matchAll(/^```console\n\$ (curl [\s\S]*?)\n(HTTP\/[\s\S]*?)^```$/gm)].map(([, command, answer]) => ({
    command: command!,
    answer: answerIn(answer!.replaceAll("\n ", "")),
  }));
}
const pattern = (shown: string): RegExp => new RegExp(`^${shown.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&").replaceAll("…", "[^,]*?")}$`);

/** The command in a shell, as a reader would paste it. */
function run(command: string): { said(): string; ended: Promise<unknown>; stop(): void } {
  const { hook, credentials } = house.producer.started;
  const env = { PATH: process.env["PATH"], HOOK: hook, CREDENTIALS: credentials, HOOK_SECRET, SECRET };
  const child = spawn("bash", ["-c", `exec ${command}`], { env, stdio: ["ignore", "pipe", "pipe"] });
  const out = collect(child);
  return { said: () => out.stdout, ended: new Promise((resolve) => child.once("close", resolve)), stop: () => void child.kill() };
}
function assertAnswered(shown: Answer, said: string, command: string): void {
  const { status, headers, body } = answerIn(said);
  assert.equal(status, shown.status, command);
  for (const header of shown.headers)
    assert.ok(
      headers.some((line) => pattern(header).test(line)),
      `${command}\n${header}\nis not among\n${headers.map((line) => line.replace(/Bearer .*/, "Bearer …")).join("\n")}`,
    );
  assert.match(body, pattern(shown.body), command);
}
/** One group too many in the answer would be a right that the page does not name. */
function assertNoOtherIdentity(shown: Answer, said: string): void {
  const identity = ({ headers }: Answer): number => headers.filter((line) => /^(authorization|impersonate-)/.test(line)).length;
  assert.equal(identity(answerIn(said)), identity(shown));
}

/** What is said in the end: a reader sends again what is still under way, or could not be told. */
const saidTo = (command: string, shown: Answer): Promise<string> =>
  waitUntil(`${command} has its answer`, async () => {
    const { said, ended } = run(command);
    await ended;
    const { status } = answerIn(said());
    return (status === shown.status || !/ (202|503)\b/.test(status)) && said();
  });

test("each call of docs/proxies.md is answered as the page says, because proxies are written from it", async () => {
  const calls = callsIn(page);
  assert.deepEqual(
    calls.map(({ answer }) => answer.status.split(" ")[1]),
    ["200", "200", "200", "200", "202", "403", "404", "401"],
  );
  let following: (() => Promise<void>) | undefined;
  for (const { command, answer } of calls) {
    if (command.includes("/v1/revocations")) {
      const running = run(command);
      await waitUntil("the stream is open", () => running.said().includes("\nid: "));
      following = async () => {
        // Every fifteen seconds the stream says that it is still there, which the page leaves out.
        const said = (): string => running.said().replaceAll(": still here\n\n", "");
        await waitUntil("the event is heard", () => said().trimEnd().endsWith("}"));
        running.stop();
        await running.ended;
        assertAnswered(answer, said(), command);
      };
      continue;
    }
    const said = await saidTo(command, answer);
    assertAnswered(answer, said, command);
    assertNoOtherIdentity(answer, said);
    if (command.includes("DELETE")) await house.waitFor("c-one", "u-ada", "removed");
  }
  await following!();
});

test("the page is short enough to be read, and what it links to in the repository is there", () => {
  assert.ok(page.split("\n").length <= 201);
  const links = [...page.matchAll(/\]\((\.\.\/[^)]+)\)/g)].map(([, link]) => link!);
  assert.ok(links.length >= 2);
  for (const link of links) assert.ok(existsSync(new URL(link, PAGE)), link);
});

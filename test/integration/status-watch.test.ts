// `status --watch` on a Redis alone: in place on a terminal, which is left as it was; one document or table a change where there is none.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Ledger } from "../../shared/ledger/ledger.ts";
import type { Waker } from "../../shared/ledger/ledger.ts";
import type { StatusRow } from "../../shared/ledger/status.ts";
import { startAtTerminal, startUnderstudy, understudy } from "../support/command.ts";
import type { Running } from "../support/kubectl.ts";
import { aMe, aSettlement, alice, bob, redisForFile, toldGrant } from "../support/ledger.ts";
import { startRedis } from "../support/redis.ts";
import { waitUntil } from "../support/wait-until.ts";

const DEADLINE = { deadlineMs: 60_000 };
const { server, redis } = await redisForFile();
const settings = { UNDERSTUDY_REDIS_URL: server.url };
const nobody: Waker = { add: async () => undefined };
const ledger = new Ledger(redis, "{understudy:0}", { binding: nobody, login: nobody, deletion: nobody });
const started: Running[] = [];
after(() => started.forEach(({ child }) => child.kill("SIGKILL")));

function watching(running: Running): Running {
  started.push(running);
  return running;
}
/** All that was said so far, with the escapes to be seen. */
const saidBy = ({ out }: Running): string => out.stdout.replaceAll("\u001b", "^");
/** What was said from there on, once it holds the text. */
const said = (running: Running, text: RegExp, from = 0): Promise<string> =>
  waitUntil(`it says ${text}`, () => (text.test(saidBy(running).slice(from)) ? saidBy(running).slice(from) : undefined), DEADLINE);
async function settle(user: typeof alice, reason: string): Promise<void> {
  const me = aMe();
  await ledger.store(user, {}, "verify");
  const taken = await ledger.take(user, me);
  assert.ok("read" in taken);
  await ledger.settle(user, me, taken.read.record, aSettlement({ reason }));
}
assert.equal(await ledger.importEnd(await ledger.importBegin()), "ok");
for (const subject of [alice, bob]) await ledger.store(subject, { grants: [toldGrant("1")] }, "binding");

test("on a terminal the table is drawn over itself until Ctrl-C, and the screen from before is back then, because a person works on in it", async () => {
  const running = watching(startAtTerminal(["status", "--watch"], settings));
  const first = await said(running, /u-bob +pending[^]*\^\[J$/);
  assert.ok(first.startsWith("^[?1049h^[?25l^[HCLUSTER"), first);
  await settle(alice, "as decided");
  const second = await said(running, /u-alice +ready .* as decided[^]*\^\[J$/, first.length);
  assert.match(second, /^\^\[HCLUSTER.*\^\[K\r+\n.*\^\[J$/s);
  running.child.stdin!.write("\u0003");
  assert.equal(await running.ended, 0);
  assert.ok(saidBy(running).endsWith("^[?25h^[?1049l"), saidBy(running));
  assert.ok(!saidBy(running).includes("^[2J"), "a screen that is cleared first flickers");
});

test("what does not fit on the terminal is cut and counted, because a table that scrolls cannot be drawn over", async () => {
  const running = watching(startAtTerminal(["status", "--watch"], settings, "rows 3 cols 22"));
  const frame = await said(running, /\^\[J/);
  const lines = frame.slice(frame.indexOf("^[H") + 3).split(/\r+\n/);
  assert.deepEqual(
    lines.map((line) => line.replace(/\^\[[KJ]/g, "")),
    ["CLUSTER  USER     STAT", "c-amber  u-alice  read", "and 4 lines more: --cl"],
  );
  running.child.stdin!.write("\u0003");
  assert.equal(await running.ended, 0);
});

test("programs get one document a line, the first at once and the next when something changed, and a signal ends it with 0", async () => {
  const running = watching(startUnderstudy(["status", "--watch", "--output", "json", "--user", bob.user], settings));
  await said(running, /\n/);
  await settle(bob, "once");
  await said(running, /once.*\n/);
  await settle(bob, "twice");
  await said(running, /twice.*\n/);
  running.child.kill("SIGTERM");
  assert.equal(await running.ended, 0);
  const documents = running.out.stdout.trimEnd().split("\n");
  const rows = documents.map((line) =>
    (JSON.parse(line) as { subjects: StatusRow[] }).subjects.map(({ user, state, reason }) => [user, state, reason].join(" ")),
  );
  assert.deepEqual(rows.at(-1), ["u-bob ready twice"]);
  assert.equal(new Set(documents).size, documents.length, "none is repeated");
  assert.deepEqual([running.out.stderr, rows.flat().some((row) => row.includes("u-alice"))], ["", false]);
});

test("where there is no terminal people get the table of status, and no byte that moves a cursor", async () => {
  const running = watching(startUnderstudy(["status", "--watch"], settings));
  const text = await said(running, /\n\n$/);
  running.child.kill("SIGINT");
  assert.equal(await running.ended, 0);
  assert.equal(text, `${(await understudy(["status"], settings)).stdout}\n`);
});

test("a Redis that goes ends it with 1 and says so, on the screen from before, because a table that stands still looks as if all were well", async () => {
  const other = await startRedis();
  try {
    const running = watching(startAtTerminal(["status", "--watch"], { UNDERSTUDY_REDIS_URL: other.url }));
    await said(running, /CLUSTER/);
    await other.kill("SIGKILL");
    assert.equal(await running.ended, 1);
    assert.match(saidBy(running), /\^\[\?1049lunderstudy: redis does not answer any more: .+\r\n$/s);
  } finally {
    await other.stop();
  }
});

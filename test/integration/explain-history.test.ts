// `explain --history` on a Redis alone: each kind of entry as a person reads it, word by word, because the times and the order are what one asks for.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HistoryEntry } from "../../shared/ledger/history.ts";
import { noteHistory } from "../../shared/ledger/history.ts";
import { Ledger } from "../../shared/ledger/ledger.ts";
import type { Waker } from "../../shared/ledger/ledger.ts";
import { understudy } from "../support/command.ts";
import { alice, redisForFile, toldGrant } from "../support/ledger.ts";

const { server, redis } = await redisForFile();
const nobody: Waker = { add: async () => undefined };
const ledger = new Ledger(redis, "{understudy:0}", { binding: nobody, login: nobody, deletion: nobody });
const ask = (...args: readonly string[]) =>
  understudy(["explain", "--cluster", alice.cluster, "--user", alice.user, ...args], { UNDERSTUDY_REDIS_URL: server.url });

const NOON = Date.UTC(2026, 0, 15, 12);
const CRTB = "clusterroletemplatebindings:c-amber/crtb-1";
const nothing = { because: [], steps: [], added: [], removed: [], reason: "" };
const SET_UP: HistoryEntry = {
  ...nothing,
  fact: NOON,
  began: NOON + 35,
  ended: NOON + 1_235,
  cause: "binding",
  because: [CRTB],
  steps: ["create ClusterRole: it is missing", "create Secret: it is missing"],
  outcome: "ready",
  added: ["users u-alice", "groups gr\u00fcn\u001b[2J"],
};
const OTHERS: readonly HistoryEntry[] = [
  { ...nothing, fact: NOON + 60_000, began: NOON + 150_000, ended: NOON + 160_000, cause: "login", outcome: "retrying", reason: "no answer from c-amber" },
  {
    ...nothing,
    fact: 0,
    began: NOON + 400_000,
    ended: NOON + 400_000,
    cause: "deletion",
    steps: ["delete ClusterRole: no grant"],
    outcome: "removed",
    removed: ["users u-alice"],
    reason: "no grant",
  },
];

test("without an entry it says so, and JSON has an empty list, because no history is an answer too", async () => {
  const { code, stdout } = await ask("--history");
  assert.equal(code, 0);
  assert.match(stdout, /\nhistory: nothing was written for this subject, and nothing changed how it stands, in the last 30 days\n$/);
  assert.deepEqual((JSON.parse((await ask("--history", "--output", "json")).stdout) as { history: unknown }).history, []);
});

test("a run is told from its fact to its outcome, newest run first, and no id can move the cursor", async () => {
  await ledger.store(alice, { grants: [toldGrant("1")] }, "binding");
  for (const entry of [SET_UP, ...OTHERS]) await noteHistory(ledger, alice, entry);
  const { code, stdout } = await ask("--history");
  assert.equal(code, 0);
  assert.ok(
    stdout.endsWith(`
history, newest run first:

2026-01-15T12:06:40.000Z  run by deletion
    delete ClusterRole: no grant
    loses users u-alice
  0 ms later: removed: no grant

2026-01-15T12:01:00.000Z  the newest fact came
  1.5 min later: run by login
    nothing to write
  10 s later: tried again later: no answer from c-amber

2026-01-15T12:00:00.000Z  the newest fact came
  35 ms later: run by binding, because of ${CRTB}
    create ClusterRole: it is missing
    create Secret: it is missing
    gains users u-alice
    gains groups grün\\u{1b}[2J
  1.2 s later: ready
`),
    stdout,
  );
});

test("programs get the same with times as RFC 3339, and none where it is not asked for", async () => {
  const { history } = JSON.parse((await ask("--history", "--output", "json")).stdout) as { history: readonly Record<string, unknown>[] };
  assert.deepEqual(
    history.map(({ fact, began, outcome }) => [fact, began, outcome]),
    [
      [null, "2026-01-15T12:06:40.000Z", "removed"],
      ["2026-01-15T12:01:00.000Z", "2026-01-15T12:02:30.000Z", "retrying"],
      ["2026-01-15T12:00:00.000Z", "2026-01-15T12:00:00.035Z", "ready"],
    ],
  );
  assert.deepEqual(history[2], { ...SET_UP, fact: "2026-01-15T12:00:00.000Z", began: "2026-01-15T12:00:00.035Z", ended: "2026-01-15T12:00:01.235Z" });
  const without = await ask("--output", "json");
  assert.ok(!("history" in (JSON.parse(without.stdout) as object)));
});

// The forms that the pages show: to who may write and to nobody else, and sent as they stand they do what their button says.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { openStore } from "../../shared/run/redis.ts";
import { PASSWORD, USERS, ask, basic, dashboardOn, send } from "../support/dashboard.ts";
import { aMe, toldGrant } from "../support/ledger.ts";
import { startRedis } from "../support/redis.ts";
import { waitUntil } from "../support/wait-until.ts";

const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());
const redis = cleanup.adopt(await startRedis(), (server) => server.stop());
const { ledger } = cleanup.use(await openStore(redis.url, "understudy", 5_000, () => undefined));
assert.equal(await ledger.importEnd(await ledger.importBegin()), "ok");
const subject = { cluster: "c-amber", user: `u-"<b>'&` };
await ledger.submit(subject, { grants: [toldGrant("1")] }, "binding", "binding");
const me = aMe();
const taken = await ledger.take(subject, me);
assert.ok("read" in taken);
await ledger.fail(subject, me, taken.read.record.stamp, { mode: "terminal", reason: 'quota of "c-amber" & more', unknown: false });
const open = cleanup.use(await dashboardOn(redis, { UNDERSTUDY_DASHBOARD_USERS: USERS, UNDERSTUDY_DASHBOARD_WRITE: "olga" }));
const olga = basic("olga", PASSWORD);
const piet = basic("piet", "password-of-piet");

const SUBJECT = `/subject?${new URLSearchParams(subject).toString()}`;
const GROUP = `/?${new URLSearchParams({ state: "failed", reason: 'quota of "c-amber" & more' }).toString()}`;
const CLUSTER = "/?cluster=c-amber";

const page = async (path: string, who: Readonly<Record<string, string>>): Promise<string> => (await ask(open.url + path, "GET", who)).text;
const unescaped = (text: string): string =>
  text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"').replaceAll("&#39;", "'").replaceAll("&amp;", "&");
/** Presses the one button of a page, and follows to where it leads. */
async function press(path: string, label: string): Promise<string> {
  const html = await page(path, olga);
  const forms = [...html.matchAll(/<form method="post" action="([^"]+)">(.*?)<button type="submit">([^<]+)<\/button><\/form>/gs)];
  assert.deepEqual(
    forms.map((form) => form[3]),
    [label],
  );
  const fields = [...forms[0]![2]!.matchAll(/name="([^"]*)" value="([^"]*)"/g)].map(([, name, value]) => [name!, unescaped(value!)]);
  const answer = await send(open.url, forms[0]![1]!, Object.fromEntries(fields), olga);
  assert.equal(answer.status, 303, answer.text);
  return page(String(answer.headers["location"]), olga);
}

test("who may not write sees no form, because a button that is refused is a lie", async () => {
  await waitUntil("the ledger was counted", async () => (await page(GROUP, piet)).includes("<b>1</b> subject"));
  for (const path of ["/", SUBJECT, GROUP, CLUSTER]) assert.doesNotMatch(await page(path, piet), /method="post"|csrf/, path);
});

test("the button on a person's page looks at that person now, whatever characters the id has, and the page says so", async () => {
  const said = await press(SUBJECT, "Look now");
  assert.match(said, /<p class="notice done" role="status">It is looked at now\.<\/p>/);
  assert.equal((await ledger.record(subject))!.gen, 2);
  assert.doesNotMatch(await page(SUBJECT, olga), /notice done/);
});

test("the button on a group of failures asks for all of it, whatever characters the reason has", async () => {
  const second = { cluster: "c-birch", user: "u-second" };
  await ledger.submit(second, { grants: [toldGrant("1")] }, "binding", "binding");
  const run = aMe();
  const lock = await ledger.take(second, run);
  assert.ok("read" in lock);
  await ledger.fail(second, run, lock.read.record.stamp, { mode: "terminal", reason: 'quota of "c-amber" & more', unknown: false });
  const said = await press(GROUP, "Retry");
  assert.match(said, /1 person is looked at again\./, "the first one was asked for already");
  assert.equal((await ledger.record(second))!.gen, 2);
});

test("a cluster's page pauses it after a word about removals, says so, and then offers to resume it", async () => {
  assert.match(await page(CLUSTER, olga), /<details class="ask"><summary>Pause this cluster<\/summary><p>.*Removals of access wait, too:/s);
  assert.match(await press(CLUSTER, "Pause"), /It is paused/);
  assert.equal((await ledger.pausedAt("c-amber"))!.by, "olga");
  assert.match(await page("/", piet), /paused by olga since/);
  for (const path of [CLUSTER, SUBJECT]) assert.match(await page(path, piet), /c-amber is paused by olga for/, path);
  assert.match(await press(CLUSTER, "Resume this cluster"), /It is worked on again/);
  assert.equal(await ledger.pausedAt("c-amber"), undefined);
  assert.doesNotMatch(await page(SUBJECT, piet), /is paused/);
});

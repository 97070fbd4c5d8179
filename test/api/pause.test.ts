// A person pauses a cluster on the dashboard: workers leave it alone, the other goes on, and all that happened meanwhile is done once it is resumed.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openStore } from "../../shared/run/redis.ts";
import { ACTIONS } from "../../workers/dashboard/forms.ts";
import { PASSWORD, USERS, basic, send, tokenOf } from "../support/dashboard.ts";
import { callsDuring, metricOf, settledAfter } from "../support/evidence.ts";
import type { Process } from "../support/house.ts";
import { House } from "../support/house.ts";
import { assertActsAsExactly, assertGone, writesOf } from "../support/impersonator.ts";
import { waitUntil } from "../support/wait-until.ts";

const PAUSED = "c-one";
const OTHER = "c-two";
const DEADLINE = { deadlineMs: 60_000 };
let house: House;
before(async () => (house = await House.open({ clusters: [PAUSED, OTHER], workers: 2, management: false })));
after(() => house?.[Symbol.asyncDispose]());

const logIn = (user: string, cluster: string, groups: string[] = []) =>
  settledAfter(house, { clusters: [cluster], user }, () => house.login(user, cluster, { groups }));
const tell = (user: string, cluster: string, groups: string[] = []) => house.hook("POST", "/v1/logins", { user, cluster, provider: "github", groups });
const startDashboard = () => house.start("dashboard", { UNDERSTUDY_DASHBOARD_USERS: USERS, UNDERSTUDY_DASHBOARD_WRITE: "olga" });

async function post(dashboard: Process, action: "pause" | "resume"): Promise<void> {
  await using store = await openStore(house.redis.url, "understudy", 5_000, () => undefined);
  const fields = { cluster: PAUSED, csrf: await tokenOf("olga", store) };
  const { status, text } = await send(dashboard.started["dashboard"]!, ACTIONS[action], fields, basic("olga", PASSWORD));
  assert.equal(status, 303, text);
}
/** Some worker had this subject's job in hand and gave it back because of the pause. */
const givenBack = (user: string, by: () => readonly Process[] = () => house.workers) =>
  waitUntil(
    `${user} was given back`,
    () =>
      by().some(({ lines }) =>
        lines.some((line) => line["msg"] === "subject handed back" && line["user"] === user && String(line["reason"]).includes("is paused by olga")),
      ),
    DEADLINE,
  );
async function reasons(): Promise<Record<string, string>> {
  const { stdout } = await house.command(["status", "--output", "json"]);
  return Object.fromEntries(
    (JSON.parse(stdout) as { clusters: { cluster: string; reason: string }[] }).clusters.map(({ cluster, reason }) => [cluster, reason]),
  );
}

test("a paused cluster is left alone, removals too, the other goes on, no attempt is used, a restart changes nothing, and a resume makes it all good", async (t) => {
  const first = await startDashboard();
  await Promise.all([logIn("u-changed", PAUSED), logIn("u-leaver", PAUSED), logIn("u-elsewhere", OTHER)]);
  await post(first, "pause");
  const calls = await callsDuring(house.cluster(PAUSED), async () => {
    await tell("u-changed", PAUSED, ["developers"]);
    await tell("u-new", PAUSED);
    await house.hook("DELETE", `/v1/logins/u-leaver?cluster=${PAUSED}`);
    await Promise.all(["u-changed", "u-new", "u-leaver"].map((user) => givenBack(user)));
    await logIn("u-elsewhere", OTHER, ["developers"]);
    await logIn("u-other", OTHER);
    await Promise.all([first, ...house.workers].map((process) => process.stop()));
    const anew = await house.start("worker");
    assert.equal((await house.command(["enqueue", "--cluster", PAUSED, "--user", "u-new"])).code, 0);
    await givenBack("u-new", () => [anew]);
  });
  assert.deepEqual(writesOf(calls), []);
  for (const user of ["u-elsewhere", "u-other"])
    await assertActsAsExactly(house.cluster(OTHER), { user, ...(user === "u-elsewhere" ? { groups: ["developers"] } : {}) });
  const told = await reasons();
  assert.match(told[PAUSED]!, /^paused by olga since \d{4}-/);
  assert.equal(told[OTHER], "");
  await assertActsAsExactly(house.cluster(PAUSED), { user: "u-leaver" });
  await assertGone(house.cluster(PAUSED), "u-new");
  assert.equal(await metricOf(house.workers, "understudy_passes_total", { result: "retry" }), 0);

  const second = await startDashboard();
  const began = performance.now();
  await post(second, "resume");
  await Promise.all([
    house.waitFor(PAUSED, "u-changed", "ready", { ...DEADLINE, generation: 2 }),
    house.waitFor(PAUSED, "u-new", "ready", DEADLINE),
    house.waitFor(PAUSED, "u-leaver", "removed", DEADLINE),
  ]);
  t.diagnostic(`all caught up ${Math.round(performance.now() - began)} ms after the resume`);
  await assertActsAsExactly(house.cluster(PAUSED), { user: "u-changed", groups: ["developers"] });
  await assertActsAsExactly(house.cluster(PAUSED), { user: "u-new" });
  await assertGone(house.cluster(PAUSED), "u-leaver");
  assert.equal((await reasons())[PAUSED], "");
});

// The login hook while Redis is away or knows nothing: a proxy hears of it in time, and what it then sends again counts as if it had come for the first time.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Redis } from "ioredis";
import { settledAfter } from "../support/evidence.ts";
import { HOOK_SECRET, type House } from "../support/house.ts";
import { assertActsAsExactly } from "../support/impersonator.ts";
import { putCrtb, putUser } from "../support/rancher-objects.ts";
import { signed } from "../support/signed.ts";
import { type TrappedHouse, openTrappedHouse } from "../support/traps.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
/** The contract of the hook. */
let trapped: TrappedHouse;
let house: House;
before(async () => {
  trapped = await openTrappedHouse({ clusters: [CLUSTER], workers: 1 });
  house = trapped.house;
});
after(async () => {
  await house?.redis.kill("SIGCONT");
  await trapped?.[Symbol.asyncDispose]();
});

type Answered = Awaited<ReturnType<House["hook"]>>;
const loginOf = (user: string, group: string): string => JSON.stringify({ user, cluster: CLUSTER, provider: "github", groups: [`github_team://${group}`] });
const post = (text: string, id: string, query = ""): Promise<Answered> => house.hook("POST", `/v1/logins${query}`, text, signed(HOOK_SECRET, text, { id }));

/** A problem that says when to come again. */
function assertAway({ status, body, headers }: Answered, detail: RegExp, retryAfter: string): void {
  assert.equal(status, 503, JSON.stringify(body));
  assert.match(headers.get("content-type") ?? "", /^application\/problem\+json/);
  assert.equal(headers.get("retry-after"), retryAfter);
  assert.match(String(body["detail"]), detail);
}

/** Every request of the hook is answered 503 while Redis is still away, alone and all at once. Returns how long the slowest took (ms). */
async function assertAllAway(user: string, id: string): Promise<number> {
  const requests: readonly (() => Promise<Answered>)[] = [
    () => post(loginOf(user, "during"), id),
    () => post(loginOf(user, "during"), `${id}-held`, "?wait=5"),
    () => house.hook("POST", "/v1/logins", loginOf(user, "during")),
    () => house.hook("GET", `/v1/subjects/${CLUSTER}/${user}`),
    () => house.hook("DELETE", `/v1/logins/${user}`),
    () => house.hook("DELETE", `/v1/logins/${user}/other`),
  ];
  const took: number[] = [];
  const timed = async (ask: () => Promise<Answered>): Promise<void> => {
    const began = performance.now();
    const answer = await ask();
    took.push(performance.now() - began);
    assertAway(answer, /ledger does not answer; nothing is lost if you send it again/, "2");
  };
  for (const ask of requests) await timed(ask);
  await Promise.all(requests.map(timed));
  return Math.round(Math.max(...took));
}

async function boundUser(user: string): Promise<void> {
  await putUser(house.management!, user);
  await settledAfter(house, { clusters: [CLUSTER], user }, () => putCrtb(house.management!, CLUSTER, user, { userName: user }));
}
/** Sends the login that was answered 503 again, under its id, until it is answered ready. */
async function again(user: string, id: string): Promise<void> {
  const text = loginOf(user, "during");
  await waitUntil("the login is answered ready", async () => (await post(text, id, "?wait=5")).status === 200, { deadlineMs: 60_000 });
  await assertActsAsExactly(house.cluster(CLUSTER), { user, groups: ["github_team://during"] });
}

test("while Redis is stopped and answers nothing every request is answered 503, and the same login counts when it comes again", async (t) => {
  const user = "u-stopped";
  await boundUser(user);
  await house.redis.kill("SIGSTOP");
  try {
    t.diagnostic(`the slowest after ${await assertAllAway(user, "stopped-1")} ms`);
  } finally {
    await house.redis.kill("SIGCONT");
  }
  // The commands that were given up lie in Redis' socket, and are carried out now.
  await again(user, "stopped-1");
});

test("while Redis is dead every request is answered 503, and the same login counts when a new one is there", async (t) => {
  const user = "u-killed";
  await boundUser(user);
  await house.redis.kill("SIGKILL");
  t.diagnostic(`the slowest after ${await assertAllAway(user, "killed-1")} ms`);
  await house.redis.restart();
  await again(user, "killed-1");
});

test("while the import mark is missing every login is 503 with a second to wait, never ready and never 403, and counts when it comes again", async () => {
  const user = "u-marked";
  await boundUser(user);
  const { management } = trapped;
  management!.giveAll(() => ({ answer: 500 }));
  management!.proxy.cut();
  const redis = new Redis(house.redis.socket);
  await redis.flushall();
  redis.disconnect();
  for (const name of [user, "u-nobody", user]) assertAway(await post(loginOf(name, "during"), `marked-${name}`, "?wait=5"), /import does not stand yet/, "1");
  const { status, body } = await house.hook("GET", `/v1/subjects/${CLUSTER}/${user}`);
  assert.ok(status === 404 || body["state"] !== "ready", JSON.stringify(body));
  management!.giveAll(undefined);
  await again(user, `marked-${user}`);
});

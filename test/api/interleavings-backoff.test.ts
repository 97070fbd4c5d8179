// Backoff against news: a cluster that fails is spared, and yet a new fact never waits longer than five seconds, whatever moment it comes at.
// Workers reach Redis through a proxy, which holds an answer at the moment between a script and the move of its job.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Store, openStore } from "../../shared/run/redis.ts";
import { assertActsAsExactly, objectsOf } from "../support/impersonator.ts";
import { putAttribute, putCrtb, putUser } from "../support/rancher-objects.ts";
import { type RedisProxy, hasWords, startRedisProxy } from "../support/redis-proxy.ts";
import { SEALED_BY, logIn, settledAs, told, writesBy } from "../support/scenes.ts";
import { type Passed, type TrappedHouse, openTrappedHouse } from "../support/traps.ts";
import { waitUntil } from "../support/wait-until.ts";

const C = "c-one";
/** The cluster that fails. */
const F = "c-two";
const FLOOR_MS = 5_000;
/** For a job to be fetched and a call to be made on a busy machine. */
const SLACK_MS = 1_500;
const TAG = "{understudy:0}";
let trapped: TrappedHouse;
let redis: RedisProxy;
let store: Store;

const bound = async (user: string, cluster = C): Promise<void> => {
  await putUser(trapped.house.management!, user);
  await putCrtb(trapped.house.management!, cluster, user, { userName: user });
};
const renamed = (user: string, displayName: string): Promise<void> => putUser(trapped.house.management!, user, { displayName });
const isRight = (user: string, username: string, cluster = C): Promise<void> =>
  assertActsAsExactly(trapped.house.cluster(cluster), { user, extras: { principalid: [`local://${user}`], username: [username] } });
const failedRow = (user: string) => waitUntil(`${user} has failed`, async () => (await trapped.house.row(C, user))?.state === "failed");
/** When the user's attempts were begun; each begins with this call where nothing is known yet. */
const beginnings = (calls: readonly Passed[]): number[] => calls.filter(({ call }) => call === "GET ClusterRoleBinding").map(({ at }) => at);
const triesOf = (user: string): number => beginnings(trapped.at(C).of(user)).length;

async function failingCluster(): Promise<void> {
  const { house } = trapped;
  const user = "u-q12";
  const others = Array.from({ length: 8 }, (_, n) => `u-q12-${n}`);
  const traps = trapped.at(F);
  traps.giveAll(() => ({ answer: 500 }));
  await Promise.all([user, ...others].map((one) => bound(one, F)));
  for (let second = 0; second < 30; second += 1) {
    const groups = [`github_org://${second}`];
    await Promise.all([second % 2 ? putAttribute(house.management!, user, { groups: { github: groups } }) : logIn(house, user, F, groups), sleep(1_000)]);
  }
  // Who finds out whether the cluster is back is whoever comes first, so that it need not be the user with the news.
  const tries = beginnings(traps.of(user)).length + others.flatMap((one) => beginnings(traps.of(one))).length;
  assert.ok(tries > 1 + others.length, `${tries} tries in all`);
  for (const one of [user, ...others]) {
    const at = beginnings(traps.of(one));
    assert.ok(at.length >= 1, `${one} was never tried`);
    for (const [n, time] of at.slice(1).entries()) assert.ok(time - at[n]! > FLOOR_MS - 50, `${one} was tried again after ${time - at[n]!} ms`);
  }
  assert.deepEqual(
    (await Promise.all(Object.values(store.queues).map((queue) => queue.getJobs(["failed"])))).flat().filter(({ data }) => data.cluster === F),
    [],
  );
  traps.giveAll(undefined);
  const back = performance.now();
  await logIn(house, user, F, ["github_org://back"]);
  const waited = await waitUntil("the next attempt", () => beginnings(traps.of(user)).find((at) => at > back));
  assert.ok(waited - back < FLOOR_MS + SLACK_MS, `tried ${waited - back} ms after the news`);
  await settledAs(house, F, user, "ready");
  await assertActsAsExactly(house.cluster(F), { user, groups: ["github_org://back"] });
  await Promise.all(others.map((one) => settledAs(house, F, one, "ready")));
  await Promise.all(others.map((one) => isRight(one, one, F)));
}

/** The job moves to delayed for an hour; the fact came after that hour was decided, and before the move. */
async function newsBeforeLongWait(): Promise<void> {
  const { house } = trapped;
  const user = "u-q19-wait";
  const name = `${C}/${user}`;
  trapped.at(C).give(user, "POST ClusterRole", () => ({ answer: 422 }), 1);
  await bound(user);
  await failedRow(user);
  const take = redis.hold("answer", hasWords(`${TAG}:rec:${name}`, `${TAG}:due`, `${TAG}:era`, "15000"));
  await store.ledger.wake({ cluster: C, user }, "filled", "binding");
  await take.caught();
  await told(house, C, user, () => renamed(user, "news"));
  await waitUntil("the job of the news is kept for later", () => store.redis.exists(store.queues.binding.toKey(`dn:${name}`)));
  const tries = triesOf(user);
  take.release();
  const began = performance.now();
  await waitUntil("it is tried again", () => triesOf(user) > tries, { deadlineMs: 30_000 });
  assert.ok(performance.now() - began < FLOOR_MS + SLACK_MS, `tried ${performance.now() - began} ms after the move`);
  await settledAs(house, C, user, "ready");
  await isRight(user, "news");
}

/** The same between a failure and the move that it leads to, when the backoff has grown. */
async function newsBeforeBackoff(): Promise<void> {
  const { house } = trapped;
  const user = "u-q19-fail";
  const name = `${C}/${user}`;
  const end = trapped.at(C).give(user, "POST ClusterRole", () => ({ answer: 500 }));
  await bound(user);
  await waitUntil("it has failed three times", async () => (await house.row(C, user))?.reason.startsWith("tried 3 times"), { deadlineMs: 40_000 });
  const fail = redis.hold("answer", hasWords(`${TAG}:rec:${name}`, `${TAG}:due`, "fail"));
  await fail.caught(20_000);
  await told(house, C, user, () => renamed(user, "news"));
  await waitUntil("the job of the news is kept for later", () => store.redis.exists(store.queues.binding.toKey(`dn:${name}`)));
  const posts = (): number =>
    trapped
      .at(C)
      .of(user)
      .filter(({ call }) => call === "POST ClusterRole").length;
  const tries = posts();
  end();
  fail.release();
  const began = performance.now();
  await waitUntil("it is tried again", () => posts() > tries, { deadlineMs: 30_000 });
  assert.ok(performance.now() - began < FLOOR_MS + SLACK_MS, `tried ${performance.now() - began} ms after the failure`);
  await settledAs(house, C, user, "ready");
  await isRight(user, "news");
}

async function lateWrite(): Promise<void> {
  const { house } = trapped;
  const user = "u-q23";
  const server = house.cluster(C);
  await bound(user);
  await logIn(house, user, C, ["github_org://1"]);
  await settledAs(house, C, user, "ready");
  const put = trapped.at(C).hold(user, "PUT ClusterRole");
  await logIn(house, user, C, ["github_org://1", "github_org://2"]);
  const agent = await put.caught();
  await waitUntil("its answer is given up", async () => (await house.row(C, user))?.reason.startsWith("tried 1 times"));
  await told(house, C, user, () => logIn(house, user, C, ["github_org://1"]));
  await settledAs(house, C, user, "ready");
  assert.ok((await objectsOf(server, user)).role.metadata.annotations[SEALED_BY]);
  put.release();
  await waitUntil("it lands", async () => (await writesBy(server, user, agent)).includes("update clusterroles 409"));
  await assertActsAsExactly(server, { user, groups: ["github_org://1"] });
}

describe("backoff and news", { concurrency: true, timeout: 180_000 }, () => {
  before(async () => {
    trapped = await openTrappedHouse({ clusters: [C, F], workers: 0 });
    const { house } = trapped;
    redis = await startRedisProxy(house.redis);
    store = await openStore(house.redis.url, "understudy", 5_000, () => undefined);
    await Promise.all([1, 2, 3].map(() => house.start("worker", { UNDERSTUDY_REDIS_URL: redis.url })));
  });
  after(async () => {
    await store[Symbol.asyncDispose]();
    await trapped[Symbol.asyncDispose]();
    await redis[Symbol.asyncDispose]();
  });

  test(
    "Q12 a cluster that fails is tried once in five seconds for each subject, however much is told; once it is back, news comes through at once",
    failingCluster,
  );
  test("Q19 a fact that comes while a job is on its way to a long wait is worked on within five seconds", newsBeforeLongWait);
  test("Q19 a fact that comes while a failed job is on its way to its backoff is worked on within five seconds", newsBeforeBackoff);
  test("Q23 a PUT that timed out and lands after a newer fact was settled changes nothing", lateWrite);
});

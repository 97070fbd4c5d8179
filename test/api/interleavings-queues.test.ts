// What queues and processes do to a job, against the promise that one subject has one owner and that no wake-up is lost: retry buttons, lost job hashes,
// conflicts, workers that are told to stop.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Job } from "bullmq";
import { type Store, openStore } from "../../shared/run/redis.ts";
import type { ApiServer } from "../apiserver/start.ts";
import { assertOneAtATime, callsOf, writesIn } from "../support/audit.ts";
import { assertActsAsExactly, assertGone } from "../support/impersonator.ts";
import { deleteCrtb, putCrtb, putUser } from "../support/rancher-objects.ts";
import { TAKE_OVER_MS, handedBack, logIn, onlySecretOf, settledAs, told } from "../support/scenes.ts";
import { type TrappedHouse, openTrappedHouse, processOf } from "../support/traps.ts";
import { waitUntil } from "../support/wait-until.ts";

const C = "c-one";
/** Before the sweep would look, which wakes what was forgotten for a minute. */
const BEFORE_SWEEP_MS = 40_000;
let trapped: TrappedHouse;
let server: ApiServer;
let store: Store;

const bound = async (user: string): Promise<void> => {
  await putUser(trapped.house.management!, user);
  await putCrtb(trapped.house.management!, C, user, { userName: user });
};
const isRight = async (user: string, username = user): Promise<void> => {
  await assertActsAsExactly(server, { user, extras: { principalid: [`local://${user}`], username: [username] } });
  await onlySecretOf(server, user);
};
/** The job that the user's binding has led to, in one of these states: of the User's, where that was told last. */
const jobOf = async (user: string, ...states: ("delayed" | "failed" | "completed" | "active")[]): Promise<Job | undefined> =>
  (await store.queues.binding.getJobs(states)).find((job) => job?.name === `${C}/${user}` && ["binding", "facts"].includes(job.data.cause));

async function retryButton(): Promise<void> {
  const user = "u-q7";
  const { house } = trapped;
  const traps = trapped.at(C);
  traps.give(user, "POST ClusterRole", () => ({ answer: 422 }), 1);
  await bound(user);
  await settledFailed(user);
  const failed = await waitUntil("its job has failed", () => jobOf(user, "failed"));
  const trap = traps.hold(user, "POST ClusterRole");
  await told(house, C, user, () => putUser(house.management!, user, { displayName: "second" }));
  await trap.caught();
  const callsBefore = traps.of(user).length;
  await failed.retry("failed");
  await handedBack(house, user, "busy", 2);
  await told(house, C, user, () => putUser(house.management!, user, { displayName: "third" }));
  await store.queues.binding.retryJobs({ state: "completed" });
  await handedBack(house, user, "busy", 2);
  assert.equal(traps.of(user).length, callsBefore, "nobody else calls for this user");
  trap.release();
  await settledAs(house, C, user, "ready", BEFORE_SWEEP_MS);
  await isRight(user, "third");
  const calls = (await callsOf(server, [user])).get(user)!;
  assertOneAtATime(calls);
  assert.equal(writesIn(calls).filter((write) => write === "create secrets").length, 1);
}

/** `failed` is observed without being settled. */
const settledFailed = (user: string) => waitUntil(`${user} has failed`, async () => (await trapped.house.row(C, user))?.state === "failed");

async function conflicts(): Promise<void> {
  const user = "u-q13";
  const traps = trapped.at(C);
  traps.give(user, "POST ClusterRole", () => ({ answer: 409 }), 20);
  await bound(user);
  const attempts: number[] = [];
  await waitUntil(
    "twenty conflicts were met",
    async () => {
      const job = await jobOf(user, "delayed", "active");
      if (job) attempts.push(job.attemptsMade);
      return traps.of(user).filter(({ call }) => call === "POST ClusterRole").length >= 20;
    },
    { deadlineMs: BEFORE_SWEEP_MS },
  );
  assert.deepEqual([...new Set(attempts)], [0]);
  await settledAs(trapped.house, C, user, "ready", BEFORE_SWEEP_MS);
  await waitUntil("its job is complete, which was handed back each time", async () => {
    const jobs = await store.queues.binding.getJobs(["completed"]);
    return jobs.some((job) => job?.name === `${C}/${user}` && job.attemptsStarted >= 5);
  });
  await isRight(user);
}

async function lostHash(): Promise<void> {
  const user = "u-q15";
  const { binding } = store.queues;
  trapped.at(C).give(user, "POST ClusterRole", () => ({ answer: 500 }), 1);
  await bound(user);
  const { id = "" } = await waitUntil("its job waits for the next try", () => jobOf(user, "delayed"));
  await store.redis.del(binding.toKey(id));
  assert.equal(await store.redis.get(binding.toKey(`de:${C}/${user}`)), id, "the deduplication still names it");
  await told(trapped.house, C, user, () => putUser(trapped.house.management!, user, { displayName: "again" }));
  await settledAs(trapped.house, C, user, "ready", BEFORE_SWEEP_MS);
  await isRight(user, "again");
}

/** The write that completes is never sent on an older reading. */
async function checkedBeforeBinding(): Promise<void> {
  const user = "u-check";
  const trap = trapped.at(C).hold(user, "POST Secret");
  await bound(user);
  await trap.caught();
  await deleteCrtb(trapped.house.management!, C, user);
  await waitUntil("the ledger knows it", async () => (await store.ledger.record({ cluster: C, user }))!.grants.length === 0);
  trap.release();
  await settledAs(trapped.house, C, user, "removed", BEFORE_SWEEP_MS);
  await assertGone(server, user);
  assert.ok(!writesIn((await callsOf(server, [user])).get(user)!).includes("create clusterrolebindings"));
}

/** One after the other: a second signal would end a process at once. */
async function toldToStop(): Promise<void> {
  const { house } = trapped;
  const traps = trapped.at(C);
  // It works: it finishes.
  const working = traps.hold("u-q14-works", "POST ServiceAccount");
  await bound("u-q14-works");
  const worker = processOf(house, await working.caught());
  const stopped = worker.stop("SIGTERM");
  await waitUntil("it has heard", () => worker.lines.some(({ msg }) => msg === "process stopping"));
  working.release();
  assert.equal(await stopped, 0);
  await settledAs(house, C, "u-q14-works", "ready", BEFORE_SWEEP_MS);
  await isRight("u-q14-works");
  // It parks a job whose subject is another's: the job stays, and others go on.
  const other = traps.hold("u-q14-parks", "POST ServiceAccount");
  await bound("u-q14-parks");
  const owner = processOf(house, await other.caught());
  await logIn(house, "u-q14-parks", C);
  const parker = await waitUntil("another one parks", () => house.workers.find((one) => one !== owner && parksOf(one.lines, "u-q14-parks") > 0));
  assert.equal(await parker.stop("SIGTERM"), 0);
  other.release();
  await settledAs(house, C, "u-q14-parks", "ready", BEFORE_SWEEP_MS);
  await isRight("u-q14-parks");
}
const parksOf = (lines: readonly Record<string, unknown>[], user: string): number =>
  lines.filter((line) => line["reason"] === "busy" && line["user"] === user).length;

/** Its API server is so slow that the work does not end in time: it is handed back. */
async function toldToStopOverdue(): Promise<void> {
  const user = "u-q14-slow";
  const { house } = trapped;
  let slow = "";
  const done = trapped.at(C).give(user, undefined, ({ userAgent }) => {
    slow ||= userAgent;
    return userAgent === slow ? { hold: sleep(9_000) } : undefined;
  });
  await bound(user);
  await waitUntil("a worker has begun", () => slow !== "");
  const began = performance.now();
  const worker = processOf(house, slow);
  assert.equal(await worker.stop("SIGTERM"), 0);
  const ms = performance.now() - began;
  assert.ok(ms < 30_000, `stopped after ${ms} ms`);
  assert.ok(worker.lines.some(({ msg }) => msg === "stop took too long; work was handed back"));
  await settledAs(house, C, user, "ready", TAKE_OVER_MS);
  await isRight(user);
  done();
}

describe("queues and processes", { concurrency: true, timeout: 240_000 }, () => {
  before(async () => {
    trapped = await openTrappedHouse({ clusters: [C], workers: 5 });
    server = trapped.house.cluster(C);
    store = await openStore(trapped.house.redis.url, "understudy", 5_000, () => undefined);
  });
  after(async () => {
    await store[Symbol.asyncDispose]();
    await trapped[Symbol.asyncDispose]();
  });

  test("Q7 a retry button beside a running job of the same subject: one owner at a time", retryButton);
  test("Q13 twenty conflicts in a row use no attempt", conflicts);
  test("Q15 a job whose hash was lost does not keep the next one away", lostHash);
  test("a removal that is told before the binding is written: it is not written", checkedBeforeBinding);
  test("Q14 a worker told to stop finishes what it works on, and leaves what it parks to others", async () => {
    await toldToStop();
    await toldToStopOverdue();
  });
});

// SIGKILL of a worker at every call of set-up, change and removal: before the call reaches the API server, and after it was done but not heard of.
// All of it at once: two workers have a call of each scene in hand when both are killed; two others find what is left.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { LOCK_MS } from "../../shared/ledger/ledger.ts";
import { tagOf } from "../../shared/run/redis.ts";
import type { ApiServer } from "../apiserver/start.ts";
import { callsOf, writesIn } from "../support/audit.ts";
import { actAs, assertActsAsExactly, assertGone, tokenOf } from "../support/impersonator.ts";
import { deleteCrtb, putCrtb, putUser } from "../support/rancher-objects.ts";
import { TAKE_OVER_MS, landed, logIn, onlySecretOf, settledAs, told } from "../support/scenes.ts";
import { Together } from "../support/together.ts";
import { type CallName, type Trap, type TrappedHouse, openTrappedHouse, processOf } from "../support/traps.ts";
import { waitUntil } from "../support/wait-until.ts";

const C = "c-one";
/** Where removals are: its garbage collector rests meanwhile, so that nobody else clears up. */
const R = "c-two";
const SET_UP = [
  "GET ClusterRoleBinding",
  "POST ClusterRole",
  "POST ServiceAccount",
  "POST Secret",
  "POST ClusterRoleBinding",
  "GET Secret",
  "POST Review",
] as const;
const REMOVAL = ["DELETE ClusterRole", "DELETE ClusterRoleBinding", "DELETE Secret", "DELETE ServiceAccount"] as const;
const CHANGE = ["PUT ClusterRole", "POST Review"] as const;

let trapped: TrappedHouse;
let server: ApiServer;
let killedAt = 0;
const together = new Together();
const scenes: [name: string, act: () => Promise<void>][] = [];
const scene = (name: string, act: () => Promise<void>): void => void scenes.push([name, act]);

const arranged = (): Promise<void> => together.step("arranged", () => trapped.house.cluster(R).pauseControllerManager());
/** Every scene has its call held; then all workers are killed, and two others start. Returns who had sent the call. */
const killed = async (trap: Trap): Promise<string> => {
  const agent = await trap.caught();
  await together.step("killed", async () => {
    const victims = trapped.house.workers;
    assert.ok(victims.includes(processOf(trapped.house, agent)));
    await Promise.all(victims.map((victim) => victim.stop("SIGKILL")));
    killedAt = performance.now();
    await Promise.all([trapped.house.start("worker"), trapped.house.start("worker")]);
  });
  return agent;
};
/** All scenes but one are over. */
const righted = (): Promise<void> => together.step("righted");
const bound = async (user: string, cluster = C): Promise<void> => {
  await putUser(trapped.house.management!, user);
  await putCrtb(trapped.house.management!, cluster, user, { userName: user });
};
const isRight = async (user: string, groups?: readonly string[]): Promise<void> => {
  const extras = { principalid: [`local://${user}`], username: [user] };
  await assertActsAsExactly(server, { user, ...(groups ? { groups } : { extras }) });
  await onlySecretOf(server, user);
};

for (const when of ["before", "after"] as const) {
  for (const [n, call] of SET_UP.entries()) {
    scene(`in a set-up, ${when} ${call}: others finish it`, async () => {
      const user = `u-set-up-${n}-${when}`;
      const trap = trapped.at(C).hold(user, call, when);
      await arranged();
      await bound(user);
      const dead = await killed(trap);
      await settledAs(trapped.house, C, user, "ready");
      await isRight(user);
      const calls = (await callsOf(server, [user])).get(user)!;
      assert.equal(writesIn(calls).filter((write) => write === "create secrets").length, 1, "one Secret ever");
      if (when === "before") await assertLateIsHarmless({ user, agent: dead, call }, trap);
      trap.release();
      await righted();
    });
  }
  for (const [n, call] of REMOVAL.entries()) {
    scene(`in a removal, ${when} ${call}: others finish it`, async () => {
      const user = `u-removal-${n}-${when}`;
      const other = trapped.house.cluster(R);
      await bound(user, R);
      await settledAs(trapped.house, R, user, "ready");
      const token = await tokenOf(other, user);
      await arranged();
      const trap = trapped.at(R).hold(user, call, when);
      await deleteCrtb(trapped.house.management!, R, user);
      const dead = await killed(trap);
      await settledAs(trapped.house, R, user, "removed");
      await assertGone(other, user);
      if (when === "before") assert.equal((await landed(other, { user, agent: dead, call }, trap)).code, 404);
      trap.release();
      await assertGone(other, user);
      assert.notEqual((await actAs(other, token, { user })).status, 201);
      await righted();
    });
  }
  for (const [n, call] of CHANGE.entries()) {
    scene(`in a change, ${when} ${call}: others finish it`, async () => {
      const user = `u-change-${n}-${when}`;
      await bound(user);
      await logIn(trapped.house, user, C, ["github_org://old"]);
      await settledAs(trapped.house, C, user, "ready");
      await isRight(user, ["github_org://old"]);
      await arranged();
      const trap = trapped.at(C).hold(user, call, when);
      await logIn(trapped.house, user, C, ["github_org://new"]);
      const dead = await killed(trap);
      await settledAs(trapped.house, C, user, "ready");
      await isRight(user, ["github_org://new"]);
      if (when === "before" && call === "PUT ClusterRole") assert.equal((await landed(server, { user, agent: dead, call }, trap)).code, 409, "sealed");
      trap.release();
      await isRight(user, ["github_org://new"]);
      await righted();
    });
  }
}

scene("Q6 a job of another kind takes over as soon as the dead worker's lock expires", async () => {
  const user = "u-q6";
  const trap = trapped.at(C).hold(user, "POST ServiceAccount");
  await arranged();
  await bound(user);
  await killed(trap);
  await logIn(trapped.house, user, C);
  await settledAs(trapped.house, C, user, "ready");
  const next = trapped
    .at(C)
    .of(user)
    .find(({ at }) => at > killedAt)!;
  assert.ok(next.at - killedAt < LOCK_MS + 5_000, `taken over ${next.at - killedAt} ms after the kill`);
  await isRight(user);
  await righted();
});

scene("Q16 a job that stalls twice goes on a third time", async () => {
  const { house } = trapped;
  const user = "u-q16";
  const traps = trapped.at(C);
  const first = traps.hold(user, "POST ClusterRole");
  await arranged();
  await bound(user);
  await killed(first);
  // Conflicts keep the job where it is until the others are done.
  const end = traps.give(user, "POST ClusterRole", () => ({ answer: 409 }));
  await righted();
  const second = traps.hold(user, "POST ClusterRole");
  end();
  const agent = await second.caught(TAKE_OVER_MS);
  await processOf(house, agent).stop("SIGKILL");
  await settledAs(house, C, user, "ready");
  await isRight(user);
  await using stack = new AsyncDisposableStack();
  const redis = stack.adopt(new Redis(house.redis.socket, { maxRetriesPerRequest: null }), (client) => client.disconnect());
  const queue = stack.adopt(new Queue("binding", { connection: redis, prefix: tagOf("understudy") }), (opened) => opened.close());
  const name = `${C}/${user}`;
  await waitUntil(
    "no job of the subject is left",
    async () => (await queue.getJobs(["active", "waiting", "delayed", "prioritized"])).every((one) => one.name !== name),
    { deadlineMs: TAKE_OVER_MS },
  );
  const jobs = (await queue.getJobs(["completed", "failed"])).filter((one) => one.name === name);
  const stalls = jobs.map((one) => `${one.id}: ${one.failedReason ?? "completed"}, stalled ${one.stalledCounter}`);
  assert.ok(jobs.reduce((sum, one) => sum + one.stalledCounter, 0) >= 2, stalls.join("; "));
  assert.deepEqual(await queue.getJobs(["failed"]), []);
});

/** What the dead worker had sent lands when all is right, and all stays right. */
const assertLateIsHarmless = async (late: { user: string; agent: string; call: CallName }, trap: Trap): Promise<void> => {
  const { user, call } = late;
  if (!call.startsWith("POST") || call === "POST Review") return;
  const { code } = await landed(server, late, trap);
  if (call === "POST Secret") {
    // Its name is no longer the account's: whoever looks next removes it.
    assert.equal(code, 201);
    await told(trapped.house, C, user, async () => assert.equal((await trapped.house.command(["enqueue", "--cluster", C, "--user", user])).code, 0));
    await settledAs(trapped.house, C, user, "ready");
  } else {
    assert.equal(code, 409);
  }
  await isRight(user);
};

describe("a worker that is killed", { concurrency: true, timeout: 300_000 }, () => {
  before(async () => {
    trapped = await openTrappedHouse({ clusters: [C, R], workers: 2, settings: { UNDERSTUDY_CONCURRENCY: "64" } });
    server = trapped.house.cluster(C);
  });
  after(() => trapped[Symbol.asyncDispose]());
  for (const [name, act] of scenes) test(name, together.taking(act));
});

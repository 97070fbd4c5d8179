// SIGTERM ends every process with 0 within half a minute: idle, at work, with people waiting on its listeners, with a Redis or a cluster that is away. Nothing of it stays behind.
import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { type Socket, connect } from "node:net";
import { after, before, test } from "node:test";
import { HOOK_SECRET, type House, type Process } from "../support/house.ts";
import { assertActsAsExactly } from "../support/impersonator.ts";
import { putCrtb, putUser } from "../support/rancher-objects.ts";
import { type TrappedHouse, openTrappedHouse, processOf } from "../support/traps.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const STOP_MS = 30_000;
/** Stopping without anything to wait for, on a busy machine. */
const SOON_MS = 10_000;
const TAKE_OVER = { deadlineMs: 90_000 };
let trapped: TrappedHouse;
let house: House;
before(async () => {
  trapped = await openTrappedHouse({ clusters: [CLUSTER], workers: 2 });
  house = trapped.house;
});
after(async () => {
  await house?.redis.kill("SIGCONT").catch(() => undefined);
  await trapped?.[Symbol.asyncDispose]();
});

const who = (user: string) => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });
async function bind(user: string): Promise<void> {
  await putUser(house.management!, user);
  await putCrtb(house.management!, CLUSTER, user, { userName: user });
}
/** Stops it, and returns after how long it had ended (ms). */
async function stops(process: Process, maxMs = STOP_MS): Promise<number> {
  const began = performance.now();
  const code = await process.stop("SIGTERM");
  const tookMs = Math.round(performance.now() - began);
  const said = (): string => JSON.stringify(process.lines.slice(-3).map(({ msg, text, err }) => msg ?? text ?? err));
  assert.equal(code, 0, `${process.name} ended with ${code ?? process.child.signalCode} after ${tookMs} ms: ${said()}`);
  assert.ok(tookMs < maxMs, `${process.name} ended after ${tookMs} ms: ${said()}`);
  // What it said last may still be on its way to us.
  await waitUntil(`${process.name} has said that it stopped`, () => process.lines.at(-1)?.["msg"] === "process stopped");
  return tookMs;
}
/** Processes of this house that run although nobody stopped them: none may be anybody's child that was forgotten. */
async function leftovers(): Promise<string[]> {
  const known = new Set(house.processes.filter(({ child }) => child.exitCode === null && child.signalCode === null).map(({ child }) => String(child.pid)));
  const found = await Promise.all(
    (await readdir("/proc"))
      .filter((pid) => /^\d+$/.test(pid) && !known.has(pid))
      .map(async (pid) => {
        const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
        return environment.includes(`UNDERSTUDY_REDIS_URL=${house.redis.url}`) ? [await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => pid)] : [];
      }),
  );
  return found.flat();
}
/** A connection on which nobody asks anything. */
async function idleConnection(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  return socket.on("error", () => undefined);
}
const trio = (): Promise<Process[]> => Promise.all((["producer", "worker", "dashboard"] as const).map((name) => house.start(name)));

test("idle processes stop soon, also with connections open on their listeners and a login that is being held", async (t) => {
  const [producer, worker, dashboard] = await trio();
  const server = house.cluster(CLUSTER);
  const urls = [producer!.started["hook"], producer!.started["ops"], worker!.started["ops"], dashboard!.started["dashboard"]];
  const sockets = await Promise.all(urls.map((url) => idleConnection(url!)));
  assert.ok((await fetch(`${dashboard!.started["dashboard"]}/queues`)).ok, "a kept connection stays open behind this");
  await waitUntil("the producer has its own import", async () => (await fetch(`${producer!.started["ops"]}/readyz`)).ok);
  server.pauseControllerManager();
  try {
    await bind("u-held");
    const body = JSON.stringify({ user: "u-held", cluster: CLUSTER, provider: "github" });
    const ask = (query: string) =>
      fetch(`${producer!.started["hook"]}/v1/logins${query}`, { method: "POST", body, headers: { authorization: `Bearer ${HOOK_SECRET}` } });
    const grantEnds = async (): Promise<string> => (await house.row(CLUSTER, "u-held"))!.loginEnds!;
    await waitUntil("the login counts", async () => (await ask("")).status === 202);
    const earlier = await grantEnds();
    const held = ask("?wait=5");
    await waitUntil("it is held", async () => (await grantEnds()) > earlier);
    const tookMs = await Promise.all([stops(producer!, SOON_MS), stops(worker!, SOON_MS), stops(dashboard!, SOON_MS)]);
    assert.ok([200, 202].includes((await held).status), "whoever waited was answered");
    t.diagnostic(`producer, worker, dashboard: ${tookMs.join(", ")} ms`);
  } finally {
    server.resumeControllerManager();
    for (const socket of sockets) socket.destroy();
  }
  assert.deepEqual(await leftovers(), []);
  await house.waitFor(CLUSTER, "u-held", "ready", TAKE_OVER);
});

test("a worker that is stopped among forty subjects finishes what it began, and the others do the rest", async (t) => {
  const users = Array.from({ length: 40 }, (_, i) => `u-many-${i}`);
  const third = await house.start("worker");
  const passes = (): number => third.lines.filter(({ msg }) => msg === "impersonator reconciled" || msg === "impersonator waits for its token").length;
  await Promise.all(users.map(bind));
  await waitUntil("it is at work", () => passes() > 0);
  t.diagnostic(`stopped after ${await stops(third)} ms and ${passes()} passes`);
  for (const user of users) await house.waitFor(CLUSTER, user, "ready", TAKE_OVER);
  await assertActsAsExactly(house.cluster(CLUSTER), who(users[39]!));
  assert.deepEqual(
    third.lines.filter(({ level }) => Number(level) >= 50),
    [],
    "a stop is no error",
  );
});

test("a second SIGTERM ends a stop that takes long at once, and what it leaves is taken over", async () => {
  const user = "u-twice";
  const held = trapped.at(CLUSTER).hold(user, "POST ServiceAccount", "after");
  await bind(user);
  const worker = processOf(house, await held.caught());
  const ended = worker.stop("SIGTERM");
  await waitUntil("it is stopping", () => worker.lines.some(({ msg }) => msg === "process stopping"));
  const began = performance.now();
  worker.child.kill("SIGTERM");
  assert.equal(await ended, 1, "not all was done");
  assert.ok(performance.now() - began < SOON_MS);
  held.release();
  await house.waitFor(CLUSTER, user, "ready", TAKE_OVER);
  await assertActsAsExactly(house.cluster(CLUSTER), who(user));
  assert.deepEqual(await leftovers(), []);
});

test("a producer whose management cluster is away, and a worker whose cluster is, stop like any other", async () => {
  const away = await house.start("producer");
  const worker = await house.start("worker");
  await waitUntil("it watches", () => away.lines.some(({ msg }) => msg === "sources imported"), TAKE_OVER);
  const all = [trapped.management!, trapped.at(CLUSTER)];
  for (const traps of all) {
    traps.giveAll(() => ({ hold: new Promise(() => undefined) }));
    traps.proxy.cut();
  }
  try {
    await waitUntil("the producer tries in vain", () => away.lines.some(({ msg }) => msg === "watch ended and is tried again"), TAKE_OVER);
    await Promise.all([stops(away), stops(worker)]);
  } finally {
    for (const traps of all) {
      traps.giveAll(undefined);
      traps.proxy.cut();
    }
  }
  assert.deepEqual(await leftovers(), []);
});

for (const signal of ["SIGSTOP", "SIGKILL"] as const) {
  test(`with a Redis that ${signal === "SIGKILL" ? "is dead" : "answers nothing"} they stop as well, because that is often when somebody restarts everything`, async (t) => {
    const users = [0, 1, 2].map((i) => `u-${signal.toLowerCase()}-${i}`);
    const processes = await trio();
    // One of them is at work: its call is held until Redis has gone.
    const held = users.map((user) => trapped.at(CLUSTER).hold(user, "POST ServiceAccount", "after"));
    await Promise.all(users.map(bind));
    await Promise.all(held.map((trap) => trap.caught()));
    await house.redis.kill(signal);
    for (const trap of held) trap.release();
    try {
      const tookMs = await Promise.all([...house.workers, ...processes.filter(({ name }) => name !== "worker")].map((process) => stops(process)));
      t.diagnostic(`${tookMs.join(", ")} ms`);
    } finally {
      if (signal === "SIGSTOP") await house.redis.kill("SIGCONT");
      else await house.redis.restart();
    }
    assert.deepEqual(await leftovers(), []);
    await house.start("worker");
    for (const user of users) {
      await house.waitFor(CLUSTER, user, "ready", TAKE_OVER);
      await assertActsAsExactly(house.cluster(CLUSTER), who(user));
    }
  });
}

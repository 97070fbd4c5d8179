// The gate of one cluster, on a clock that the test moves: how many at once, when it closes, and who finds out that the cluster is back.
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { QUEUES, WaitError } from "../../../shared/jobs.ts";
import { ApiError } from "../../../shared/kube/errors.ts";
import { Gate } from "../../../workers/gate.ts";

const CALL = { cluster: "c-one", method: "GET", path: "/api" };
const apiError = (status: number, reason = "Some"): ApiError => new ApiError(CALL, { status, reason });
const ms = { value: 0 };
// The gate measures on the monotonic clock, its circuit breaker on the other one.
mock.timers.enable({ apis: ["Date"] });
mock.method(performance, "now", () => ms.value);
beforeEach(() => {
  ms.value = 1_000;
  mock.timers.setTime(1_000);
});
function pass(time: number): void {
  ms.value += time;
  mock.timers.tick(time);
}

function aGate(atOnce = 2): { gate: Gate; states: string[]; fail: (error?: Error) => Promise<void>; answer: () => Promise<string> } {
  const states: string[] = [];
  const gate = new Gate("c-one", atOnce, ({ state, reason }) => void states.push(`${state} ${reason}`.trimEnd()));
  return {
    gate,
    states,
    fail: (error = apiError(0, "ECONNREFUSED")) =>
      assert.rejects(
        gate.calls(async () => {
          throw error;
        }),
        error,
      ),
    answer: () => gate.calls(async () => "answered"),
  };
}
async function closed(): Promise<ReturnType<typeof aGate>> {
  const made = aGate();
  for (let i = 0; i < 5; i++) await made.fail();
  return made;
}
/** How long it is told to wait, without anything having been done. */
async function waitOf(gate: Gate, queue: (typeof QUEUES)[number] = "binding"): Promise<number> {
  const error = await gate.pass(queue, () => assert.fail("it was let in")).catch((caught: unknown) => caught);
  assert.ok(error instanceof WaitError, String(error));
  return error.waitMs;
}
/** Work that goes on until the test ends it. */
function work(gate: Gate, queue: (typeof QUEUES)[number] = "binding"): { done: () => Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const passed = gate.pass(queue, () => promise);
  return { done: () => (resolve(), passed) };
}

for (const status of [0, 401, 500, 502, 503, 504]) {
  test(`five answers of ${status || "no kind at all"} in a row close the gate, because the next subjects would fare no better`, async () => {
    const { gate, fail } = aGate();
    for (let i = 0; i < 4; i++) await fail(apiError(status));
    assert.equal(gate.state, "open", "four may be chance");
    await fail(apiError(status));
    assert.equal(gate.state, "closed");
    assert.match(gate.reason, status === 0 ? /^no answer Some$/ : new RegExp(`^${status} Some$`));
  });
}

for (const error of [apiError(403), apiError(404), apiError(409), apiError(422), apiError(429), new WaitError("not now", 5), new Error("a bug of ours")]) {
  test(`${error.message}: that is an answer of one subject, and closes no gate for the others`, async () => {
    const { gate, fail, states } = aGate();
    for (let i = 0; i < 20; i++) await fail(error);
    assert.equal(gate.state, "open");
    assert.deepEqual(states, []);
  });
}

test("one answer in between begins the count again, because the cluster is there", async () => {
  const { gate, fail, answer } = aGate();
  for (let i = 0; i < 9; i++) {
    if (i % 5 === 4) assert.equal(await answer(), "answered");
    else await fail();
  }
  assert.equal(gate.state, "open");
});

test("while it is closed nothing is begun, and each is told the rest of the pause, whatever its queue", async () => {
  const { gate } = await closed();
  pass(1_500);
  for (const queue of QUEUES) assert.equal(await waitOf(gate, queue), 3_500);
  assert.equal(gate.state, "closed");
});

test("a run that was inside when it closed calls no more either", async () => {
  const { gate } = await closed();
  const error = await gate.calls(() => assert.fail("it called")).catch((caught: unknown) => caught);
  assert.ok(error instanceof WaitError);
  assert.match(error.message, /the gate of cluster c-one is closed: no answer ECONNREFUSED/);
});

test("after the pause one call finds out, and the others wait for its answer: a cluster that comes back is not met by all at once", async () => {
  const { gate, states } = await closed();
  pass(5_000);
  assert.equal(gate.state, "half-open");
  const { promise, resolve } = Promise.withResolvers<string>();
  const first = gate.calls(() => promise);
  let others = 0;
  const rest = [1, 2, 3].map(() => gate.calls(async () => (others += 1)));
  await Promise.resolve();
  assert.equal(others, 0);
  resolve("back");
  assert.equal(await first, "back");
  await Promise.all(rest);
  assert.equal(others, 3);
  assert.equal(gate.state, "open");
  assert.equal(gate.reason, "");
  assert.deepEqual(states, ["closed no answer ECONNREFUSED", "half-open no answer ECONNREFUSED", "open"]);
});

test("where that call fails the gate is closed for as long again, and those who waited are sent away", async () => {
  const { gate } = await closed();
  pass(5_000);
  const { promise, reject } = Promise.withResolvers<string>();
  const first = gate.calls(() => promise);
  const other = gate.calls(() => assert.fail("it called"));
  reject(apiError(500));
  await assert.rejects(first, ApiError);
  await assert.rejects(other, WaitError);
  assert.equal(gate.state, "closed");
  assert.equal(await waitOf(gate), 5_000);
});

test("a refusal as the answer of that one call is an answer: the gate opens", async () => {
  const { gate, fail } = await closed();
  pass(5_000);
  await fail(apiError(403));
  assert.equal(gate.state, "open");
});

test("a pause that the server asked for closes it for just as long, and a shorter one that comes later does not shorten it", async () => {
  const { gate, answer } = aGate();
  gate.closeFor(30_000);
  gate.closeFor(1_000);
  pass(10_000);
  assert.equal(await waitOf(gate), 20_000);
  assert.equal(gate.reason, "it asked for a pause");
  pass(20_000);
  assert.equal(gate.state, "open", "nothing had failed, so nobody has to find out first");
  assert.equal(await answer(), "answered");
});

test("so many of each queue are inside at once and no more, so that a login never stands behind a backlog of bindings", async () => {
  const { gate } = aGate(2);
  const inside = QUEUES.flatMap((queue) => [work(gate, queue), work(gate, queue)]);
  for (const queue of QUEUES) assert.ok((await waitOf(gate, queue)) >= 20);
  await inside[2]!.done();
  assert.equal(await gate.pass("login", async () => "a place was free"), "a place was free");
  await waitOf(gate, "binding");
  await Promise.all(inside.map(({ done }) => done()));
});

test("who finds it full is told a turn of its own, later than all before it and at most ten seconds off, or a backlog would ask again and again", async () => {
  const { gate } = aGate(1);
  const inside = work(gate);
  pass(400);
  await inside.done();
  const again = work(gate);
  const waits: number[] = [];
  for (let i = 0; i < 1_000; i++) waits.push(await waitOf(gate));
  assert.ok(waits[0]! >= 20 && waits.every((wait, i) => i === 0 || wait >= waits[i - 1]!), "in the order of their coming");
  assert.equal(new Set(waits.slice(0, 50)).size, 50, "not all at the same moment");
  assert.equal(waits.at(-1), 10_000);
  pass(20_000);
  assert.ok((await waitOf(gate)) < 1_000, "turns that have passed keep nobody waiting");
  await again.done();
});

test("what a pass throws comes out as it is, and its place is free again", async () => {
  const { gate } = aGate(1);
  const error = new Error("a bug of ours");
  for (let i = 0; i < 3; i++)
    await assert.rejects(
      gate.pass("binding", () => Promise.reject(error)),
      error,
    );
  assert.equal(await gate.pass("binding", async () => 1), 1);
});

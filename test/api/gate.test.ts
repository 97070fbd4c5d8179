// A cluster that asks for a pause, or does not answer, is left alone for that long, costs the others nothing, and is back soon after it is back. The authorizer that lags delays `ready`.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Queue } from "bullmq";
import { median, metricOf } from "../support/evidence.ts";
import { actAs, assertActsAsExactly, tokenOf } from "../support/impersonator.ts";
import { isCall, openProxiedHouse, type ProxiedHouse } from "../support/proxied-house.ts";
import { putCrtb, putUser } from "../support/rancher-objects.ts";
import { waitUntil } from "../support/wait-until.ts";

const PAUSE_MS = 8_000;
const DEADLINE = { deadlineMs: 90_000, everyMs: 10 };
let proxied: ProxiedHouse;
before(async () => (proxied = await openProxiedHouse()));
after(() => proxied?.[Symbol.asyncDispose]());

const house = () => proxied.house;
const people = (name: string, count: number): string[] => Array.from({ length: count }, (_, i) => `u-${name}-${i}`);
const bind = (cluster: string, user: string) => putCrtb(house().management!, cluster, user, { userName: user });
const who = (user: string) => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });
const known = (users: readonly string[]) => Promise.all(users.map((user) => putUser(house().management!, user)));
const retries = () => metricOf(house().workers, "understudy_passes_total", { result: "retry" });

/** Binding → ready of each, one after the other. */
async function readyMs(cluster: string, users: readonly string[]): Promise<number[]> {
  const times: number[] = [];
  for (const user of users) {
    const began = performance.now();
    await bind(cluster, user);
    await house().waitFor(cluster, user, "ready", DEADLINE);
    times.push(Math.round(performance.now() - began));
  }
  return times;
}

/** The next five reviews of this user are refused, and the sixth is held; then all pass. */
function holdAuthorizerBack(user: string): { readonly reviews: () => number; letSixthPass(): void } {
  const sixth = Promise.withResolvers<void>();
  let reviews = 0;
  proxied.proxy("c-one").setRule(({ path, impersonateUser }) => {
    if (!path.endsWith("/selfsubjectreviews") || impersonateUser !== user) return undefined;
    reviews += 1;
    if (reviews <= 5) return { answer: 403 };
    return reviews === 6 ? { hold: sixth.promise } : undefined;
  });
  return { reviews: () => reviews, letSixthPass: sixth.resolve };
}

test("M31 while the authorizer refuses five times, ready comes after the sixth review, and the first request is not refused", async () => {
  const user = "u-held";
  const groups = ["github_team://1"];
  const { extras } = who(user);
  await known([user]);
  const changes = [
    { act: () => bind("c-one", user), identity: who(user) },
    { act: () => house().hook("POST", "/v1/logins", { user, cluster: "c-one", provider: "github", groups, extras }), identity: { user, groups, extras } },
  ];
  for (const { act, identity } of changes) {
    const { reviews, letSixthPass } = holdAuthorizerBack(user);
    const generation = ((await house().row("c-one", user))?.generation ?? 0) + 1;
    await act();
    await waitUntil("the sixth review is asked", () => reviews() === 6, DEADLINE);
    assert.equal((await house().row("c-one", user))?.state, "pending", "five refusals are no proof");
    const token = await tokenOf(house().cluster("c-one"), user);
    letSixthPass();
    await house().waitFor("c-one", user, "ready", { ...DEADLINE, generation });
    assert.equal((await actAs(house().cluster("c-one"), token, identity)).status, 201);
    // It is asked once more where the API server itself lags behind the write.
    assert.ok(reviews() >= 6);
    await assertActsAsExactly(house().cluster("c-one"), identity);
  }
});

test("M41 a 429 with Retry-After keeps every worker that got it away for that long, from all subjects, and uses no attempt", async (t) => {
  const [first, second] = [people("slow", 12), people("later", 6)];
  await known([...first, ...second]);
  const retriesAtFirst = await retries();
  const refused = new Map<string, number>();
  const calls: { agent: string; at: number; refused: boolean }[] = [];
  let refusing = true;
  proxied.proxy("c-one").setRule((request) => {
    if (!isCall(request)) return undefined;
    const { userAgent: agent } = request;
    calls.push({ agent, at: performance.now(), refused: refusing });
    if (!refusing) return undefined;
    refused.set(agent, performance.now());
    return { answer: 429, headers: { "retry-after": String(PAUSE_MS / 1_000) } };
  });
  await Promise.all(first.map((user) => bind("c-one", user)));
  await waitUntil("all three workers were refused", () => refused.size === 3, DEADLINE);
  await Promise.all(second.map((user) => bind("c-one", user)));
  await waitUntil("the later ones are known", async () => (await Promise.all(second.map((user) => house().row("c-one", user)))).every(Boolean), DEADLINE);
  refusing = false;
  assert.deepEqual(await gateOf("c-one"), { gate: "closed", reason: "it asked for a pause" });
  assert.equal(await retries(), retriesAtFirst, "nobody has failed");
  for (const user of [...first, ...second]) await house().waitFor("c-one", user, "ready", DEADLINE);
  assert.equal(await retries(), retriesAtFirst, "no attempt was used");
  for (const agent of refused.keys()) {
    const own = calls.filter((call) => call.agent === agent);
    const last = own.findLast((call) => call.refused)!;
    const next = own.find((call) => call.at > last.at);
    t.diagnostic(`${agent}: ${own.filter((call) => call.refused).length} refused, the next call ${Math.round((next?.at ?? Infinity) - last.at)} ms later`);
    assert.ok(next === undefined || next.at - last.at >= PAUSE_MS, "nobody calls before the pause is over");
    assert.ok(own.filter((call) => call.refused).length <= first.length + second.length, "and nobody was refused twice");
  }
  await waitUntil("status says that its gate is open", async () => (await gateOf("c-one")).gate === "open", DEADLINE);
  for (const user of [first[0]!, second[0]!]) await assertActsAsExactly(house().cluster("c-one"), who(user));
});

/** Attempts that the dashboard shows for each subject's jobs. */
async function attempts(users: readonly string[]): Promise<Map<string, { made: number; started: number }>> {
  await using queue = Object.assign(new Queue("binding", { connection: { path: house().redis.socket }, prefix: "{understudy:0}" }), {
    [Symbol.asyncDispose]: () => queue.close(),
  });
  const jobs = await queue.getJobs(["delayed", "waiting", "active", "prioritized"]);
  return new Map(
    jobs.filter(({ data }) => users.includes(data.user)).map(({ data, attemptsMade: made, attemptsStarted: started }) => [data.user, { made, started }]),
  );
}
async function gateOf(cluster: string): Promise<{ gate: string; reason: string }> {
  const { stdout } = await house().command(["status", "--output", "json", "--cluster", cluster]);
  const { gate, reason } = (JSON.parse(stdout) as { clusters: { gate: string; reason: string }[] }).clusters[0]!;
  return { gate, reason };
}

test("M41 a cluster that does not answer closes its gate, delays only itself, uses no attempts for waiting, and is served within seconds once it is back", async (t) => {
  const [early, late, elsewhere, calm] = [people("early", 20), people("late", 5), people("elsewhere", 10), people("calm", 10)];
  await known([...early, ...late, ...elsewhere, ...calm]);
  const calmMs = await readyMs("c-two", calm);
  proxied.proxy("c-one").setRule(() => ({ reset: true }));
  proxied.proxy("c-one").cut();
  await Promise.all(early.map((user) => bind("c-one", user)));
  const { reason } = await waitUntil(
    "the gate is closed",
    async () => {
      const row = await gateOf("c-one");
      return row.gate === "closed" && row;
    },
    DEADLINE,
  );
  assert.match(reason, /no answer/);
  await Promise.all(late.map((user) => bind("c-one", user)));
  const stormMs = await readyMs("c-two", elsewhere);
  t.diagnostic(`c-two, binding to ready: median ${median(calmMs)} ms before, ${median(stormMs)} ms while c-one is away (at most ${Math.max(...stormMs)})`);
  assert.ok(median(stormMs) < median(calmMs) * 3 + 200, "the other cluster does not notice");
  await assertActsAsExactly(house().cluster("c-two"), who(elsewhere[0]!));
  const began = performance.now();
  const atFirst = await attempts(late);
  const atLast = await waitUntil(
    "each late one was let in and sent away again",
    async () => {
      const now = await attempts(late);
      return late.every((user) => (now.get(user)?.started ?? 0) >= (atFirst.get(user)?.started ?? 0) + 5) && now;
    },
    DEADLINE,
  );
  const used = [...atLast].map(([user, { made }]) => made - (atFirst.get(user)?.made ?? 0));
  // Every five seconds each worker tries one subject, of whichever it may be.
  const probes = 3 * (1 + (performance.now() - began) / 5_000);
  t.diagnostic(`attempts used by the late ones while they waited: ${used.join(", ")}; ${Math.floor(probes)} probes at most`);
  assert.ok(used.reduce((sum, made) => sum + made, 0) <= probes);
  const back = performance.now();
  proxied.proxy("c-one").setRule(undefined);
  await Promise.all([...early, ...late].map((user) => house().waitFor("c-one", user, "ready", DEADLINE)));
  t.diagnostic(`all 25 ready ${Math.round(performance.now() - back)} ms after the cluster was back`);
  assert.notEqual((await gateOf("c-one")).gate, "closed");
  for (const user of [early[0]!, late[0]!]) await assertActsAsExactly(house().cluster("c-one"), who(user));
});

// The promise of `ready`, as a thousand people meet it: nobody's first request is refused, straight after a cold login through hook, credential and proxy,
// on one API server and behind a load balancer on two.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ApiServer } from "../apiserver/start.ts";
import { median } from "../support/evidence.ts";
import { CREDENTIALS_SECRET, ExampleProxy, type Person } from "../support/example-proxy.ts";
import { HOOK_SECRET, House } from "../support/house.ts";
import { ProxyClient } from "../support/proxy-client.ts";
import { type RoundRobin, startRoundRobin } from "../support/round-robin.ts";

const PEOPLE = 1_000;
const AT_ONCE = 16;
const REVIEW = JSON.stringify({ apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" });
const REVIEWS = "/clusters/c-one/apis/authentication.k8s.io/v1/selfsubjectreviews";
const ids = Array.from({ length: PEOPLE }, (_, i) => `u-${String(i).padStart(4, "0")}`);
const personOf = (user: string): Person => ({ user, provider: "github", groups: [`github_org://${Number(user.slice(2)) % 7}`], extras: { username: [user] } });

interface First {
  readonly user: string;
  readonly status: number;
  readonly ms: number;
  readonly body: string;
}
/** Everybody's first request and nobody's second, so many at a time. */
async function firstRequests(client: ProxyClient): Promise<First[]> {
  const waiting = [...ids];
  const firsts: First[] = [];
  const turn = async (): Promise<void> => {
    for (let user = waiting.shift(); user !== undefined; user = waiting.shift()) {
      const began = performance.now();
      const { status, body } = await client.ask(REVIEWS, `token-of-${user}`, { method: "POST", body: REVIEW, headers: ["Content-Type", "application/json"] });
      firsts.push({ user, status, body, ms: performance.now() - began });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, turn));
  return firsts;
}
function isOwn({ user, status, body }: First): boolean {
  if (status !== 201) return false;
  const { username, groups } = (JSON.parse(body) as { status: { userInfo: { username: string; groups: string[] } } }).status.userInfo;
  return username === user && groups.includes(personOf(user).groups![0]!);
}

async function measure(t: TestContext, house: House): Promise<void> {
  const { hook, credentials } = house.producer.started;
  const people = Object.fromEntries(ids.map((user) => [`token-of-${user}`, personOf(user)]));
  const tls = house.cluster("c-one").serving;
  await using proxy = await ExampleProxy.start({ people, hook: hook!, hookSecret: HOOK_SECRET, credentials: credentials!, tls });
  const began = performance.now();
  const firsts = await firstRequests(new ProxyClient(proxy, tls.cert));
  const seconds = (performance.now() - began) / 1000;
  const refused = firsts.filter((first) => !isOwn(first));
  const [middle, last] = [median(firsts.map(({ ms }) => ms)), firsts.map(({ ms }) => ms).toSorted((a, b) => b - a)[PEOPLE / 100]!];
  const { retries } = proxy;
  t.diagnostic(`${PEOPLE} cold first requests, ${AT_ONCE} at once, in ${seconds.toFixed(1)} s: ${refused.length} refused, ${retries.length} sent twice`);
  t.diagnostic(`login, credential and request together: median ${middle.toFixed(0)} ms, p99 ${last.toFixed(0)} ms`);
  assert.deepEqual(refused, []);
  // One attempt more for each request, and for no other reason.
  assert.ok(retries.every((line) => /^retry: POST as c-one\/u-\d{4} after 401$/.test(line)));
  assert.equal(new Set(retries).size, retries.length);
}

const settings = { UNDERSTUDY_CREDENTIALS_LISTEN: "127.0.0.1:0", UNDERSTUDY_CREDENTIALS_SECRETS: CREDENTIALS_SECRET, LOG_LEVEL: "info" };

test("of a thousand first requests after a cold login none is refused", async (t) => {
  await using house = await House.open({ clusters: ["c-one"], management: false, workers: 2, settings });
  await measure(t, house);
});

test("nor behind two API servers, with UNDERSTUDY_READY_SETTLE and one more attempt after a 401", async (t) => {
  await using stack = new AsyncDisposableStack();
  const balancers: RoundRobin[] = [];
  const kubeconfig = async (server: ApiServer): Promise<string> => {
    const balancer = stack.use(await startRoundRobin([server.url, await server.startAnother()]));
    balancers.push(balancer);
    return server.workerKubeconfig(balancer.url);
  };
  const several = { ...settings, UNDERSTUDY_READY_SETTLE: "250ms" };
  const house = stack.use(await House.open({ clusters: ["c-one"], management: false, workers: 2, settings: several, kubeconfig }));
  await measure(t, house);
  const [{ connections }] = balancers as [RoundRobin];
  t.diagnostic(`connections of workers, producer and proxy to each API server: ${connections.join(", ")}`);
  assert.ok(Math.min(...connections) > 10);
});

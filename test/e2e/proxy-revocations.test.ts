// What ends in the example proxy when somebody is revoked, and when nobody can tell: open answers and upgraded connections, of exactly the people meant.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import type { ExampleProxy } from "../support/example-proxy.ts";
import { type ProxyBench, openProxyBench } from "../support/proxy-bench.ts";
import { type OpenAnswer, type ProxyClient, type Upgraded, statusIn } from "../support/proxy-client.ts";
import type { ClusterStandIn, UnderstudyStandIn } from "../support/stand-ins.ts";
import { waitUntil } from "../support/wait-until.ts";

const [BOB, ADA] = ["token-of-the-client-bob", "token-of-the-client-ada"];
const people = { [BOB]: { user: "u-bob", provider: "github", groups: ["github_org://1"] }, [ADA]: { user: "u-ada", provider: "github" } };
const WATCH = "/clusters/c-one/api/v1/pods?watch=true";

const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());
let bench: ProxyBench;
let cluster: ClusterStandIn;
let understudy: UnderstudyStandIn;
let proxy: ExampleProxy;
let client: ProxyClient;

const followed = (): Promise<boolean> => waitUntil("the proxy follows", () => understudy.followers.length === 1);
before(async () => {
  bench = await openProxyBench(cleanup, people);
  ({ cluster, understudy } = bench);
  ({ proxy, client } = await bench.start());
});
beforeEach(async () => {
  cluster.answer = (_request, response) => void response.write("first ");
  await followed();
  understudy.logins.splice(0);
});

interface Open {
  readonly answers: OpenAnswer[];
  readonly upgraded: Upgraded[];
}
/** Two of each, which have been heard of. */
async function openAs(token: string, through = client): Promise<Open> {
  const twice = <T>(open: () => Promise<T>): Promise<T[]> => Promise.all([open(), open()]);
  const answers = await twice(() => through.open(WATCH, token));
  const upgraded = (await twice(() => through.upgrade("/clusters/c-one/exec", token, "websocket"))) as Upgraded[];
  for (const one of answers) await one.hears("first ");
  for (const one of upgraded) await one.says("a word");
  return { answers, upgraded };
}
const all = ({ answers, upgraded }: Open): (OpenAnswer | Upgraded)[] => [...answers, ...upgraded];
async function assertCut(open: Open): Promise<void> {
  for (const one of all(open)) await one.end();
}
/** By what they still say, not by a look at a flag. */
async function assertOpen(open: Open): Promise<void> {
  for (const one of open.upgraded) await one.says("still here");
  assert.deepEqual(new Set(all(open).map(({ ended }) => ended)), new Set([false]));
}
const leave = (open: Open): void => {
  for (const one of open.answers) one.message.destroy();
  for (const one of open.upgraded) one.socket.destroy();
};

test("a revocation cuts every open answer and upgraded connection of that person on that cluster, and of nobody else; the next request logs in anew", async (t) => {
  const [bob, ada] = [await openAs(BOB), await openAs(ADA)];
  const logins = understudy.logins.length;
  understudy.tell(`id: 2-0\nevent: revoked\ndata: {"cluster":"c-two","user":"u-bob","generation":2,"kind":"removed"}\n\n: still here\n\n`);
  await assertOpen(bob);
  const began = performance.now();
  understudy.revoke("u-bob", "3-0", "narrowed");
  await assertCut(bob);
  t.diagnostic(`cut after ${Math.round(performance.now() - began)} ms`);
  await waitUntil("the cluster's side of Bob's connections is gone", () => cluster.sockets.size === 2);
  await assertOpen(ada);
  understudy.login = async () => ({ status: 403, body: { detail: "no binding of the user or its groups" } });
  const refused = await client.ask("/clusters/c-one/x", BOB);
  assert.deepEqual([refused.status, understudy.logins.length], [403, logins + 1]);
  understudy.login = async () => ({ status: 200, body: { state: "ready" } });
  cluster.answer = (_request, response) => void response.end("{}");
  assert.equal((await client.ask("/clusters/c-one/x", BOB)).status, 200, "who is let in again is served again");
  leave(ada);
});

test("streams that began before the person's credential was renewed are cut as well", async () => {
  const bob = await openAs(BOB);
  cluster.answer = (_request, response) => void response.writeHead(401).end("{}");
  await client.ask("/clusters/c-one/x", BOB);
  understudy.revoke("u-bob", "4-0");
  await assertCut(bob);
});

test("`reset` cuts everybody", async () => {
  const [bob, ada] = [await openAs(BOB), await openAs(ADA)];
  understudy.tell("id: 5-0\nevent: reset\ndata: {}\n\n");
  await assertCut(bob);
  await assertCut(ada);
});

test("after a lost connection it goes on from the last event that it had whole", async () => {
  const bob = await openAs(BOB);
  understudy.tell('id: 6-0\nevent: revoked\ndata: {"cluster":"c-one","user":"u-nobody"}\n\nid: 7-0\nevent: revoked\n');
  await assertOpen(bob);
  understudy.cutFollowers();
  await waitUntil("it comes again", () => understudy.followers[0]?.lastEventId === "6-0");
  await assertOpen(bob);
  understudy.revoke("u-bob", "7-0");
  await assertCut(bob);
});

test("who is revoked while logging in is logged in once more: a login that takes a group away is itself what revokes", async () => {
  const ada = await openAs(ADA);
  cluster.answer = (_request, response) => void response.end("{}");
  understudy.revoke("u-bob", "8-0");
  understudy.logins.splice(0);
  understudy.login = async () => {
    if (understudy.logins.length === 1) {
      understudy.revoke("u-bob", "8-1", "narrowed");
      understudy.revoke("u-ada", "8-2");
      await assertCut(ada); // so Bob's was heard too
    }
    return { status: 200, body: { state: "ready" } };
  };
  await waitUntil("Bob's session is over", async () => (await client.ask("/clusters/c-one/x", BOB)).status === 200 && understudy.logins.length > 0);
  assert.deepEqual([understudy.logins.length, understudy.logins[1]], [2, { cluster: "c-one", ...people[BOB] }]);
});

test("a request that the cluster has not answered yet is told to come again if it only reads; what became of a change is not known", async () => {
  for (const [method, status] of [["GET", 503] as const, ["POST", 502] as const]) {
    let asked = false;
    cluster.answer = () => void (asked = true);
    const answer = client.ask("/clusters/c-one/slow", BOB, { method, body: method === "GET" ? "" : "{}" });
    await waitUntil("the cluster has it", () => asked);
    understudy.revoke("u-bob", method === "GET" ? "9-0" : "9-1");
    const { headers } = await answer;
    assert.deepEqual([(await answer).status, headers["retry-after"]], [status, status === 503 ? "1" : undefined]);
    assert.match(statusIn(await answer).message, /your access has just changed/);
  }
});

const BLIND_MS = 3_000;
/** As long as two times the patience of a proxy, doing this all the time. */
async function twiceAsLong(act: () => void = () => undefined): Promise<void> {
  const end = performance.now() + 2 * BLIND_MS;
  await waitUntil("the time is over", () => (act(), performance.now() > end), { everyMs: BLIND_MS / 10 });
}

test("as long as there is any sign of life streams go on; without one everything is cut, what is opened later too, until it is back", async () => {
  await proxy[Symbol.asyncDispose]();
  await waitUntil("nobody follows", () => understudy.followers.length === 0);
  const { proxy: own, client: blindable } = await bench.start({ PROXY_BLIND_MS: String(BLIND_MS) });
  await followed();
  const bob = await openAs(BOB, blindable);
  await twiceAsLong(() => understudy.tell(": still here\n\n"));
  await assertOpen(bob);
  // It keeps the connection and says nothing.
  await assertCut(bob);
  await waitUntil("it tries a new connection", () => understudy.followers[0]?.lastEventId === "1-0");
  understudy.follow = 503;
  understudy.cutFollowers();
  const later = await openAs(BOB, blindable);
  await assertCut(later);
  await waitUntil("it says why", () => /^revocations: 503, trying again$/m.test(own.out.stderr));
  understudy.follow = 200;
  await followed();
  const back = await openAs(BOB, blindable);
  await twiceAsLong(() => understudy.tell(": still here\n\n"));
  await assertOpen(back);
});

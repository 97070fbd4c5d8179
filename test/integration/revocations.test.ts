// GET /v1/revocations on a real Redis: a proxy that has streams open hears of every loss, or hears that it cannot know, because the silent third would leave a removed person connected.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Redis } from "ioredis";
import { openCredentials } from "../../producers/credentials.ts";
import { RevocationStreams } from "../../producers/revocation-streams.ts";
import { Tokens } from "../../producers/tokens.ts";
import { Ledger } from "../../shared/ledger/ledger.ts";
import { listen } from "../../shared/run/http.ts";
import { openLog } from "../../shared/run/log.ts";
import { openMetrics } from "../../shared/run/metrics.ts";
import { blockingConnection, quickConnection, whenReady } from "../../shared/run/redis.ts";
import { type EventStream, openStream } from "../support/event-stream.ts";
import { type TestRedis, startRedis } from "../support/redis.ts";
import { waitUntil } from "../support/wait-until.ts";

const SECRET = "a-secret-for-credentials-0123456789";
const TAG = "{t:0}";
const KEY = `${TAG}:revocations`;
const waker = { add: async () => undefined };

interface Installation extends AsyncDisposable {
  readonly server: TestRedis;
  readonly lines: string[];
  /** As a proxy opens one, with the place that it has read to. */
  open(lastEventId?: string, secret?: string): Promise<EventStream>;
  /** A person loses something; the place of that in the stream. */
  revoke(user: string): Promise<string>;
  readonly redis: Redis;
  close(): Promise<unknown>;
}

/** A Redis, and the listener of one producer on it. */
async function install({ persist = false, heartbeatMs = 15_000 } = {}): Promise<Installation> {
  const server = await startRedis({ persist });
  const redis = new Redis(server.socket, { maxRetriesPerRequest: null });
  redis.on("error", () => undefined);
  const quick = quickConnection(server.url, 1_000, () => undefined);
  await whenReady(quick, 5_000);
  const lines: string[] = [];
  const log = openLog("debug", {}, { write: (line) => void lines.push(line) });
  const streams = await new RevocationStreams({
    redis: await blockingConnection(server.url, 2_000, () => undefined),
    quick,
    tag: TAG,
    log,
    heartbeatMs,
  }).start();
  const ledger = new Ledger(quick, TAG, { binding: waker, login: waker, deletion: waker });
  const tokens = new Tokens({ mode: "secret", stopping: new AbortController().signal, now: () => Date.now(), onMoved: async () => undefined });
  const config = { credentialsSecrets: [SECRET], forwardAuthUserHeader: undefined, tokenMode: "secret", profile: "strict" } as const;
  const app = openCredentials({ ledger, config, tokens, streams, log, metrics: openMetrics(), clientOf: () => undefined, now: () => Date.now() });
  const url = `${await listen(app, { host: "127.0.0.1", port: 0 })}/v1/revocations`;
  const opened: EventStream[] = [];
  return {
    server,
    lines,
    redis,
    open: async (lastEventId, secret = SECRET) => {
      const stream = await openStream(url, { authorization: `Bearer ${secret}`, ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }) });
      opened.push(stream);
      return stream;
    },
    revoke: async (user) => (await redis.xadd(KEY, "*", "cluster", "c-amber", "user", user, "generation", "3", "kind", "removed"))!,
    close: () => app.close(),
    async [Symbol.asyncDispose]() {
      for (const stream of opened) stream.close();
      await app.close();
      redis.disconnect();
      quick.disconnect();
      await server.stop();
    },
  };
}

const usersOf = (stream: EventStream): unknown[] => stream.events().map(({ event, data }) => (event === "revoked" ? (data as { user: string }).user : event));
const hears = (stream: EventStream, wanted: readonly string[]): Promise<unknown> =>
  waitUntil(`a stream hears ${wanted.join()}`, () => usersOf(stream).length >= wanted.length).then(() => assert.deepEqual(usersOf(stream), wanted));

/** The reader of all streams has read to here: a stream that is opened begins at its place. */
const hasRead = (installation: Installation, place: string): Promise<unknown> =>
  waitUntil(`the reader is at ${place}`, async () => (await installation.open()).lastId() === place);

const shared = await install();
after(() => shared[Symbol.asyncDispose]());

test("every open stream hears of every loss, in order, with its place, and none of what was before it", async () => {
  await shared.revoke("u-before");
  const end = await shared.revoke("u-before-too");
  await using later = await install(); // a second installation hears nothing of it
  const other = await later.open();
  await hasRead(shared, end);
  const streams = await Promise.all([shared.open(), shared.open(), shared.open()]);
  for (const stream of streams) assert.equal(stream.text(), `retry: 1000\nid: ${end}\n\n`);
  const place = await shared.revoke("u-one");
  await shared.revoke("ü\nid: 0-0\n\n");
  for (const stream of streams) {
    assert.equal(stream.response.headers["content-type"], "text/event-stream; charset=utf-8");
    assert.equal(stream.response.headers["cache-control"], "no-store");
    await hears(stream, ["u-one", "ü\nid: 0-0\n\n"]);
    assert.deepEqual(stream.events()[0], { id: place, event: "revoked", data: { cluster: "c-amber", user: "u-one", generation: 3, kind: "removed" } });
  }
  assert.deepEqual(other.events(), []);
});

test("a client that comes again hears what it missed, each once, however much that is, and then what comes", async () => {
  const place = await shared.revoke("u-last-read");
  const missed = Array.from({ length: 450 }, (_, i) => `u-missed-${i}`);
  for (const user of missed) await shared.revoke(user);
  const stream = await shared.open(place);
  const during = Array.from({ length: 20 }, (_, i) => `u-during-${i}`);
  for (const user of during) await shared.revoke(user);
  await hears(stream, [...missed, ...during]);
  const again = await shared.open(stream.lastId());
  await shared.revoke("u-next");
  await hears(again, ["u-next"]);
});

test("an id that the stream no longer holds, never held, or that is none resets the client first, because what it missed is not known", async () => {
  const old = await shared.revoke("u-old");
  const end = await shared.revoke("u-young");
  // A reader that is still before it would rightly reset everybody once more.
  await hasRead(shared, end);
  await shared.redis.xtrim(KEY, "MAXLEN", 1);
  for (const id of [old, "0-0", "99999999999999-0", `${Number(end.split("-")[0]) - 1}-77`, "x", ""]) {
    const stream = await shared.open(id);
    await waitUntil("it is reset", () => stream.events().length > 0);
    assert.deepEqual(usersOf(stream), ["reset"], id);
    await shared.revoke("u-after");
    await waitUntil("it goes on", () => usersOf(stream).includes("u-after"));
    assert.equal(stream.lastId(), stream.events().at(-1)!.id);
  }
});

test("a Redis that was emptied resets whoever is connected and whoever comes again", async () => {
  await using emptied = await install();
  const place = await emptied.revoke("u-before");
  const stream = await emptied.open();
  await hasRead(emptied, place);
  await emptied.redis.flushall();
  await waitUntil("it is reset", () => usersOf(stream).includes("reset"));
  await emptied.revoke("u-after");
  await waitUntil("it goes on", () => usersOf(stream).at(-1) === "u-after");
  const again = await emptied.open(place);
  await waitUntil("it is reset too", () => usersOf(again).includes("reset"));
});

test("streams stay open while Redis is away, and go on without a reset when the same one comes back", async () => {
  await using away = await install({ persist: true });
  const stream = await away.open();
  await away.revoke("u-one");
  await hears(stream, ["u-one"]);
  await away.server.kill("SIGKILL");
  const refused = await away.open(stream.lastId());
  assert.equal(refused.response.statusCode, 503);
  assert.equal(refused.response.headers["retry-after"], "2");
  await away.server.restart();
  await away.revoke("u-two");
  await hears(stream, ["u-one", "u-two"]);
  assert.equal(stream.ended(), false);
});

test("another Redis in the place of the old one resets the open streams, also when something was revoked on it before we were back", async () => {
  await using replaced = await install();
  const stream = await replaced.open();
  await replaced.revoke("u-one");
  await hears(stream, ["u-one"]);
  await replaced.server.restart();
  await replaced.revoke("u-two");
  await replaced.revoke("u-three");
  await waitUntil("it is reset", () => usersOf(stream).includes("reset"));
  assert.equal(usersOf(stream)[1], "reset", "before anything of the new one");
  await replaced.revoke("u-four");
  await waitUntil("it goes on", () => usersOf(stream).at(-1) === "u-four");
});

test("a heartbeat comes while nothing happens, so that a dead connection is noticed", async () => {
  await using quiet = await install({ heartbeatMs: 20 });
  const stream = await quiet.open();
  await waitUntil("three heartbeats", () => stream.text().split(": still here\n\n").length > 3);
  assert.deepEqual(stream.events(), []);
});

test("a client that does not read is cut off and the others hear on, because its unread events would fill the memory", async () => {
  await using full = await install();
  const [lazy, eager] = [await full.open(), await full.open()];
  lazy.response.pause();
  const user = "名".repeat(1024);
  let sent = 0;
  await waitUntil("it is cut", async () => {
    await Promise.all(Array.from({ length: 500 }, () => full.revoke(user)));
    sent += 500;
    return full.lines.some((line) => line.includes("stream of revocations cut"));
  });
  await waitUntil("the other has all", () => eager.events().length === sent);
  assert.equal(eager.ended(), false);
});

test("nobody without one of the listener's secrets hears anything", async () => {
  const { response } = await shared.open(undefined, "not-a-secret-of-this-listener");
  assert.deepEqual([response.statusCode, response.headers["www-authenticate"]], [401, "Bearer"]);
});

test("a process that stops ends its open streams at once, and they come again elsewhere", async () => {
  await using stopping = await install();
  const stream = await stopping.open();
  await stopping.close();
  await waitUntil("the stream has ended", () => stream.ended());
});

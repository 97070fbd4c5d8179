// What every listener of ours does with a request that it refuses.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { listen, openHttp } from "../../../shared/run/http.ts";
import type { Log } from "../../../shared/run/log.ts";

const MEGABYTE = 1024 * 1024;
/** Twelve megabytes, which no buffer between the two takes up: a client that sends all of it first, and reads then. */
async function sendThenRead(url: string, head: string, chunk: Buffer, end: string): Promise<string> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.pause();
  socket.write(`POST /v1/logins HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${head}\r\n\r\n`);
  for (let i = 0; i < 12; i++) if (!socket.write(chunk)) await once(socket, "drain");
  socket.write(end);
  return text(socket);
}

test("a body over the limit gets its answer, not a reset connection, also where the client sends all of it before it reads", async (t) => {
  const app = openHttp({} as Log);
  app.post("/v1/logins", async () => "never");
  const url = await listen(app, { host: "127.0.0.1", port: 0 });
  t.after(() => app.close());
  const plain = Buffer.alloc(MEGABYTE, "x");
  const chunked = Buffer.concat([Buffer.from(`${MEGABYTE.toString(16)}\r\n`), plain, Buffer.from("\r\n")]);
  for (const answer of await Promise.all([
    sendThenRead(url, `content-length: ${12 * MEGABYTE}`, plain, ""),
    sendThenRead(url, "transfer-encoding: chunked", chunked, "0\r\n\r\n"),
  ])) {
    assert.match(answer, /^HTTP\/1\.1 413 /);
    assert.match(answer, /"detail":"body: at most 1048576 bytes"/);
  }
});

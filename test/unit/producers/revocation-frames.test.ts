// Server-sent events, byte for byte: a line that is put wrong is no event at all, and nobody would notice. https://html.spec.whatwg.org/multipage/server-sent-events.html
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { helloText, resetFrame, revokedFrame } from "../../../producers/event-stream.ts";
import { isLater } from "../../../shared/ledger/revocations.ts";
import { anyCharacter } from "../../support/builders.ts";

test("a loss, a reset and the first words are what a browser would read", () => {
  const loss = { id: "5-1", cluster: "c-one", user: "u-ada", generation: 7, kind: "removed" };
  assert.equal(revokedFrame(loss).text, 'id: 5-1\nevent: revoked\ndata: {"cluster":"c-one","user":"u-ada","generation":7,"kind":"removed"}\n\n');
  assert.equal(resetFrame("5-1").text, "id: 5-1\nevent: reset\ndata: {}\n\n");
  assert.equal(helloText("5-1"), "retry: 1000\nid: 5-1\n\n");
  assert.equal(helloText(undefined), "retry: 1000\n\n");
});

test("no user id can end its line, because it would speak for us", () => {
  fc.assert(
    fc.property(fc.string({ unit: anyCharacter }), (user) => {
      const lines = revokedFrame({ id: "1-0", cluster: "c", user, generation: 1, kind: "removed" }).text.split(/\r\n|\r|\n/);
      assert.deepEqual([lines.length, lines[3], lines[4]], [5, "", ""]);
      assert.equal((JSON.parse(lines[2]!.slice("data: ".length)) as { user: string }).user, user);
    }),
  );
});

test("places are compared as numbers, the time first", () => {
  const inOrder = ["0-0", "0-1", "9-0", "10-0", "10-9", "10-10", "99999999999999999-0", "99999999999999999-1"];
  for (const [i, a] of inOrder.entries()) for (const [j, b] of inOrder.entries()) assert.equal(isLater(a, b), i > j, `${a} ${b}`);
});

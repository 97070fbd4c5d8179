// What a page says after a form was sent, and from where a form may come.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ACTIONS, backTo, isFromHere, noticeOf } from "../../../../workers/dashboard/forms.ts";
import type { Action } from "../../../../workers/dashboard/forms.ts";

test("a page that is come back to says what was done, in a text of ours, because anybody can make a link", () => {
  const said = (back: string) => noticeOf(Object.fromEntries(new URL(back, "http://127.0.0.1").searchParams));
  assert.equal(said(backTo("/", "retry", 12)), "12 people are looked at again.");
  assert.equal(said(backTo("/", "retry", 1)), "1 person is looked at again.");
  assert.match(said(backTo("/", "retry", 1000))!, /^1000 people .*: retry for the others/);
  for (const action of Object.keys(ACTIONS) as Action[]) assert.ok(said(backTo("/?q=u-ada", action, 1)), action);
  for (const query of [{}, { done: "retry" }, { done: "retry", count: "many" }, { done: "retry", count: "-1" }, { done: "Call 555", count: "1" }])
    assert.equal(noticeOf(query), undefined, JSON.stringify(query));
});

test("the page that is come back to keeps its own query, and what was done before is not said again", () => {
  assert.equal(backTo("/?q=u-ada&done=pause&count=1#x", "reconcile", 1), "/?q=u-ada&done=reconcile&count=1");
});

test("where a form was sent from is what the browser says, and on plain http what its origin is", () => {
  const host = "127.0.0.1:8401";
  assert.ok(isFromHere({ host: "inside:80", origin: "https://understudy.example", "sec-fetch-site": "same-origin" }));
  assert.ok(isFromHere({ host, origin: `http://${host}` }));
  for (const headers of [
    {},
    { host },
    { origin: "http://" },
    { host: "", origin: "http://" },
    { host, origin: `http://${host}`, "sec-fetch-site": "cross-site" },
  ])
    assert.equal(isFromHere(headers), false, JSON.stringify(headers));
});

// API servers' answers → errors: what they mean for us, and nothing of what a body says.
import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import fc from "fast-check";
import { TerminalError, WaitError, nextMoveOf } from "../../../shared/jobs.ts";
import type { ApiError } from "../../../shared/kube/errors.ts";
import { answerError, isStatus, meaningOf, networkError } from "../../../shared/kube/errors.ts";

const post = { cluster: "c-abc12", method: "POST", path: "/api/v1/namespaces/cattle-impersonation-system/secrets" };
const get = { ...post, method: "GET" };
const status = (about: object = {}): string => JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", ...about });
const answer = (code: number, body = status(), headers: Record<string, unknown> = {}): ApiError => answerError(post, code, headers, body);

/** All that a log, a queue's failed reason or a person could get to see of an error. */
function everythingOf(error: Error): string {
  const fields = Object.fromEntries(Object.getOwnPropertyNames(error).map((key) => [key, Reflect.get(error, key) as unknown]));
  return [error.message, error.stack, String(error), JSON.stringify(error), JSON.stringify(fields), inspect(error, { depth: 10, showHidden: true })].join("\n");
}

const CANARY = "eyJhbGciOiJSUzI1NiJ9-canary";
const bodies: readonly (readonly [where: string, body: string])[] = [
  ["a message", status({ reason: "Forbidden", message: `secrets "x" is forbidden: token ${CANARY}` })],
  ["the name in details", status({ reason: "AlreadyExists", details: { name: CANARY, uid: CANARY, group: CANARY, kind: "secrets" } })],
  [
    "a cause's message",
    status({ reason: "Invalid", details: { causes: [{ reason: "FieldValueInvalid", field: "data.token", message: `Invalid value: ${CANARY}` }] } }),
  ],
  [
    "a cause's field that is no path",
    status({ reason: "Invalid", details: { causes: [{ reason: `because ${CANARY}`, field: `data[${CANARY}] is "wrong"` }] } }),
  ],
  ["a reason that is a sentence", status({ reason: `no, because of ${CANARY}` })],
  ["a kind that is a sentence", status({ details: { kind: `the kind ${CANARY}` } })],
  ["a proxy's page", `<html><body><h1>502</h1>${CANARY}</body></html>`],
  ["plain text", CANARY],
  ["a text in JSON", JSON.stringify(CANARY)],
  ["a list in JSON", JSON.stringify([CANARY])],
  ["an object that was echoed", JSON.stringify({ kind: "Secret", data: { token: CANARY } })],
  ["strange types", status({ reason: [CANARY], details: { kind: { a: CANARY }, causes: [CANARY, null, { reason: [CANARY], field: 7 }] } })],
  ["strange details", status({ details: CANARY })],
  ["causes that are no list", status({ details: { causes: { [CANARY]: CANARY } } })],
];
for (const [where, body] of bodies) {
  test(`nothing of ${where} is ever in an error, because bodies carry tokens and names that belong in no log`, () => {
    for (const code of [400, 403, 409, 413, 422, 429, 500, 502]) {
      const error = answer(code, body, { "x-request": CANARY, "www-authenticate": CANARY });
      assert.ok(!everythingOf(error).includes(CANARY), everythingOf(error));
      assert.ok(!everythingOf(meaningOf(error, "c-abc12")).includes(CANARY));
      assert.equal(error.status, code);
    }
  });
}

for (const body of ["null", "", "7", "true", "[]", "{}", "{", "[null]", '{"details":null}', '{"details":{"causes":[null]}}']) {
  test(`the body ${JSON.stringify(body)} is an answer like any other, because proxies answer anything`, () => {
    const error = answer(503, body);
    assert.deepEqual([error.name, error.status, error.reason], ["ApiError", 503, ""]);
  });
}

test("any body at all gives an ApiError", () => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string()), fc.integer({ min: 300, max: 599 }), (body, code) => {
      assert.equal(answer(code, body).status, code);
    }),
  );
});

test("an error says what was tried, on what, and what came back in code words", () => {
  const error = answer(
    422,
    status({ reason: "Invalid", details: { kind: "ClusterRole", causes: [{ reason: "FieldValueInvalid", field: "rules[0].verbs" }] } }),
  );
  assert.equal(error.message, "POST /api/v1/namespaces/cattle-impersonation-system/secrets on cluster c-abc12: 422 Invalid at rules[0].verbs");
  assert.deepEqual([error.reason, error.causes], ["Invalid", ["FieldValueInvalid", "kind:ClusterRole"]]);
  assert.equal(answer(502, "<html>").message, "POST /api/v1/namespaces/cattle-impersonation-system/secrets on cluster c-abc12: 502");
});

test("of many causes a few are kept, because an error is one line", () => {
  const causes = Array.from({ length: 1000 }, (_, i) => ({ reason: "FieldValueInvalid", field: `rules[${i}]` }));
  const error = answer(422, status({ reason: "Invalid", details: { causes } }));
  assert.equal(error.causes.length, 5);
  assert.ok(error.message.length < 300);
});

const retryAfters: readonly (readonly [header: unknown, ms: number | undefined])[] = [
  ["7", 7000],
  ["0", 0],
  ["1", 1000],
  ["86400", 600_000],
  [["3"], 3000],
  [undefined, undefined],
  ["soon", undefined],
  ["Wed, 21 Oct 2026 07:28:00 GMT", undefined],
  ["Infinity", undefined],
  ["-5", undefined],
];
for (const [header, ms] of retryAfters) {
  test(`Retry-After ${JSON.stringify(header)} is ${ms === undefined ? "no wait that was asked for" : `${ms} ms`}, so that we neither hurry nor sleep for days`, () => {
    assert.equal(answer(429, status(), header === undefined ? {} : { "retry-after": header }).retryAfterMs, ms);
  });
}

// What it means ----------------------------------------------------------------------------------------------------------------------------------------------

const slow = { "retry-after": "7" };
const terminating = status({ reason: "Forbidden", details: { causes: [{ reason: "NamespaceTerminating", field: "metadata.namespace" }] } });
const meanings: readonly (readonly [why: string, error: ApiError, move: object])[] = [
  ["429 with Retry-After waits as long as it says", answer(429, status(), slow), { kind: "wait", waitMs: 7000 }],
  ["429 without it waits a second", answer(429), { kind: "wait", waitMs: 1000 }],
  ["503 with Retry-After waits as long as it says", answer(503, status(), slow), { kind: "wait", waitMs: 7000 }],
  ["503 without it is tried again with backoff", answer(503), { kind: "retry" }],
  ["500 with Retry-After is tried again with backoff", answer(500, status(), slow), { kind: "retry" }],
  ["a terminating namespace is waited for, because it goes by itself", answer(403, terminating), { kind: "wait", waitMs: 5000 }],
  ["422 needs a person, because a policy refuses the object", answer(422), { kind: "terminal" }],
  ["413 needs a person, because the object stays too large", answer(413), { kind: "terminal" }],
  ["403 is tried again, because rights may be on their way", answer(403), { kind: "retry" }],
  ["401 is tried again, because a token may be renewed", answer(401), { kind: "retry" }],
  ["404 is the caller's to judge", answer(404), { kind: "retry" }],
  ["409 is the caller's to judge", answer(409), { kind: "retry" }],
  ["500 is tried again", answer(500), { kind: "retry" }],
  ["no answer is tried again", networkError(post, { code: "ECONNRESET" }), { kind: "retry" }],
];
for (const [why, error, move] of meanings) {
  test(`${why}; the first error is kept as its cause`, () => {
    const meaning = meaningOf(error, "c-abc12");
    assert.deepEqual(nextMoveOf(meaning), move);
    if (meaning instanceof WaitError || meaning instanceof TerminalError) assert.equal(meaning.cause, error);
    else assert.equal(meaning, error);
  });
}

test("a status is recognised on our errors only, because others have statuses of their own", () => {
  assert.ok(isStatus(answer(404), 404) && isStatus(answer(409), 404, 409));
  assert.ok(!isStatus(answer(500), 404) && !isStatus({ status: 404 }, 404) && !isStatus(undefined, 404));
});

// Whether it may have landed ---------------------------------------------------------------------------------------------------------------------------------

const landings: readonly (readonly [why: string, error: ApiError, may: boolean])[] = [
  ["a write that timed out may have landed", networkError(post, new DOMException("late", "TimeoutError")), true],
  ["a write that was aborted may have landed", networkError(post, new DOMException("stop", "AbortError")), true],
  ["a write whose connection was reset may have landed", networkError(post, { code: "ECONNRESET" }), true],
  ["a write whose socket closed may have landed", networkError(post, { code: "UND_ERR_SOCKET" }), true],
  ["a write whose answer's headers never came may have landed", networkError(post, { code: "UND_ERR_HEADERS_TIMEOUT" }), true],
  ["a write whose answer had too many headers may have landed, because there was an answer", networkError(post, { code: "UND_ERR_HEADERS_OVERFLOW" }), true],
  ["a write that failed for unknown reasons may have landed", networkError(post, {}), true],
  ["500 to a write may have landed", answer(500), true],
  ["504 to a write may have landed, because etcd may still do it", answer(504), true],
  ["a refused connection never carried a write", networkError(post, { code: "ECONNREFUSED" }), false],
  ["an unknown host never got a write", networkError(post, { code: "ENOTFOUND" }), false],
  ["a connection that never came about carried no write", networkError(post, { code: "UND_ERR_CONNECT_TIMEOUT" }), false],
  ["a wrapped refusal is a refusal", networkError(post, { message: "fetch failed", cause: { code: "ECONNREFUSED" } }), false],
  ["409 to a write did nothing", answer(409), false],
  ["422 to a write did nothing", answer(422), false],
  ["429 to a write did nothing", answer(429), false],
  ["a read changes nothing, whatever came back", networkError(get, { code: "ECONNRESET" }), false],
  ["a read changes nothing, even at 500", answerError(get, 500, {}, ""), false],
];
for (const [why, error, may] of landings) test(why, () => assert.equal(error.mayHaveLanded, may));

const codes: readonly (readonly [error: unknown, reason: string])[] = [
  [{ code: "ECONNREFUSED" }, "ECONNREFUSED"],
  [{ message: "fetch failed", cause: { code: "ECONNRESET" } }, "ECONNRESET"],
  [Object.assign(new Error("x"), { name: "SocketError" }), "SocketError"],
  [new DOMException("The operation was aborted due to timeout", "TimeoutError"), "TimeoutError"],
  [new DOMException("This operation was aborted", "AbortError"), "AbortError"],
  ["a text", "unknown"],
];
for (const [error, reason] of codes) {
  test(`no answer because of ${reason} says so, because that is all there is to look for`, () => {
    const found = networkError(post, error);
    assert.deepEqual([found.status, found.reason], [0, reason]);
    assert.equal(found.message, `POST ${post.path} on cluster c-abc12: no answer ${reason}`);
  });
}

// What a log line may hold: one constant sentence, fields, and no secret, whatever an error of somebody else's library carries.
import assert from "node:assert/strict";
import { inspect } from "node:util";
import { test } from "node:test";
import fc from "fast-check";
import { errorFields, openLog, withoutSecrets } from "../../../shared/run/log.ts";

const HEADER = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ";
const JWT = `${HEADER}.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6eCJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ`;

function lines(level = "trace"): { log: ReturnType<typeof openLog>; said: () => Record<string, unknown>[] } {
  const written: string[] = [];
  const log = openLog(level, { process: "test" }, { write: (line) => void written.push(line) });
  return { log, said: () => written.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

const texts: Readonly<Record<string, string>> = {
  "a bare token": JWT,
  "a token in a sentence": `the server said ${JWT}, and more`,
  "a token in quotes": `{"token":"${JWT}"}`,
  "a token's header alone": HEADER,
  "a token behind a bearer scheme": `authorization: Bearer ${JWT}`,
  "two tokens": `${JWT} ${JWT}`,
  "a token over lines": `a\n${JWT}\nb`,
};
for (const [what, text] of Object.entries(texts)) {
  test(`${what} is taken out of a text that somebody else wrote, because a token in a log is everybody's`, () => {
    const clean = withoutSecrets(text);
    assert.ok(!clean.includes(JWT) && !clean.includes(HEADER) && !clean.includes("c2lnbmF0dXJl"), clean);
  });
}

for (const text of ["Bearer a-secret-of-the-hook", "bearer a-secret-of-the-hook", "BASIC YWRtaW46c2VjcmV0", "Authorization: Bearer\ta-secret-of-the-hook"]) {
  test(`${JSON.stringify(text)} loses what follows its scheme, whatever it looks like`, () => {
    assert.match(withoutSecrets(text), /\[secret\]$/);
    assert.doesNotMatch(withoutSecrets(text), /a-secret|YWRtaW4/);
  });
}

test("a text without secrets stays as it is, because people have to read it", () => {
  for (const text of ["GET /api/v1/x on cluster c-one: 403 Forbidden", "connect ECONNREFUSED 127.0.0.1:6379", "eyJ is no token", ""])
    assert.equal(withoutSecrets(text), text);
});

test("a text is cut at 2000 characters and never in front of a secret that it cuts in two", () => {
  assert.equal(withoutSecrets("x".repeat(9_000)).length, 2_000);
  const cut = withoutSecrets("x".repeat(1_990) + JWT);
  assert.ok(!cut.includes(HEADER.slice(0, 8)), cut.slice(-20));
});

test("a token is found wherever it stands between characters that are none of its own", () => {
  const around = fc.string({ maxLength: 30 }).filter((text) => !/[A-Za-z0-9_.-]$/.test(text));
  fc.assert(fc.property(around, around, (before, behind) => assert.ok(!withoutSecrets(before + JWT + behind).includes("c2lnbmF0dXJl"))));
});

/** An error as client libraries make them: the request, the answer and its body hang on it. */
function loaded(message: string): Error {
  const answer = { headers: { authorization: `Bearer ${JWT}` }, body: { data: { token: JWT } }, config: { password: "hunter2hunter2" } };
  return Object.assign(new Error(message), { response: answer, body: JWT, options: answer, code: "ERR_BODY" });
}

test("of an error only class, message, stack and code are told, because libraries hang requests and bodies on theirs", () => {
  const fields = errorFields(loaded("it was refused"));
  assert.deepEqual(Object.keys(fields).sort(), ["code", "message", "stack", "type"]);
  assert.deepEqual([fields.type, fields.message, fields.code], ["Error", "it was refused", "ERR_BODY"]);
  assert.ok(!inspect(fields).includes(HEADER));
});

test("a token in message, stack or any cause is taken out, because bodies end up in all of them", () => {
  const error = new TypeError(`answer: ${JWT}`, { cause: new Error(`body ${JWT}`, { cause: loaded(`Bearer ${JWT}`) }) });
  const fields = errorFields(error);
  assert.ok(!inspect(fields, { depth: 9 }).includes(HEADER));
  assert.equal(fields.cause?.cause?.message, "Bearer [token]");
  assert.equal(fields.type, "TypeError");
});

test("a code that is no word or number is left out, because it may be an object with anything in it", () => {
  for (const code of [{ token: JWT }, [JWT], null, undefined]) assert.ok(!("code" in errorFields(Object.assign(new Error("x"), { code }))));
});

test("whatever is thrown is told: it need not be an error", () => {
  for (const thrown of [undefined, null, "a text", 7, { token: JWT }, Symbol("s")]) assert.equal(errorFields(thrown).type, typeof thrown);
  assert.equal(errorFields(`refused ${JWT}`).message, "refused [token]");
});

test("an error that is logged is told by the same rule, under `err`", () => {
  const { log, said } = lines();
  log.tryFailed({ cluster: "c-one", err: loaded(`POST answered ${JWT}`), waitMs: 5 });
  const [line] = said();
  assert.deepEqual(Object.keys(line!["err"] as object).sort(), ["code", "message", "stack", "type"]);
  assert.ok(!JSON.stringify(line).includes(HEADER) && !JSON.stringify(line).includes("hunter2"));
});

test("fields that are called like secrets are blotted out, at the top and one level down, because one day somebody logs an object", () => {
  const { log, said } = lines();
  log.reconciled({
    token: "t-1",
    secret: "s-1",
    authorization: "a-1",
    data: { password: "p-1" },
    object: { token: "t-2", secret: "s-2", authorization: "a-2", data: "d-2" },
    user: "u-abc",
  });
  const text = JSON.stringify(said()[0]);
  assert.doesNotMatch(text, /[tsapd]-[12]"/);
  assert.match(text, /"user":"u-abc"/);
});

test("a line has its level, a constant sentence, the process and a time; what varies is in fields", () => {
  const { log, said } = lines();
  log.reconciled({ cluster: "c-one", user: "u\nabc" });
  log.terminal();
  const [first, second] = said();
  const { time, pid, ...rest } = first!;
  assert.ok(!Number.isNaN(Date.parse(String(time))));
  assert.equal(pid, process.pid);
  assert.deepEqual(rest, { level: 30, process: "test", cluster: "c-one", user: "u\nabc", msg: "impersonator reconciled" });
  assert.deepEqual([second!["level"], second!["msg"]], [50, "subject failed until a person acts"]);
});

test("a line is one line whatever its fields hold, or somebody's name would forge the next", () => {
  const written: string[] = [];
  const log = openLog("info", {}, { write: (line) => void written.push(line) });
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 20 }), (user) => {
      written.length = 0;
      log.reconciled({ user });
      assert.equal(written.length, 1);
      assert.equal(written[0]!.indexOf("\n"), written[0]!.length - 1);
    }),
  );
});

test("below the level nothing is said", () => {
  const { log, said } = lines("warn");
  log.reconciled();
  log.unchanged();
  log.gateClosed({ cluster: "c-one" });
  assert.deepEqual(
    said().map(({ msg }) => msg),
    ["cluster gate closed"],
  );
});

test("audit lines are written at every level, under a name of their own, but for silent", () => {
  const { log, said } = lines("fatal");
  log.accessGranted({ cluster: "c-one", user: "u-ada" });
  log.reconciled();
  assert.deepEqual(
    said().map(({ name, msg, user }) => [name, msg, user]),
    [["understudy.audit", "access granted", "u-ada"]],
  );
  const silent = lines("silent");
  silent.log.accessRevoked();
  assert.deepEqual(silent.said(), []);
});

// Settings of the credentials listener: what it gives away makes its caller a person, so nothing of it is on by accident.
import assert from "node:assert/strict";
import { test } from "node:test";
import { configOf, problemsOf } from "../../support/config.ts";

test("a credentials listener without a secret is a problem that names the fix, because it would make anybody a person", () => {
  const problems = problemsOf({ UNDERSTUDY_CREDENTIALS_LISTEN: "127.0.0.1:8403" });
  assert.deepEqual(problems, ["UNDERSTUDY_CREDENTIALS_SECRETS: UNDERSTUDY_CREDENTIALS_LISTEN needs one: openssl rand -base64 32"]);
  const config = configOf({ UNDERSTUDY_CREDENTIALS_LISTEN: "127.0.0.1:0", UNDERSTUDY_CREDENTIALS_SECRETS: "0123456789abcdef,fedcba9876543210" });
  assert.deepEqual(config.credentialsListen, { host: "127.0.0.1", port: 0 });
  assert.deepEqual(config.credentialsSecrets, ["0123456789abcdef", "fedcba9876543210"]);
  assert.equal(configOf({ UNDERSTUDY_CREDENTIALS_LISTEN: "off" }).credentialsListen, undefined);
});

test("a secret of the hook is none of the credentials listener, whether that is on or not, because whoever reports logins must not get tokens", () => {
  const shared = "the-same-secret-for-both";
  for (const listen of ["off", "127.0.0.1:0"]) {
    const settings = {
      UNDERSTUDY_CREDENTIALS_LISTEN: listen,
      UNDERSTUDY_HOOK_SECRETS: `0123456789abcdef, ${shared}`,
      UNDERSTUDY_CREDENTIALS_SECRETS: `${shared} ,fedcba9876543210`,
    };
    const [problem, ...more] = problemsOf(settings);
    assert.deepEqual(more, []);
    assert.match(problem!, /^UNDERSTUDY_CREDENTIALS_SECRETS: one of them is in UNDERSTUDY_HOOK_SECRETS too/);
    assert.ok(!problem!.includes(shared));
  }
});

test("the header of forward authentication is kept in lower case, and is none that a client sets or that means something here", () => {
  assert.equal(configOf({ UNDERSTUDY_FORWARD_AUTH_USER_HEADER: "X-Forwarded-User" }).forwardAuthUserHeader, "x-forwarded-user");
  for (const name of [
    "authorization",
    "AUTHORIZATION",
    "Impersonate-User",
    "impersonate-extra-x",
    "X-Understudy-Cluster",
    "x user",
    "x:user",
    "ü",
    "x\n",
    "x".repeat(65),
  ])
    assert.match(problemsOf({ UNDERSTUDY_FORWARD_AUTH_USER_HEADER: name }).join(), /^UNDERSTUDY_FORWARD_AUTH_USER_HEADER: \S/, name);
});

test("a token is a Secret's or a requested one", () => {
  assert.equal(configOf({ UNDERSTUDY_TOKEN_MODE: "request" }).tokenMode, "request");
});

// Who a proxy asks for, read from its headers: a value that a client could have slipped in beside the proxy's must never decide.
import assert from "node:assert/strict";
import { test } from "node:test";
import { forwardedFrom } from "../../../producers/forward-auth.ts";

const USER = "x-forwarded-user";
const read = (headers: Readonly<Record<string, readonly string[]>>) => forwardedFrom(headers as Parameters<typeof forwardedFrom>[0], USER);
const person = { [USER]: ["u-ada"] };
const cluster = { "x-understudy-cluster": ["c-one"] };

test("the person is the header's UTF-8, byte for byte", () => {
  for (const user of ["u-ada", "Größe", "名前", "a, b", "\u{feff}u", "x".repeat(1024)])
    assert.deepEqual(read({ [USER]: [Buffer.from(user).toString("latin1")], ...cluster }), { user, cluster: "c-one" });
});

for (const uri of ["/c-one", "/c-one/api/v1/pods?x=/c-two", "/clusters/c-one/api", "/k8s/clusters/c-one/api", "/k8s/clusters/c-one", "/c-one/a.b/..c"]) {
  test(`${uri} is a path on cluster c-one`, () => assert.deepEqual(read({ ...person, "x-forwarded-uri": [uri] }), { user: "u-ada", cluster: "c-one" }));
}

test("X-Understudy-Cluster goes before the path", () => {
  assert.deepEqual(read({ ...person, ...cluster, "x-forwarded-uri": ["/c-two/api"] }), { user: "u-ada", cluster: "c-one" });
});

const unclear = [
  "",
  "/",
  "c-one/api",
  "/C-One/api",
  "//c-one/api",
  "/c-two/../c-one",
  "/./c-one",
  "/%2e%2e/c-one",
  "/c-two/%2E./c-one",
  "/c-two%2fc-one",
  "/c-one\\..\\c-two",
  "/c-one/api/..",
];
for (const uri of unclear) {
  test(`a path of ${JSON.stringify(uri)} names no cluster, because another proxy may read it in another way`, () => {
    const answer = read({ ...person, "x-forwarded-uri": [uri] });
    assert.ok("status" in answer);
    assert.equal(answer.status, 400);
    assert.match(answer.detail, /^cluster: /);
  });
}

test("a header that came twice is refused by its name, because one of the two is the client's", () => {
  for (const name of [USER, "x-understudy-cluster", "x-forwarded-uri"]) {
    const answer = read({ ...person, ...cluster, [name]: ["u-ada", "u-ada"] });
    assert.ok("status" in answer);
    assert.equal(answer.status, 400);
    assert.match(answer.detail, new RegExp(`^${name} came more than once`));
  }
});

test("no person is 401, and one that is no UTF-8 or too long is 400", () => {
  const statusOf = (headers: Readonly<Record<string, readonly string[]>>): number | undefined => {
    const answer = read({ ...headers, ...cluster });
    return "status" in answer ? answer.status : undefined;
  };
  assert.equal(statusOf({}), 401);
  assert.equal(statusOf({ [USER]: [""] }), 401);
  assert.equal(statusOf({ [USER]: ["\xff"] }), 400);
  assert.equal(statusOf({ [USER]: ["x".repeat(1025)] }), 400);
});

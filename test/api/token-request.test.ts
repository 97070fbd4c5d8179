// Tokens by TokenRequest: no Secret of an impersonator exists, so none can be read, and whoever changes the setting, there or back, ends where the setting says.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { nameOf } from "../../shared/names.ts";
import { callsDuring, loggedIn, openQuiet, settledAfter, watched } from "../support/evidence.ts";
import type { House } from "../support/house.ts";
import {
  type Called,
  type Who,
  NAMESPACE,
  actAs,
  assertActsAsExactly,
  assertGone,
  objectsOf,
  requestedToken,
  tokenOf,
  writesOf,
} from "../support/impersonator.ts";
import { Vandal } from "../support/vandal.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 60_000 };
const REF = "rancher.io/service-account.secret-ref";
let house: House;
before(async () => {
  house = await openQuiet({ clusters: [CLUSTER], workers: 1, management: false, settings: { UNDERSTUDY_TOKEN_MODE: "request" } });
  await watched(house, CLUSTER, "u-first");
});
after(() => house?.[Symbol.asyncDispose]());

const server = () => house.cluster(CLUSTER);
const who = (user: string, ...groups: string[]): Who => ({ user, groups: ["developers", ...groups], extras: { username: [user] } });
const logIn = (user: string, ...groups: string[]) => loggedIn(house, user, CLUSTER, { groups: ["developers", ...groups], extras: { username: [user] } });
const hand = (user: string, secret = ""): Vandal => new Vandal(server(), nameOf(user), secret);
/** `create serviceaccounts/token`, …, in the order of their arrival. */
const named = (calls: readonly Called[], user: string): string[] =>
  calls
    .filter(({ name, uri }) => name === nameOf(user) || uri.includes("selfsubjectreviews"))
    .toSorted((a, b) => (a.received < b.received ? -1 : 1))
    .map(
      ({ verb, uri }) =>
        `${verb} ${uri
          .split("?")[0]!
          .replace(/^.*\/(?:v1|cattle-impersonation-system)\//, "")
          .replace(`/${nameOf(user)}`, "")}`,
    );
async function assertWithoutSecret(user: string): Promise<void> {
  const { account, secrets } = await objectsOf(server(), user);
  assert.deepEqual([secrets, account.metadata.annotations[REF]], [[], undefined]);
}
async function verify(user: string): Promise<void> {
  const { code, stdout, stderr } = await house.command(["verify", "--cluster", CLUSTER, "--user", user]);
  assert.equal(code, 0, stdout + stderr);
}

test("a set-up is one look, three objects, one token and one review, because a Secret that is not there cannot be read by anybody", async (t) => {
  const user = "u-cold";
  const began = performance.now();
  const calls = named(await callsDuring(server(), () => logIn(user)), user);
  t.diagnostic(`ready after ${Math.round(performance.now() - began)} ms, ${calls.length} calls`);
  assert.deepEqual(
    calls.filter((call, i) => call !== calls[i - 1]),
    [
      "get clusterrolebindings",
      "create clusterroles",
      "create serviceaccounts",
      "create clusterrolebindings",
      "create serviceaccounts/token",
      "create selfsubjectreviews",
    ],
  );
  await assertWithoutSecret(user);
  await assertActsAsExactly(server(), who(user), await requestedToken(server(), user));
  await verify(user);
});

test("a change is proved with a token that was asked for, and an unchanged login costs no call", async () => {
  const user = "u-change";
  await logIn(user);
  const calls = await callsDuring(server(), () => logIn(user, "admins"));
  assert.deepEqual([...new Set(named(calls, user))], ["update clusterroles", "create serviceaccounts/token", "create selfsubjectreviews"]);
  await assertActsAsExactly(server(), who(user, "admins"), await requestedToken(server(), user));
  assert.deepEqual(named(await callsDuring(server(), () => logIn(user, "admins")), user), []);
});

test("a token Secret that somebody makes for the account is removed, because its token would outlive every request", async () => {
  const user = "u-stray";
  await logIn(user);
  const name = `${nameOf(user)}-token-stray`;
  await hand(user).create("secrets", {
    type: "kubernetes.io/service-account-token",
    metadata: { name, labels: { "cattle.io/service-account.name": nameOf(user) }, annotations: { "kubernetes.io/service-account.name": nameOf(user) } },
  });
  await waitUntil("the Secret has gone", async () => (await server().call("GET", `/api/v1/namespaces/${NAMESPACE}/secrets/${name}`)).status === 404, DEADLINE);
  await house.waitFor(CLUSTER, user, "ready", DEADLINE);
  await assertWithoutSecret(user);
});

test("a removal leaves nothing, and a token that was asked for before dies with its account", async () => {
  const user = "u-end";
  await logIn(user);
  const token = await requestedToken(server(), user);
  assert.equal((await actAs(server(), token, who(user))).status, 201);
  await settledAfter(house, { clusters: [CLUSTER], user, state: "removed" }, () => house.hook("DELETE", `/v1/logins/${user}`));
  await assertGone(server(), user);
  assert.notEqual((await actAs(server(), token, who(user))).status, 201);
  await waitUntil("the token is dead", async () => (await actAs(server(), token, who(user))).status === 401, DEADLINE);
});

/** The worker, and with it the producer or later, under the other setting. */
async function restarted(mode: string, what: readonly ("worker" | "producer")[]): Promise<void> {
  house.settings["UNDERSTUDY_TOKEN_MODE"] = mode;
  const running = { worker: house.workers, producer: [house.producer] };
  await Promise.all(what.flatMap((name) => running[name]).map((process) => process.stop()));
  await Promise.all(what.map((name) => house.start(name)));
}
const accountOf = async (user: string) => (await objectsOf(server(), user)).account;

test("whoever changes the setting, there and back, ends with what it says: the Secret goes and its token with it, and a new one gets a new name", async (t) => {
  const [user, early] = ["u-switch", "u-early"];
  await restarted("secret", ["worker", "producer"]);
  await Promise.all(
    ["u-first", "u-cold"].map((one) => waitUntil(`${one} has a Secret`, async () => (await objectsOf(server(), one)).secrets.length === 1, DEADLINE)),
  );
  for (const one of [user, early]) await loggedIn(house, one, CLUSTER, { groups: ["developers"], extras: { username: [one] } });
  const token = await tokenOf(server(), user);
  const [secret] = (await objectsOf(server(), user)).secrets;
  await assertActsAsExactly(server(), who(user));
  // Other controllers write into accounts as well: what they wrote stays, also where a login comes before the resync.
  await settledAfter(house, { clusters: [CLUSTER], user: early }, async () => {
    await hand(early).annotate("serviceaccounts", "team", "blue");
    await hand(early).edit("serviceaccounts", (account) => (account.imagePullSecrets = [{ name: "registry" }]));
    assert.equal((await house.command(["enqueue", "--cluster", CLUSTER, "--user", early])).code, 0);
  });
  await restarted("request", ["worker"]);
  await logIn(early, "admins");
  await assertWithoutSecret(early);
  const account = await accountOf(early);
  assert.deepEqual([account.metadata.annotations["team"], account.imagePullSecrets], ["blue", [{ name: "registry" }]]);

  await restarted("request", ["producer"]);
  await waitUntil("the Secret has gone", async () => (await objectsOf(server(), user)).secrets.length === 0, DEADLINE);
  const gone = Date.now();
  await waitUntil("its token is dead", async () => (await actAs(server(), token, who(user))).status === 401, DEADLINE);
  t.diagnostic(`dead ${Date.now() - gone} ms after its Secret`);
  await house.waitFor(CLUSTER, user, "ready", DEADLINE);
  for (const one of [user, "u-first", "u-cold"])
    await waitUntil(`${one} names no Secret`, async () => (await accountOf(one)).metadata.annotations[REF] === undefined, DEADLINE);
  await assertWithoutSecret(user);
  await assertActsAsExactly(server(), who(user), await requestedToken(server(), user));
  await verify(user);

  await restarted("secret", ["worker", "producer"]);
  await waitUntil("there is a Secret again", async () => (await objectsOf(server(), user)).secrets[0]?.data?.token, DEADLINE);
  await house.waitFor(CLUSTER, user, "ready", DEADLINE);
  const { secrets } = await objectsOf(server(), user);
  assert.equal(secrets.length, 1);
  assert.notEqual(secrets[0].metadata.name, secret.metadata.name);
  await assertActsAsExactly(server(), who(user));
  assert.equal((await actAs(server(), token, who(user))).status, 401, "the old token stays dead");
  await verify(user);
  const quiet = await callsDuring(server(), () =>
    settledAfter(house, { clusters: [CLUSTER], user }, () => house.command(["enqueue", "--cluster", CLUSTER, "--user", user])),
  );
  // The others still change over to the setting.
  assert.deepEqual(writesOf(quiet.filter(({ name }) => name.startsWith(nameOf(user)))), []);
});

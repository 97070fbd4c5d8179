// News that crosses: two producers of which one lags, watches that tell in another order than it happened, bindings that come and go while a login is stored,
// and objects that were taken away together. One producer reaches Redis through a proxy, both reach the management cluster through one.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Store, openStore } from "../../shared/run/redis.ts";
import type { ApiServer } from "../apiserver/start.ts";
import { auditEnd, callsOf, writesIn } from "../support/audit.ts";
import { HOOK_SECRET, type Process } from "../support/house.ts";
import { NAMESPACE, actAs, assertActsAsExactly, assertGone, objectsOf, tokenOf } from "../support/impersonator.ts";
import { deleteCrtb, deletePrtb, putCrtb, putPrtb, putUser } from "../support/rancher-objects.ts";
import { type RedisProxy, startRedisProxy } from "../support/redis-proxy.ts";
import { logIn, onlySecretOf, settledAs, told } from "../support/scenes.ts";
import { type TrappedHouse, firstResync, openTrappedHouse } from "../support/traps.ts";
import { waitUntil } from "../support/wait-until.ts";

const C = "c-one";
/** Where the garbage collector and the token controller rest at times. */
const R = "c-two";
let trapped: TrappedHouse;
let server: ApiServer;
let redis: RedisProxy;
let store: Store;
/** Does all that is not about it. */
let second: Process;

const management = (): ApiServer => trapped.house.management!;
const bound = async (user: string, cluster = C): Promise<void> => {
  await putUser(management(), user);
  await putCrtb(management(), cluster, user, { userName: user });
};
const local = (user: string) => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });
const look = async (cluster: string, user: string): Promise<void> =>
  told(trapped.house, cluster, user, async () => assert.equal((await trapped.house.command(["enqueue", "--cluster", cluster, "--user", user])).code, 0));
const deletesOf = (user: string) =>
  trapped
    .at(C)
    .of(user)
    .filter(({ call }) => call.startsWith("DELETE"));

/** Waits until a producer, the second where none is named, has heard that members of this group are entitled, or no longer are. */
async function isHeard(group: string, entitled: boolean, producer = second): Promise<void> {
  const body = JSON.stringify({ user: "u-probe", cluster: C, provider: "github", groups: [group] });
  const headers = { authorization: `Bearer ${HOOK_SECRET}`, "content-type": "application/json" };
  await waitUntil("the producer has heard it", async () => {
    const { status } = await fetch(`${producer.started["hook"]}/v1/logins`, { method: "POST", headers, body });
    return entitled ? status < 300 : status === 403;
  });
}

async function laggingProducer(): Promise<void> {
  const { house } = trapped;
  const user = "u-q20";
  second.child.kill("SIGSTOP");
  await bound(user);
  await settledAs(house, C, user, "ready");
  const token = await tokenOf(server, user);
  await deleteCrtb(management(), C, user);
  const removed = await settledAs(house, C, user, "removed");
  const seenBefore = trapped.at(C).of(user).length;
  await putCrtb(management(), C, "q20-after", { groupPrincipalName: "github_org://q20" });
  second.child.kill("SIGCONT");
  await isHeard("github_org://q20", true);
  assert.deepEqual(await settledAs(house, C, user, "removed"), removed, "what it tells late is no news");
  assert.deepEqual(trapped.at(C).of(user).slice(seenBefore), []);
  await assertGone(server, user);
  assert.notEqual((await actAs(server, token, { user })).status, 201);
}

/** A member of both groups logs in; while the first producer stores that, `act` changes bindings, and the second producer knows it. */
async function duringLogin(user: string, groups: readonly string[], act: () => Promise<void>): Promise<void> {
  await putUser(management(), user);
  const stored = redis.hold("request", (text) => text.includes(`"subject":"${C}/${user}"`) && text.includes('"login":{'));
  const login = logIn(trapped.house, user, C, groups);
  await stored.caught();
  await act();
  stored.release();
  await login;
}

async function bindingComesDuringLogin(): Promise<void> {
  const user = "u-q24-comes";
  const [first, next] = ["github_org://q24-first", "github_org://q24-next"];
  await putCrtb(management(), C, "q24-first", { groupPrincipalName: first });
  await isHeard(first, true);
  await duringLogin(user, [first, next], async () => {
    await putCrtb(management(), C, "q24-next", { groupPrincipalName: next });
    await isHeard(next, true);
  });
  await settledAs(trapped.house, C, user, "ready");
  const token = await tokenOf(server, user);
  await deleteCrtb(management(), C, "q24-first");
  await isHeard(first, false);
  await look(C, user);
  await settledAs(trapped.house, C, user, "ready");
  assert.deepEqual(deletesOf(user), []);
  assert.equal(await tokenOf(server, user), token);
  await assertActsAsExactly(server, { user, groups: [first, next] });
}

async function bindingEndsDuringLogin(): Promise<void> {
  const user = "u-q24-ends";
  const group = "github_org://q24-ends";
  await putCrtb(management(), C, "q24-ends", { groupPrincipalName: group });
  for (const producer of [trapped.house.producer, second]) await isHeard(group, true, producer);
  await putUser(management(), user);
  const stored = redis.hold("request", (text) => text.includes(`"subject":"${C}/${user}"`) && text.includes('"login":{'));
  const login = trapped.house.hook("POST", "/v1/logins", { user, cluster: C, provider: "github", groups: [group] });
  await stored.caught();
  await deleteCrtb(management(), C, "q24-ends");
  await isHeard(group, false);
  stored.release();
  await login;
  await settledAs(trapped.house, C, user, "removed");
  await assertGone(server, user);
}

/** The user's own binding is of one kind, the group's of the other: two watches. */
async function ownBindingEnds(user: string, own: "CRTB" | "PRTB"): Promise<void> {
  const { house } = trapped;
  const group = `github_org://${user}`;
  const put = (kind: string, name: string, holder: object) =>
    kind === own ? putCrtb(management(), C, name, holder) : putPrtb(management(), C, "p-1", name, holder);
  const end = (kind: string, name: string) => (kind === own ? deleteCrtb(management(), C, name) : deletePrtb(management(), C, "p-1", name));
  const kinds = own === "CRTB" ? (["CRTB", "PRTB"] as const) : (["PRTB", "CRTB"] as const);
  await putUser(management(), user);
  await put(kinds[0], `${user}-own`, { userName: user });
  await put(kinds[1], `${user}-group`, { groupPrincipalName: group });
  await logIn(house, user, C, [group]);
  await isHeard(group, true);
  await settledAs(house, C, user, "ready");
  const token = await tokenOf(server, user);
  await end(kinds[0], `${user}-own`);
  await waitUntil("the ledger knows of no binding of the user's own", async () => (await store.ledger.record({ cluster: C, user }))?.grants.length === 0);
  await settledAs(house, C, user, "ready");
  assert.deepEqual(deletesOf(user), []);
  assert.equal((await actAs(server, token, { user, groups: [group] })).status, 201);
  await assertActsAsExactly(server, { user, groups: [group] });
  await end(kinds[1], `${user}-group`);
  await settledAs(house, C, user, "removed");
  await assertGone(server, user);
}

/** The end of the own binding is heard before the group binding, which was there first. */
async function groupBindingToldLate(): Promise<void> {
  const { house } = trapped;
  const user = "u-q25-late";
  const group = "github_org://q25-late";
  const released = Promise.withResolvers<void>();
  await putUser(management(), user);
  await putPrtb(management(), C, "p-1", `${user}-own`, { userName: user });
  await logIn(house, user, C, [group]);
  await settledAs(house, C, user, "ready");
  trapped.management!.giveAll(({ path, url }) =>
    path.endsWith("/clusterroletemplatebindings") && url.includes("watch=true") ? { hold: released.promise } : undefined,
  );
  trapped.management!.proxy.cut();
  await putCrtb(management(), C, "q25-late", { groupPrincipalName: group });
  await deletePrtb(management(), C, "p-1", `${user}-own`);
  await settledAs(house, C, user, "removed");
  trapped.management!.giveAll(undefined);
  released.resolve();
  await settledAs(house, C, user, "ready");
  await assertActsAsExactly(server, { user, groups: [group] });
}

async function secretAndBindingGone(): Promise<void> {
  const user = "u-q26";
  await bound(user);
  await settledAs(trapped.house, C, user, "ready");
  const token = await tokenOf(server, user);
  const first = await onlySecretOf(server, user);
  const name = (await objectsOf(server, user)).role.metadata.name;
  for (const path of [`/api/v1/namespaces/${NAMESPACE}/secrets/${first}`, `/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/${name}`]) {
    assert.equal((await server.call("DELETE", path)).status, 200);
  }
  await look(C, user);
  await settledAs(trapped.house, C, user, "ready");
  assert.notEqual(await onlySecretOf(server, user), first);
  await assertActsAsExactly(server, local(user));
  await waitUntil("the revoked token is refused", async () => (await actAs(server, token, { user })).status === 401);
}

async function roleGone(): Promise<void> {
  const { house } = trapped;
  const user = "u-q17";
  const other = house.cluster(R);
  await bound(user, R);
  await settledAs(house, R, user, "ready");
  other.pauseControllerManager();
  const { role, binding } = await objectsOf(other, user);
  const position = await auditEnd(other);
  assert.equal((await other.call("DELETE", `/apis/rbac.authorization.k8s.io/v1/clusterroles/${role.metadata.name}`)).status, 200);
  await look(R, user);
  // Until its token is filled; whoever works then need not be who works now.
  await waitUntil("it waits for its token", async () => (await house.row(R, user))?.reason.includes("token"));
  const removed = ["delete clusterrolebindings", "delete secrets", "delete serviceaccounts"];
  const made = ["create clusterroles", "create serviceaccounts", "create secrets", "create clusterrolebindings"];
  assert.deepEqual(writesIn((await callsOf(other, [user], position)).get(user)!), [...removed, ...made]);
  const old = house.workers;
  await house.start("worker");
  for (const code of await Promise.all(old.map((worker) => worker.stop("SIGTERM")))) assert.equal(code, 0);
  other.resumeControllerManager();
  await settledAs(house, R, user, "ready");
  assert.notEqual((await objectsOf(other, user)).binding.metadata.uid, binding.metadata.uid);
  await assertActsAsExactly(other, local(user));
}

describe("news that crosses", { timeout: 240_000 }, () => {
  before(async () => {
    trapped = await openTrappedHouse({ clusters: [C, R], producers: 0 });
    const { house } = trapped;
    redis = await startRedisProxy(house.redis);
    store = await openStore(house.redis.url, "understudy", 5_000, () => undefined);
    server = house.cluster(C);
    await house.start("producer", { UNDERSTUDY_REDIS_URL: redis.url });
    second = await house.start("producer");
    await firstResync(house, [C, R]);
  });
  after(async () => {
    await store[Symbol.asyncDispose]();
    await trapped[Symbol.asyncDispose]();
    await redis[Symbol.asyncDispose]();
  });

  test("Q20 a producer that lags behind a removal does not bring the binding back", laggingProducer);
  test("Q24 a group binding that comes while a member's login is stored entitles the member", bindingComesDuringLogin);
  test("Q24 a group binding that ends while a member's login is stored does not entitle any more", bindingEndsDuringLogin);
  test("Q25 a user's CRTB ends where a group's PRTB is: never absent", () => ownBindingEnds("u-q25-crtb", "CRTB"));
  test("Q25 a user's PRTB ends where a group's CRTB is: never absent", () => ownBindingEnds("u-q25-prtb", "PRTB"));
  test("Q25 a group's binding that is told after the end of the one it replaces brings the member back", groupBindingToldLate);
  test("Q26 Secret and binding deleted together: the new Secret has another name, and the revoked token stays revoked", secretAndBindingGone);
  test("Q17 a role deleted by hand: the binding that was left goes before the new role comes, and other workers finish what waits for its token", roleGone);
});

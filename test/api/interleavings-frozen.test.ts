// A worker that is stopped (SIGSTOP) with a call on its way, longer than its lock lasts. Others take its subjects over; then it goes on, and its call lands.
// The scenes share one frozen worker: the first worker has a call of each scene in hand when it is stopped.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { ApiServer } from "../apiserver/start.ts";
import { NAMESPACE, actAs, assertActsAsExactly, assertGone, objectsOf, tokenOf } from "../support/impersonator.ts";
import { deleteCrtb, putAttribute, putCrtb, putUser } from "../support/rancher-objects.ts";
import { SEALED_BY, TAKE_OVER_MS, landed, logIn, onlySecretOf, settledAs, told, writesBy } from "../support/scenes.ts";
import { Together } from "../support/together.ts";
import { type TrappedHouse, openTrappedHouse, processOf } from "../support/traps.ts";

const C = "c-one";

let trapped: TrappedHouse;
let server: ApiServer;
/** User-Agent of the worker that is frozen. */
let frozenAgent: string;
const together = new Together();
const scenes: [name: string, act: () => Promise<void>][] = [];
const scene = (name: string, act: () => Promise<void>): void => void scenes.push([name, act]);

/** Everybody has arranged what comes before. */
const arranged = (): Promise<void> => together.step("arranged");
/** Every scene has its call held; then the worker stops, and others start. */
const freeze = (agent: string): Promise<void> =>
  together.step("frozen", async () => {
    frozenAgent = agent;
    processOf(trapped.house, agent).child.kill("SIGSTOP");
    await Promise.all([trapped.house.start("worker"), trapped.house.start("worker")]);
  });
/** Goes on, and ends whatever it still has in hand. */
const thaw = (): Promise<void> =>
  together.step("thawed", async () => {
    const worker = processOf(trapped.house, frozenAgent);
    worker.child.kill("SIGCONT");
    assert.equal(await worker.stop(), 0);
  });
const bound = async (user: string): Promise<void> => {
  await putUser(trapped.house.management!, user);
  await putCrtb(trapped.house.management!, C, user, { userName: user });
};
const unbound = (user: string): Promise<unknown> => deleteCrtb(trapped.house.management!, C, user);
const github = (user: string, ...groups: string[]) => ({ user, groups, extras: {} });
const local = (user: string) => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });

scene("Q1 its POST of a role lands after others made and removed the impersonator: no binding comes", async () => {
  const { house } = trapped;
  const user = "u-q1";
  const trap = trapped.at(C).hold(user, "POST ClusterRole");
  await arranged();
  await bound(user);
  await freeze(await trap.caught());
  await logIn(house, user, C);
  await settledAs(house, C, user, "ready");
  const token = await tokenOf(server, user);
  await told(house, C, user, () => unbound(user));
  await settledAs(house, C, user, "removed");
  await assertGone(server, user);
  assert.equal((await landed(server, { user, agent: frozenAgent, call: "POST ClusterRole" }, trap)).code, 201, "the role landed");
  await thaw();
  assert.deepEqual(await writesBy(server, user, frozenAgent), ["create clusterroles 201"]);
  const { binding, account, secrets } = await objectsOf(server, user);
  assert.deepEqual([binding, account, secrets], [undefined, undefined, []]);
  assert.notEqual((await actAs(server, token, { user })).status, 201, "nobody may act as the user");
  await told(house, C, user, async () => assert.equal((await house.command(["enqueue", "--cluster", C, "--user", user])).code, 0));
  await settledAs(house, C, user, "removed");
  await assertGone(server, user);
});

scene("Q2 its POST of a role lands after the remover saw that there is none: the remover looks again", async () => {
  const { house } = trapped;
  const user = "u-q2";
  const trap = trapped.at(C).hold(user, "POST ClusterRole");
  await arranged();
  await bound(user);
  await freeze(await trap.caught());
  const look = trapped.at(C).hold(user, "GET ClusterRoleBinding", "after", (agent) => agent !== frozenAgent);
  await logIn(house, user, C);
  const remover = await look.caught(TAKE_OVER_MS);
  await told(house, C, user, () => unbound(user));
  assert.equal((await landed(server, { user, agent: frozenAgent, call: "POST ClusterRole" }, trap)).code, 201);
  look.release();
  await settledAs(house, C, user, "removed");
  await assertGone(server, user);
  assert.deepEqual((await writesBy(server, user, remover)).slice(0, 1), ["delete clusterroles 200"], "found, and removed");
  await thaw();
  await assertGone(server, user);
});

scene("Q3 its PUT of wider rules lands after others had nothing to change: the seal refuses it", async () => {
  const { house } = trapped;
  const user = "u-q3";
  await bound(user);
  await logIn(house, user, C, ["github_org://1"]);
  await settledAs(house, C, user, "ready");
  await arranged();
  const trap = trapped.at(C).hold(user, "PUT ClusterRole");
  await logIn(house, user, C, ["github_org://1", "github_org://2"]);
  await freeze(await trap.caught());
  await told(house, C, user, () => putAttribute(house.management!, user, { groups: { github: ["github_org://1"] } }));
  await settledAs(house, C, user, "ready");
  const sealed = (await objectsOf(server, user)).role.metadata;
  assert.ok(sealed.annotations[SEALED_BY]);
  assert.equal((await landed(server, { user, agent: frozenAgent, call: "PUT ClusterRole" }, trap)).code, 409);
  await thaw();
  assert.equal((await objectsOf(server, user)).role.metadata.resourceVersion, sealed.resourceVersion);
  await assertActsAsExactly(server, github(user, "github_org://1"));
});

scene("Q4 its DELETE of the role lands after the user was bound again and others had nothing to change: the seal refuses it", async () => {
  const { house } = trapped;
  const user = "u-q4";
  await bound(user);
  await settledAs(house, C, user, "ready");
  const token = await tokenOf(server, user);
  await arranged();
  const trap = trapped.at(C).hold(user, "DELETE ClusterRole");
  await unbound(user);
  await freeze(await trap.caught());
  await told(house, C, user, () => putCrtb(house.management!, C, `${user}-again`, { userName: user }));
  await settledAs(house, C, user, "ready");
  assert.ok((await objectsOf(server, user)).role.metadata.annotations[SEALED_BY]);
  assert.equal((await landed(server, { user, agent: frozenAgent, call: "DELETE ClusterRole" }, trap)).code, 409);
  await thaw();
  assert.deepEqual(await writesBy(server, user, frozenAgent).then((writes) => writes.slice(4)), ["delete clusterroles 409"]);
  assert.equal(await tokenOf(server, user), token);
  await assertActsAsExactly(server, local(user));
});

scene("Q5 the answer to its first look comes while another has the subject: it may not read the ledger, and writes nothing", async () => {
  const { house } = trapped;
  const user = "u-q5";
  const trap = trapped.at(C).hold(user, "GET ClusterRoleBinding", "after");
  await arranged();
  await bound(user);
  await freeze(await trap.caught());
  // Half done, so that whoever read the ledger now would find something to write.
  const half = trapped.at(C).hold(user, "POST ServiceAccount", "before", (agent) => agent !== frozenAgent);
  await logIn(house, user, C);
  await half.caught(TAKE_OVER_MS);
  trap.release();
  await thaw();
  assert.deepEqual(await writesBy(server, user, frozenAgent), []);
  half.release();
  await settledAs(house, C, user, "ready");
  await onlySecretOf(server, user);
  await assertActsAsExactly(server, local(user));
});

scene("Q27 it was about to make the Secret of a rotation when others rotated: one Secret stays", async () => {
  const { house } = trapped;
  const user = "u-q27";
  await bound(user);
  await settledAs(house, C, user, "ready");
  const first = await onlySecretOf(server, user);
  const token = await tokenOf(server, user);
  await arranged();
  const trap = trapped.at(C).hold(user, "PUT ServiceAccount", "after");
  assert.equal((await server.call("DELETE", `/api/v1/namespaces/${NAMESPACE}/secrets/${first}`)).status, 200);
  assert.equal((await house.command(["enqueue", "--cluster", C, "--user", user])).code, 0);
  await freeze(await trap.caught());
  const second = (await objectsOf(server, user)).account.metadata.annotations["rancher.io/service-account.secret-ref"];
  await logIn(house, user, C);
  await settledAs(house, C, user, "ready");
  trap.release();
  await thaw();
  const third = await onlySecretOf(server, user);
  assert.ok(![first, second].includes(third), "each rotation has a name of its own");
  await assertActsAsExactly(server, local(user));
  assert.notEqual((await actAs(server, token, { user })).status, 201, "the revoked token stays revoked");
});

describe("a worker frozen past its lock", { concurrency: true, timeout: 240_000 }, () => {
  before(async () => {
    trapped = await openTrappedHouse({ clusters: [C], workers: 1, settings: { UNDERSTUDY_CONCURRENCY: "32" } });
    server = trapped.house.cluster(C);
  });
  after(() => trapped[Symbol.asyncDispose]());
  for (const [name, act] of scenes) test(name, together.taking(act));
});

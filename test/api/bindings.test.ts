// Bindings of users, from the management cluster to a request with the impersonator's own token: who gets one, when, and when it goes.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { callsDuring, median, metricOf, openQuiet, settledAfter } from "../support/evidence.ts";
import type { House } from "../support/house.ts";
import { actAs, assertActsAsExactly, assertGone, objectsOf, tokenOf, type Who, writesOf } from "../support/impersonator.ts";
import { assertToTheLetter, named } from "../support/letter.ts";
import { deleteCrtb, deletePrtb, putCrtb, putPrtb, putUser } from "../support/rancher-objects.ts";
import { waitUntil } from "../support/wait-until.ts";

const V3 = "/apis/management.cattle.io/v3";
const BUILT_IN = ["system:authenticated", "system:cattle:authenticated"];
let house: House;
before(async () => (house = await openQuiet()));
after(() => house[Symbol.asyncDispose]());

/** Who a user is before any login: what the User object says. */
const asUserObject = (user: string): Who => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });
const on = (cluster: string, user: string, state: "ready" | "removed" | "waiting" = "ready") => ({ clusters: [cluster], user, state });

/** A user with a CRTB on c-one and a PRTB there, settled. */
async function withTwoBindings(user: string): Promise<void> {
  await putUser(house.management!, user);
  await putCrtb(house.management!, "c-one", user, { userName: user });
  await house.waitFor("c-one", user, "ready");
  await settledAfter(house, on("c-one", user), () => putPrtb(house.management!, "c-one", "p-two", user, { userName: user }));
}

test("M1 the objects of users with a binding are right to the letter, whether their id is a name or not", async () => {
  const ids = {
    "u-letter": "u-letter",
    "u-fedcba9876543210": "u-fedcba9876543210-6c9acf6e3e8a905a",
    "u-a-name.of-more-than-42-characters.is-possible": "u-a-name-of-more-than-42-dd5ca8406a365157",
  };
  for (const [user, slug] of Object.entries(ids)) {
    await putUser(house.management!, user, { displayName: "Alice A.", principalIds: [`local://${user}`, "github_user://11"] });
    await putCrtb(house.management!, "c-one", user, { userName: user });
    await house.waitFor("c-one", user, "ready");
    const rules = [
      named("users", [user]),
      named("groups", BUILT_IN),
      named("userextras/principalid", ["github_user://11", `local://${user}`]),
      named("userextras/username", ["Alice A."]),
    ];
    await assertToTheLetter(house.cluster("c-one"), { user, name: `cattle-impersonation-${slug}`, rules });
    await assertActsAsExactly(house.cluster("c-one"), { user, extras: { principalid: ["github_user://11", `local://${user}`], username: ["Alice A."] } });
  }
});

test("M2 a CRTB gives its user an impersonator on its cluster and on no other, for four writes, and takes it along", async (t) => {
  const users = Array.from({ length: 15 }, (_, i) => `u-crtb-${i}`);
  for (const user of users) await putUser(house.management!, user);
  // A stream tells in order: once the last user is known all are.
  await putUser(house.management!, "u-crtb-last");
  await settledAfter(house, on("c-one", "u-crtb-last"), () => putCrtb(house.management!, "c-one", "u-crtb-last", { userName: "u-crtb-last" }));
  const figures = { readyMs: [] as number[], removedMs: [] as number[], coldCalls: [] as number[], removalCalls: [] as number[] };
  for (const user of users) {
    const began = performance.now();
    const cold = await callsDuring(house.cluster("c-one"), async () => {
      await settledAfter(house, on("c-one", user), () => putCrtb(house.management!, "c-one", user, { userName: user }));
    });
    figures.readyMs.push(performance.now() - began);
    figures.coldCalls.push(cold.length);
    assert.deepEqual(
      writesOf(cold).map(({ verb, uri, code }) => `${verb} ${uri.split("/").at(-1)} ${code}`),
      ["create clusterroles 201", "create serviceaccounts 201", "create secrets 201", "create clusterrolebindings 201"],
    );
    assert.ok(writesOf(cold).every(({ name }) => name.startsWith(`cattle-impersonation-${user}`)));
  }
  await assertActsAsExactly(house.cluster("c-one"), asUserObject(users[0]!));
  await assertGone(house.cluster("c-two"), users[0]!);
  for (const user of users) {
    const token = await tokenOf(house.cluster("c-one"), user);
    const began = performance.now();
    const removal = await callsDuring(house.cluster("c-one"), async () => {
      await settledAfter(house, on("c-one", user, "removed"), () => deleteCrtb(house.management!, "c-one", user));
    });
    figures.removedMs.push(performance.now() - began);
    figures.removalCalls.push(removal.length);
    assert.notEqual((await actAs(house.cluster("c-one"), token, { user })).status, 201, "the old token is worth nothing at once");
    await assertGone(house.cluster("c-one"), user);
  }
  for (const [figure, values] of Object.entries(figures)) t.diagnostic(`${figure}: median ${median(values).toFixed(0)}, max ${Math.max(...values).toFixed(0)}`);
  assert.equal(median(figures.coldCalls), 7, "GET, four writes, GET of the filled Secret, one review");
  assert.equal(median(figures.removalCalls), 4, "four deletes");
});

test("M3 a PRTB gives its user an impersonator on the cluster that stands before the colon, wherever its project's namespace lies", async () => {
  const { management } = house;
  await putUser(management!, "u-prtb");
  await settledAfter(house, on("c-one", "u-prtb"), () => putPrtb(management!, "c-one", "p-m3", "of-one", { userName: "u-prtb" }));
  await assertGone(house.cluster("c-two"), "u-prtb");
  // Older projects have a namespace with the project's bare name.
  await management!.call("POST", "/api/v1/namespaces", { metadata: { name: "p-old" } });
  const binding = {
    apiVersion: "management.cattle.io/v3",
    kind: "ProjectRoleTemplateBinding",
    metadata: { name: "of-two" },
    projectName: "c-two:p-old",
    roleTemplateName: "r",
    userName: "u-prtb",
  };
  await settledAfter(house, on("c-two", "u-prtb"), () => management!.call("POST", `${V3}/namespaces/p-old/projectroletemplatebindings`, binding));
  await assertActsAsExactly(house.cluster("c-two"), asUserObject("u-prtb"));
  await settledAfter(house, on("c-one", "u-prtb", "removed"), () => deletePrtb(management!, "c-one", "p-m3", "of-one"));
  await assertGone(house.cluster("c-one"), "u-prtb");
  await assertActsAsExactly(house.cluster("c-two"), asUserObject("u-prtb"));
});

test("M3 a binding that lies in another cluster's namespace is refused, because whoever may write there may not give rights here", async () => {
  const { management, producer } = house;
  const wrong = [
    { kind: "ClusterRoleTemplateBinding", path: "c-one/clusterroletemplatebindings", metadata: { name: "wrong" }, clusterName: "c-two" },
    { kind: "ProjectRoleTemplateBinding", path: "c-one-p-m3/projectroletemplatebindings", metadata: { name: "wrong" }, projectName: "c-two:p-m3" },
    { kind: "ProjectRoleTemplateBinding", path: "c-one/projectroletemplatebindings", metadata: { name: "wrong" }, projectName: "c-two" },
  ];
  const refusals = { clusterroletemplatebindings: 1, projectroletemplatebindings: 2 };
  const count = (): Promise<number[]> => Promise.all(Object.keys(refusals).map((what) => metricOf([producer], "understudy_refused_total", { what })));
  await management!.call("POST", "/api/v1/namespaces", { metadata: { name: "c-one-p-m3" } });
  await putUser(management!, "u-wrong");
  const counted = await count();
  const calls = await callsDuring(house.cluster("c-two"), async () => {
    for (const { path, ...object } of wrong) {
      const { status } = await management!.call("POST", `${V3}/namespaces/${path}`, {
        apiVersion: "management.cattle.io/v3",
        roleTemplateName: "r",
        userName: "u-wrong",
        ...object,
      });
      assert.equal(status, 201);
    }
    // A later binding of each kind has been dealt with: so have these.
    await putUser(management!, "u-marker-m3");
    await settledAfter(house, on("c-two", "u-marker-m3"), () => putCrtb(management!, "c-two", "marker-m3", { userName: "u-marker-m3" }));
    await settledAfter(house, on("c-two", "u-marker-m3"), () => putPrtb(management!, "c-two", "p-m3", "marker-m3", { userName: "u-marker-m3" }));
  });
  assert.deepEqual(
    writesOf(calls).filter(({ name }) => !name.includes("u-marker-m3")),
    [],
  );
  assert.equal(await house.row("c-two", "u-wrong"), undefined);
  assert.equal(await house.row("c-one", "u-wrong"), undefined);
  assert.deepEqual(
    await count(),
    counted.map((number, i) => number + Object.values(refusals)[i]!),
  );
  const logged = producer.lines
    .filter(({ msg, name }) => msg === "binding refused" && name === "wrong")
    .map(({ namespace, reason }) => `${String(namespace)}: ${String(reason)}`);
  assert.deepEqual(logged.sort(), [
    "c-one-p-m3: projectName does not fit its namespace",
    "c-one: clusterName is not its namespace",
    "c-one: projectName is not <cluster>:<project>",
  ]);
  await assertGone(house.cluster("c-two"), "u-wrong");
  await assertGone(house.cluster("c-one"), "u-wrong");
});

test("M4 a binding that names only a principal waits, and gives an impersonator once its userName is filled in", async () => {
  const { management } = house;
  await putUser(management!, "u-principal");
  await putUser(management!, "u-marker-m4");
  const calls = await callsDuring(house.cluster("c-one"), async () => {
    await putCrtb(management!, "c-one", "by-principal", { userPrincipalName: "github_user://4" });
    await settledAfter(house, on("c-one", "u-marker-m4"), () => putCrtb(management!, "c-one", "marker-m4", { userName: "u-marker-m4" }));
  });
  assert.deepEqual(
    calls.filter(({ verb, name, uri }) => verb !== "create" && !name.includes("u-marker-m4") && !uri.includes("u-marker-m4")),
    [],
  );
  assert.equal(writesOf(calls).length, 4, "the marker's");
  assert.equal(await house.row("c-one", "u-principal"), undefined);
  await assertGone(house.cluster("c-one"), "u-principal");
  await settledAfter(house, on("c-one", "u-principal"), () =>
    putCrtb(management!, "c-one", "by-principal", { userPrincipalName: "github_user://4", userName: "u-principal" }),
  );
  await assertActsAsExactly(house.cluster("c-one"), asUserObject("u-principal"));
});

test("M10 an impersonator stays with its token while one binding of either kind is left, and goes with the last", async () => {
  for (const first of ["CRTB", "PRTB"]) {
    const user = `u-last-${first.toLowerCase()}`;
    await withTwoBindings(user);
    const crtb = () => deleteCrtb(house.management!, "c-one", user);
    const prtb = () => deletePrtb(house.management!, "c-one", "p-two", user);
    const token = await tokenOf(house.cluster("c-one"), user);
    const calls = await callsDuring(house.cluster("c-one"), async () => {
      await settledAfter(house, on("c-one", user), first === "CRTB" ? crtb : prtb);
    });
    assert.deepEqual(calls, [], "one reason less changes nothing on the cluster");
    assert.equal(await tokenOf(house.cluster("c-one"), user), token);
    await assertActsAsExactly(house.cluster("c-one"), asUserObject(user));
    await settledAfter(house, on("c-one", user, "removed"), first === "CRTB" ? prtb : crtb);
    assert.notEqual((await actAs(house.cluster("c-one"), token, { user })).status, 201);
    await assertGone(house.cluster("c-one"), user);
  }
});

test("M10 two last bindings of different kinds that go at the same time leave nothing behind", async () => {
  const users = Array.from({ length: 8 }, (_, i) => `u-both-${i}`);
  await Promise.all(users.map(withTwoBindings));
  const tokens = await Promise.all(users.map((user) => tokenOf(house.cluster("c-one"), user)));
  await Promise.all(
    users.map((user) =>
      settledAfter(house, on("c-one", user, "removed"), () =>
        Promise.all([deleteCrtb(house.management!, "c-one", user), deletePrtb(house.management!, "c-one", "p-two", user)]),
      ),
    ),
  );
  for (const [i, user] of users.entries()) {
    assert.notEqual((await actAs(house.cluster("c-one"), tokens[i]!, { user })).status, 201);
    await assertGone(house.cluster("c-one"), user);
  }
});

test("M10 a last binding that is removed and made again at once leaves a usable impersonator", async () => {
  const users = Array.from({ length: 8 }, (_, i) => `u-again-${i}`);
  await Promise.all(users.map(withTwoBindings));
  await Promise.all(
    users.map(async (user) => {
      const { generation } = (await house.row("c-one", user))!;
      await Promise.all([deleteCrtb(house.management!, "c-one", user), deletePrtb(house.management!, "c-one", "p-two", user)]);
      await putCrtb(house.management!, "c-one", user, { userName: user });
      await house.waitFor("c-one", user, "ready", { generation: generation + 3, deadlineMs: 60_000 });
    }),
  );
  for (const user of users) await assertActsAsExactly(house.cluster("c-one"), asUserObject(user));
});

test("M10 bindings that are being deleted count as gone although finalizers still hold them, as with Rancher's aggregated roles", async () => {
  const { management } = house;
  const user = "u-aggregated";
  const server = house.cluster("c-one");
  const aggregated = {
    metadata: { name: user, finalizers: ["wrangler.cattle.io/mgmt-auth-crtb-controller"], labels: { "management.cattle.io/roletemplate-aggregation": "true" } },
  };
  const paths = [`${V3}/namespaces/c-one/clusterroletemplatebindings/${user}`, `${V3}/namespaces/c-one-p-two/projectroletemplatebindings/${user}`];
  await withTwoBindings(user);
  for (const path of paths) assert.equal((await management!.call("PATCH", path, aggregated)).status, 200);
  const token = await tokenOf(server, user);
  await settledAfter(house, on("c-one", user), () => management!.call("DELETE", paths[0]!));
  await assertActsAsExactly(server, asUserObject(user));
  await settledAfter(house, on("c-one", user, "removed"), () => management!.call("DELETE", paths[1]!));
  for (const path of paths) assert.ok((await management!.call("GET", path)).body.metadata.deletionTimestamp, "Rancher's own index still has it");
  assert.notEqual((await actAs(server, token, { user })).status, 201);
  await assertGone(server, user);
  for (const path of paths) await management!.call("PATCH", path, { metadata: { finalizers: null } });
  await waitUntil("the CRTB is gone", async () => (await management!.call("GET", paths[0]!)).status === 404);
  await settledAfter(house, on("c-one", user), () => putCrtb(management!, "c-one", user, { userName: user }));
  assert.equal((await objectsOf(server, user)).secrets.length, 1);
  await assertActsAsExactly(server, asUserObject(user));
});

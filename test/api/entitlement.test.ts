// Who gets an impersonator only at login, because a group or a global role entitles them, and what becomes of it when that ends, or the user is disabled or deleted.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { StatusRow } from "../../shared/ledger/status.ts";
import { callsDuring, loggedIn, median, openQuiet, settledAfter } from "../support/evidence.ts";
import type { House } from "../support/house.ts";
import { actAs, assertActsAsExactly, assertGone, tokenOf, writesOf } from "../support/impersonator.ts";
import {
  type BindingSubject,
  deleteCrtb,
  deleteGrb,
  deletePrtb,
  deleteUser,
  putAttribute,
  putCrtb,
  putGrb,
  putPrtb,
  putUser,
} from "../support/rancher-objects.ts";

const BOTH = ["c-one", "c-two"] as const;
let house: House;
before(async () => (house = await openQuiet()));
after(() => house[Symbol.asyncDispose]());

const extrasOf = (user: string) => ({ principalid: [`github_user://${user}`], username: [`${user}@github`] });
const loginOf = (user: string, ...groups: string[]) => ({ groups, extras: extrasOf(user) });
const on = (cluster: string, user: string, state: StatusRow["state"] = "ready") => ({ clusters: [cluster], user, state });
const everywhere = (user: string, state: StatusRow["state"] = "ready") => ({ clusters: BOTH, user, state });
/** What Rancher writes when the provider says that the user is in these groups now. */
const say = (user: string, groups: string[]) => putAttribute(house.management!, user, { groups: { github: groups }, extras: { github: extrasOf(user) } });

async function assertNothingKnown(user: string): Promise<void> {
  for (const cluster of BOTH) {
    assert.equal(await house.row(cluster, user), undefined, `${cluster} has no record of ${user}`);
    await assertGone(house.cluster(cluster), user);
  }
}
/** Both kinds of group binding, each by the two ways that Rancher names a group in. */
const groupBindings = {
  CRTB: {
    put: (group: string) => putCrtb(house.management!, "c-one", "group", { groupPrincipalName: group }),
    remove: () => deleteCrtb(house.management!, "c-one", "group"),
  },
  PRTB: {
    put: (group: string) => putPrtb(house.management!, "c-one", "p-m20", "group", { groupName: group } as BindingSubject),
    remove: () => deletePrtb(house.management!, "c-one", "p-m20", "group"),
  },
};

for (const [kind, binding] of Object.entries(groupBindings)) {
  const user = (name: string): string => `u-${kind.toLowerCase()}-${name}`;
  const group = `github_org://${kind.toLowerCase()}`;
  test(`M20 a member of a group with a ${kind} gets an impersonator at login, not before, and loses it with the group`, async () => {
    for (const name of ["early", "member"]) {
      await putUser(house.management!, user(name));
      await say(user(name), [group]);
    }
    const calls = await callsDuring(house.cluster("c-one"), async () => {
      await binding.put(group);
      await loggedIn(house, user("early"), "c-one");
    });
    assert.ok(
      writesOf(calls).every(({ name }) => name.startsWith(`cattle-impersonation-${user("early")}`)),
      "nobody else's was written",
    );
    await assertNothingKnown(user("member"));
    // Entitled by what UserAttribute says.
    await loggedIn(house, user("member"), "c-one", { extras: extrasOf(user("member")) });
    const who = { user: user("member"), groups: [group], extras: extrasOf(user("member")) };
    await assertActsAsExactly(house.cluster("c-one"), who);
    await assertGone(house.cluster("c-two"), user("member"));
    const token = await tokenOf(house.cluster("c-one"), user("member"));
    await settledAfter(house, on("c-one", user("member"), "removed"), () => say(user("member"), ["github_org://unrelated"]));
    assert.notEqual((await actAs(house.cluster("c-one"), token, { user: user("member") })).status, 201);
    await assertGone(house.cluster("c-one"), user("member"));
    assert.equal((await house.login(user("member"), "c-one", {})).status, 403);
    // In the group again: back at the next login.
    await loggedIn(house, user("member"), "c-one", loginOf(user("member"), group));
    await assertActsAsExactly(house.cluster("c-one"), who);
  });

  test(`M20 the members of a group lose their impersonators when its ${kind} goes, but for those with a binding of their own`, async () => {
    const users = ["m1", "m2", "own"].map(user);
    for (const member of users) await putUser(house.management!, member);
    await binding.put(group);
    for (const member of users) await loggedIn(house, member, "c-one", loginOf(member, group));
    await settledAfter(house, on("c-one", user("own")), () => putPrtb(house.management!, "c-one", "p-own", user("own"), { userName: user("own") }));
    const tokens = await Promise.all(users.map((member) => tokenOf(house.cluster("c-one"), member)));
    const expected = [on("c-one", user("m1"), "removed"), on("c-one", user("m2"), "removed"), on("c-one", user("own"))];
    await settledAfter(house, expected, () => binding.remove());
    for (const i of [0, 1]) {
      assert.notEqual((await actAs(house.cluster("c-one"), tokens[i]!, { user: users[i]! })).status, 201);
      await assertGone(house.cluster("c-one"), users[i]!);
      assert.equal((await house.login(users[i]!, "c-one", loginOf(users[i]!, group))).status, 403);
    }
    assert.equal(await tokenOf(house.cluster("c-one"), user("own")), tokens[2]);
    await assertActsAsExactly(house.cluster("c-one"), { user: user("own"), groups: [group], extras: extrasOf(user("own")) });
  });
}

for (const [by, subject] of [
  ["user", { userName: "u-global-user" }],
  ["group", { groupPrincipalName: "github_org://admins" }],
] as const) {
  const user = `u-global-${by}`;
  const login = loginOf(user, "github_org://admins");
  test(`M20 a holder of the global role admin, bound by ${by}, gets an impersonator at login on the clusters that the login asks for, and loses all with the binding`, async () => {
    for (const name of [user, `${user}-other`]) await putUser(house.management!, name);
    await putGrb(house.management!, `grb-${by}`, "admin", subject);
    await loggedIn(house, user, "c-two", login);
    await assertActsAsExactly(house.cluster("c-two"), { user, ...login });
    assert.equal(await house.row("c-one", user), undefined, "not before its login there");
    await assertGone(house.cluster("c-one"), user);
    const all = await loggedIn(house, user, undefined, login);
    assert.deepEqual(
      (all["clusters"] as { cluster: string; state: string }[]).map(({ cluster, state }) => `${cluster} ${state}`),
      ["c-one ready", "c-two ready"],
    );
    for (const id of BOTH) await assertActsAsExactly(house.cluster(id), { user, ...login });
    assert.equal((await house.login(`${user}-other`, "c-one", loginOf(`${user}-other`, "github_org://others"))).status, 403);
    await assertNothingKnown(`${user}-other`);
    await settledAfter(house, everywhere(user, "removed"), () => deleteGrb(house.management!, `grb-${by}`));
    for (const id of BOTH) await assertGone(house.cluster(id), user);
    assert.equal((await house.login(user, undefined, login)).status, 403);
  });
}

test("M20 a GlobalRoleBinding of the role that everybody has entitles nobody", async () => {
  for (const user of ["u-everybody", "u-admin-marker"]) await putUser(house.management!, user);
  await putGrb(house.management!, "grb-everybody", "user", { userName: "u-everybody" });
  await putGrb(house.management!, "grb-admin-marker", "admin", { userName: "u-admin-marker" });
  await loggedIn(house, "u-admin-marker", "c-one");
  for (const cluster of [...BOTH, undefined]) assert.equal((await house.login("u-everybody", cluster, loginOf("u-everybody", "github_org://x"))).status, 403);
  await assertNothingKnown("u-everybody");
});

test("M20 a refused login leaves nothing behind that a later binding could bring to light", async () => {
  await putUser(house.management!, "u-refused");
  assert.equal((await house.login("u-refused", "c-one", loginOf("u-refused", "github_org://smuggled"))).status, 403);
  await assertNothingKnown("u-refused");
  await settledAfter(house, on("c-one", "u-refused"), () => putCrtb(house.management!, "c-one", "m20-refused", { userName: "u-refused" }));
  await assertActsAsExactly(house.cluster("c-one"), { user: "u-refused", extras: { principalid: ["local://u-refused"], username: ["u-refused"] } });
});

test("M20 a login without a cluster is answered for every cluster that entitles, by group or by a binding of the user, and for no other", async (t) => {
  await putUser(house.management!, "u-where");
  await putCrtb(house.management!, "c-two", "where-own", { userName: "u-where" });
  await house.waitFor("c-two", "u-where", "ready");
  const login = loginOf("u-where", "github_org://where");
  const one = await loggedIn(house, "u-where", undefined, login);
  assert.deepEqual(
    (one["clusters"] as { cluster: string }[]).map(({ cluster }) => cluster),
    ["c-two"],
  );
  await assertGone(house.cluster("c-one"), "u-where");
  await putCrtb(house.management!, "c-one", "where-group", { groupPrincipalName: "github_org://where" });
  // Members with nothing yet: how long a first login takes.
  const times: number[] = [];
  for (let i = 0; i < 15; i++) {
    await putUser(house.management!, `u-where-${i}`);
    if (i === 0) await loggedIn(house, "u-where-0", "c-one", loginOf("u-where-0", "github_org://where"));
    const began = performance.now();
    await loggedIn(house, `u-where-${i}`, "c-one", loginOf(`u-where-${i}`, "github_org://where"));
    if (i > 0) times.push(performance.now() - began);
  }
  t.diagnostic(`first login of a group member → ready: median ${median(times).toFixed(0)} ms, max ${Math.max(...times).toFixed(0)} ms`);
  const two = await loggedIn(house, "u-where", undefined, login);
  assert.equal(two["state"], "ready");
  assert.deepEqual(
    (two["clusters"] as Record<string, string>[]).map(({ cluster, state }) => `${cluster} ${state}`),
    ["c-one ready", "c-two ready"],
  );
  assert.ok((two["clusters"] as Record<string, string>[]).every(({ verifiedAt }) => Date.parse(verifiedAt!) > 0));
  for (const id of BOTH) await assertActsAsExactly(house.cluster(id), { user: "u-where", ...login });
});

test("M22 a disabled user loses every impersonator and is refused at login; enabled again it is back", async () => {
  const user = "u-disabled";
  const login = loginOf(user, "github_org://m22");
  await putUser(house.management!, user);
  await putCrtb(house.management!, "c-one", "m22", { userName: user });
  await putCrtb(house.management!, "c-two", "m22", { groupPrincipalName: "github_org://m22" });
  await house.waitFor("c-one", user, "ready");
  await loggedIn(house, user, "c-two", login);
  const tokens = await Promise.all(BOTH.map((id) => tokenOf(house.cluster(id), user)));
  const rows = await settledAfter(house, [on("c-one", user, "waiting"), on("c-two", user, "removed")], () =>
    putUser(house.management!, user, { enabled: false }),
  );
  assert.deepEqual(
    rows.map(({ reason }) => reason),
    ["user disabled", "user disabled"],
  );
  for (const [i, id] of BOTH.entries()) {
    assert.notEqual((await actAs(house.cluster(id), tokens[i]!, { user })).status, 201);
    await assertGone(house.cluster(id), user);
    assert.equal((await house.login(user, id, login)).status, 403);
  }
  assert.equal((await house.login(user, undefined, login)).status, 403);
  for (const id of BOTH) await assertGone(house.cluster(id), user);
  await settledAfter(house, on("c-one", user), () => putUser(house.management!, user, { enabled: true }));
  await loggedIn(house, user, "c-two", login);
  for (const id of BOTH) await assertActsAsExactly(house.cluster(id), { user, ...login });
});

test("M22 a user who is disabled from the start gets nothing until it is enabled", async () => {
  await putUser(house.management!, "u-off", { enabled: false });
  await putCrtb(house.management!, "c-one", "m22-off", { userName: "u-off" });
  const row = await house.waitFor("c-one", "u-off", "waiting", { deadlineMs: 60_000 });
  assert.match(row.reason, /^user (disabled|unknown)$/);
  await assertGone(house.cluster("c-one"), "u-off");
  await settledAfter(house, on("c-one", "u-off"), () => putUser(house.management!, "u-off", { enabled: true }));
  await assertActsAsExactly(house.cluster("c-one"), { user: "u-off", extras: { principalid: ["local://u-off"], username: ["u-off"] } });
});

test("M22 a deleted user's objects go while its bindings wait for it, and come back with it", async () => {
  const user = "u-deleted";
  const login = loginOf(user, "github_org://m22-deleted");
  await putUser(house.management!, user);
  await putCrtb(house.management!, "c-one", "m22-deleted", { userName: user });
  await putCrtb(house.management!, "c-two", "m22-deleted", { groupPrincipalName: "github_org://m22-deleted" });
  await house.waitFor("c-one", user, "ready");
  await loggedIn(house, user, "c-two", login);
  const token = await tokenOf(house.cluster("c-one"), user);
  const rows = await settledAfter(house, everywhere(user, "waiting"), () => deleteUser(house.management!, user));
  assert.deepEqual(
    rows.map(({ reason }) => reason),
    ["user unknown", "user unknown"],
  );
  assert.notEqual((await actAs(house.cluster("c-one"), token, { user })).status, 201);
  for (const id of BOTH) {
    await assertGone(house.cluster(id), user);
    const { status } = await house.hook("POST", "/v1/logins", { user, cluster: id, provider: "github", ...login });
    assert.equal(status, 202, "stored, for when the user is known");
    assert.equal((await house.waitFor(id, user, "waiting")).reason, "user unknown");
    await assertGone(house.cluster(id), user);
  }
  await settledAfter(house, everywhere(user), () => putUser(house.management!, user));
  for (const id of BOTH) await assertActsAsExactly(house.cluster(id), { user, ...login });
  assert.notEqual(await tokenOf(house.cluster("c-one"), user), token, "the old token does not live again");
});

test("M22 a user who is deleted with its bindings is removed for good, and nobody's login brings it back", async () => {
  const user = "u-left";
  await putUser(house.management!, user);
  await settledAfter(house, on("c-one", user), () => putCrtb(house.management!, "c-one", "m22-left", { userName: user }));
  await settledAfter(house, on("c-one", user, "removed"), () =>
    Promise.all([deleteUser(house.management!, user), deleteCrtb(house.management!, "c-one", "m22-left")]),
  );
  assert.equal((await house.login(user, "c-one", loginOf(user, "github_org://m22-left"))).status, 403);
  await assertGone(house.cluster("c-one"), user);
});

// A login entitles a group's member for a while only. The ends of login grants are the sweep's, so this test is about its timer.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { auditEnd, callsOf, writesIn } from "../support/audit.ts";
import { loggedIn, settledAfter } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { actAs, assertActsAsExactly, assertGone, objectsOf, tokenOf } from "../support/impersonator.ts";
import { putCrtb, putUser } from "../support/rancher-objects.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const TEAM = "github_team://1";
const GRANT_MS = 8_000;
const DEADLINE = { deadlineMs: 60_000 };
let house: House;
before(async () => {
  house = await House.open({ clusters: [CLUSTER], settings: { UNDERSTUDY_LOGIN_GRANT: `${GRANT_MS / 1000}s` } });
  await putCrtb(house.management!, CLUSTER, "team", { groupPrincipalName: TEAM });
});
after(() => house?.[Symbol.asyncDispose]());

const server = () => house.cluster(CLUSTER);
const who = (user: string) => ({ user, groups: [TEAM], extras: { principalid: [`github_user://${user}`], username: [user] } });
async function logIn(user: string): Promise<number> {
  const { groups, extras } = who(user);
  await loggedIn(house, user, CLUSTER, { groups, extras });
  return Date.parse((await house.row(CLUSTER, user))!.loginEnds!);
}

async function goesByItself(t: TestContext): Promise<void> {
  const user = "u-once";
  await putUser(house.management!, user);
  const end = await logIn(user);
  await assertActsAsExactly(server(), who(user));
  const token = await tokenOf(server(), user);
  await house.waitFor(CLUSTER, user, "removed", DEADLINE);
  const late = Date.now() - end;
  t.diagnostic(`removed ${late} ms after the end of the grant`);
  assert.ok(late > 0, "not before the grant ended");
  assert.ok(late < 20_000, "by the sweep, which comes every five seconds");
  await assertGone(server(), user);
  await waitUntil("the token is dead", async () => (await actAs(server(), token, who(user))).status === 401, DEADLINE);
  await logIn(user);
  await assertActsAsExactly(server(), who(user));
  assert.notEqual(await tokenOf(server(), user), token);
}

async function isRenewed(): Promise<void> {
  const user = "u-often";
  await putUser(house.management!, user);
  let end = await logIn(user);
  const since = await auditEnd(server());
  const token = await tokenOf(server(), user);
  const until = end + 3 * GRANT_MS;
  while (end < until) {
    await waitUntil("half of the grant is over", () => Date.now() > end - GRANT_MS / 2);
    const renewed = await logIn(user);
    assert.ok(renewed > end);
    end = renewed;
  }
  await assertActsAsExactly(server(), who(user));
  assert.equal(await tokenOf(server(), user), token);
  const writes = new Set(writesIn((await callsOf(server(), [user], since)).get(user)!));
  assert.deepEqual([...writes], ["update clusterroles"], "renewals only move the end that the role remembers");
  await house.waitFor(CLUSTER, user, "removed", DEADLINE);
  await assertGone(server(), user);
}

async function bindingStays(): Promise<void> {
  const user = "u-bound";
  await putUser(house.management!, user);
  await settledAfter(house, { clusters: [CLUSTER], user }, () => putCrtb(house.management!, CLUSTER, user, { userName: user }));
  const end = await logIn(user);
  const token = await tokenOf(server(), user);
  // Another's grant ends later: once that one has been removed the sweep has passed this one by.
  const other = "u-later";
  await putUser(house.management!, other);
  assert.ok((await logIn(other)) > end);
  await house.waitFor(CLUSTER, other, "removed", DEADLINE);
  await assertActsAsExactly(server(), who(user));
  assert.equal(await tokenOf(server(), user), token);
  assert.equal((await objectsOf(server(), user)).secrets.length, 1);
}

async function isEnded(): Promise<void> {
  const user = "u-ended";
  await putUser(house.management!, user);
  await logIn(user);
  const { status } = await house.hook("DELETE", `/v1/logins/${user}?cluster=${CLUSTER}`);
  assert.equal(status, 202);
  await house.waitFor(CLUSTER, user, "removed", DEADLINE);
  await assertGone(server(), user);
}

// Together, because each waits for the same clock.
describe("M37 the end of a login grant", { concurrency: true }, () => {
  test("M37 a group member's impersonator goes by itself when the login grant ends, its token with it, and comes back with a login", goesByItself);
  test("M37 logins renew the grant: over three lengths of it the impersonator stays, with its token", isRenewed);
  test("M37 who has a binding of their own keeps the impersonator when the login grant ends", bindingStays);
  test("M37 a login grant that somebody ends goes at once, by its own event", isEnded);
});

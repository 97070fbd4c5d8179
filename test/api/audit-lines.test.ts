// What an auditor can read afterwards: each access that was given, changed and taken away, since when, and why.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Redis } from "ioredis";
import { openQuiet, settledAfter } from "../support/evidence.ts";
import type { House } from "../support/house.ts";
import { deleteCrtb, putCrtb, putUser } from "../support/rancher-objects.ts";
import { logIn } from "../support/scenes.ts";
import { waitUntil } from "../support/wait-until.ts";

const C = "c-one";
let house: House;
before(async () => (house = await openQuiet()));
after(() => house[Symbol.asyncDispose]());

/** The audit lines of a user from all workers, in order, once there are so many. */
const linesOf = (user: string, count: number): Promise<Record<string, unknown>[]> =>
  waitUntil(`${count} audit lines of ${user}`, async () => {
    const all = house.workers.flatMap(({ lines }) => lines).filter((line) => line["name"] === "understudy.audit" && line["user"] === user);
    return all.length >= count ? all.sort((a, b) => (String(a["time"]) < String(b["time"]) ? -1 : 1)) : undefined;
  });

test("a grant, a change and a revocation are a line each, with what caused it and the names that came and went, because an auditor asks who could be whom, and why", async () => {
  const user = "u-audited";
  await putUser(house.management!, user);
  await settledAfter(house, { clusters: [C], user }, () => putCrtb(house.management!, C, "crtb-audited", { userName: user }));
  await settledAfter(house, { clusters: [C], user }, () => logIn(house, user, C, ["github_org://1"]));
  await settledAfter(house, { clusters: [C], user, state: "removed" }, () => deleteCrtb(house.management!, C, "crtb-audited"));
  const [granted, changed, revoked, ...more] = await linesOf(user, 3);
  assert.deepEqual(more, []);
  const names = (line: Record<string, unknown> | undefined) => [line?.["msg"], line?.["cluster"], line?.["cause"], line?.["added"], line?.["removed"]];
  const first = [`users ${user}`, "groups system:authenticated", "groups system:cattle:authenticated"];
  const said = [`userextras/principalid local://${user}`, `userextras/username ${user}`];
  // The binding may have been told before the User object, which is the last that was wanting then.
  assert.match(String(granted!["cause"]), /^(?:binding|facts)$/);
  assert.deepEqual(names(granted), ["access granted", C, granted!["cause"], [...first, ...said], []]);
  // The job that the filled Secret woke may come before the login's own, and does its work.
  assert.match(String(changed!["cause"]), /^(?:login|filled)$/);
  assert.deepEqual(names(changed), ["access changed", C, changed!["cause"], ["groups github_org://1"], said]);
  assert.deepEqual(names(revoked), ["access revoked", C, "deletion", [], [first[0], "groups github_org://1", ...first.slice(1)]]);
  const crtb = `clusterroletemplatebindings:${C}/crtb-audited`;
  assert.deepEqual(granted!["because"], [crtb]);
  assert.match((changed!["because"] as string[]).join(), new RegExp(`^${crtb},login of [0-9TZ:.-]+,facts of github$`));
  assert.ok(Date.parse(String(granted!["time"])) <= Date.parse(String(revoked!["time"])));
});

/** What `explain --history` says of a user, oldest run first. */
async function historyOf(user: string): Promise<Record<string, unknown>[]> {
  const { code, stdout, stderr } = await house.command(["explain", "--history", "--cluster", C, "--user", user, "--output", "json"]);
  assert.equal(code, 0, stderr);
  return (JSON.parse(stdout) as { history: Record<string, unknown>[] }).history.toReversed();
}

test("the history tells the same runs with what they wrote and when their fact came, because a log line may be on another machine", async () => {
  const user = "u-audited";
  const lines = await linesOf(user, 3);
  const told = await waitUntil("the last run is noted", async () => {
    const entries = await historyOf(user);
    return entries.at(-1)?.["outcome"] === "removed" && entries;
  });
  const wrote = told.filter(({ added, removed }) => [added, removed].flat().length > 0);
  const facts = (entry: Record<string, unknown>) => [entry["cause"], entry["because"], entry["added"], entry["removed"]];
  assert.deepEqual(wrote.map(facts), lines.map(facts));
  const CREATED = ["ClusterRole", "ServiceAccount", "Secret", "ClusterRoleBinding"].map((kind) => `create ${kind}: it is missing`);
  assert.deepEqual(wrote[0]!["steps"], CREATED);
  assert.ok(told.some(({ outcome }) => outcome === "ready"));
  assert.match(String(told.at(-1)!["steps"]), /delete ClusterRole: /);
  for (const { fact, began, ended } of told)
    assert.ok(
      [fact, began].every((at) => String(at) <= String(ended)),
      JSON.stringify(told),
    );
});

test("a history that cannot be written is a line in the log and costs the run nothing, because it is for people and access is not", async () => {
  const user = "u-unnoted";
  const redis = new Redis(house.redis.socket);
  try {
    // Nothing can be pushed to what is no list.
    await redis.set(`{understudy:0}:history:${C}/${user}`, "no list");
    await putUser(house.management!, user);
    const [row] = await settledAfter(house, { clusters: [C], user }, () => putCrtb(house.management!, C, user, { userName: user }));
    assert.equal(row!.reason, "");
    await waitUntil("a worker has said so", () =>
      house.workers.flatMap(({ lines }) => lines).some((line) => line["msg"] === "redis connection troubled" && line["user"] === user),
    );
    await linesOf(user, 1);
  } finally {
    redis.disconnect();
  }
});

test("a look that changes nothing is no line and no entry, because an audit log must not drown", async () => {
  const user = "u-quiet";
  await putUser(house.management!, user);
  await settledAfter(house, { clusters: [C], user }, () => putCrtb(house.management!, C, user, { userName: user }));
  await settledAfter(house, { clusters: [C], user }, () => house.command(["enqueue", "--cluster", C, "--user", user]));
  assert.equal((await linesOf(user, 1)).length, 1);
  assert.equal((await historyOf(user)).filter(({ cause }) => cause === "verify").length, 0);
});

// What an auditor can read afterwards: each access that was given, changed and taken away, since when, and why.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
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
  assert.deepEqual(names(granted), ["access granted", C, "binding", [...first, ...said], []]);
  assert.deepEqual(names(changed), ["access changed", C, "login", ["groups github_org://1"], said]);
  assert.deepEqual(names(revoked), ["access revoked", C, "deletion", [], [first[0], "groups github_org://1", ...first.slice(1)]]);
  const crtb = `clusterroletemplatebindings:${C}/crtb-audited`;
  assert.deepEqual(granted!["because"], [crtb]);
  assert.match((changed!["because"] as string[]).join(), new RegExp(`^${crtb},login of [0-9TZ:.-]+,facts of github$`));
  assert.ok(Date.parse(String(granted!["time"])) <= Date.parse(String(revoked!["time"])));
});

test("a look that changes nothing is no line, because an audit log must not drown", async () => {
  const user = "u-quiet";
  await putUser(house.management!, user);
  await settledAfter(house, { clusters: [C], user }, () => putCrtb(house.management!, C, user, { userName: user }));
  await settledAfter(house, { clusters: [C], user }, () => house.command(["enqueue", "--cluster", C, "--user", user]));
  assert.equal((await linesOf(user, 1)).length, 1);
});

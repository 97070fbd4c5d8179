// One event of a group binding, told as the watches tell it: first whoever holds it, then whoever may hold it now. Both tellings carry the event's version.
import assert from "node:assert/strict";
import { test } from "node:test";
import { tellCandidate, tellHolders } from "../../producers/tell.ts";
import { benchOn, redisForFile } from "../support/ledger.ts";
import { CLUSTER, OTHER_TEAM, TEAM, aCrtb, bindingsAt, isEntitled, logIn } from "../support/told.ts";

const { redis } = await redisForFile();
const [BOTH, FIRST, SECOND, NONE] = ["u-both", "u-first", "u-second", "u-none"] as const;
const id = aCrtb("team", { group: TEAM }, "0").id;

/** Four people, who may log in by another binding too, and the binding of the first team. */
async function teams() {
  const bench = benchOn(redis);
  const bindings = bindingsAt("10", [aCrtb("team", { group: TEAM }, "5")], [BOTH, FIRST, SECOND, NONE]);
  for (const user of [BOTH, FIRST, SECOND, NONE]) await bench.ledger.learn(user, { user: bindings.users.get(user)! });
  const groups = { [BOTH]: [TEAM, OTHER_TEAM], [FIRST]: [TEAM], [SECOND]: [OTHER_TEAM], [NONE]: [] };
  for (const [user, names] of Object.entries(groups)) await logIn(bench, bindings, user, names);
  const who = async (): Promise<string[]> => {
    const found = [];
    for (const user of [BOTH, FIRST, SECOND, NONE]) if (await isEntitled(bench, user)) found.push(user);
    return found;
  };
  assert.deepEqual(await who(), [BOTH, FIRST]);
  return { ...bench, bindings, who };
}

test("a group binding that another group has now keeps whom both have in, lets the new group in and the old one not, because both tellings are of one version", async () => {
  const { ledger, bindings, who } = await teams();
  const now = aCrtb("team", { group: OTHER_TEAM }, "20");
  bindings.put(now);
  await tellHolders(ledger, id, now.rv, [CLUSTER], bindings);
  assert.deepEqual(await who(), [BOTH], "nobody who stays is out for a moment");
  await tellCandidate(ledger, now, [CLUSTER]);
  assert.deepEqual(await who(), [BOTH, SECOND]);
});

test("a group binding that went, or is a user's own now, lets none of its members stay, because it names no group any more", async () => {
  for (const now of [undefined, aCrtb("team", { user: "u-carol" }, "20")]) {
    const { ledger, bindings, who } = await teams();
    if (now) bindings.put(now);
    else bindings.drop(id);
    await tellHolders(ledger, id, "20", [CLUSTER], bindings);
    assert.deepEqual(await who(), []);
  }
});

test("whoever a changed group binding lets stay or go is woken, and nobody else, because thousands may be logged in", async () => {
  const { ledger, bindings, added } = await teams();
  const now = aCrtb("team", { group: OTHER_TEAM }, "20");
  bindings.put(now);
  added.length = 0;
  await tellHolders(ledger, id, now.rv, [CLUSTER], bindings);
  assert.deepEqual(
    added.map(({ queue, name }) => `${queue} ${name}`).toSorted(),
    [BOTH, FIRST].map((user) => `deletion ${CLUSTER}/${user}`),
  );
  added.length = 0;
  await tellCandidate(ledger, now, [CLUSTER]);
  assert.deepEqual(
    added.map(({ queue, name }) => `${queue} ${name}`),
    [`binding ${CLUSTER}/${SECOND}`],
  );
});

// Two controllers that do not agree on a role would write it for ever. After three times in ten minutes ours is the one that stops, says who the other is, and leaves
// everybody else as they are.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { V1PolicyRule } from "@kubernetes/client-node";
import type { StatusRow } from "../../shared/ledger/status.ts";
import { type SubjectCall, auditEnd, callsOf, isWrite, writesIn } from "../support/audit.ts";
import { settledAfter, watched } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { assertActsAsExactly, assertGone, objectsOf } from "../support/impersonator.ts";
import { deleteCrtb, putAttribute, putCrtb, putUser } from "../support/rancher-objects.ts";
import { ranchersRules } from "../support/rancher-impersonator.ts";
import { Rival } from "../support/rival.ts";
import { told } from "../support/scenes.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 60_000 };
const QUIET_MS = 20_000;
const RANCHER = "rancher/v2.11.3 (linux/amd64)";
let house: House;
before(async () => {
  house = await House.open({ clusters: [CLUSTER], settings: { UNDERSTUDY_RESYNC: "30d" } });
  await bind("u-probe");
  await watched(house, CLUSTER, "u-probe");
});
const rivals: Rival[] = [];
after(async () => {
  // Also where a test failed: a rival would keep the process alive.
  for (const rival of rivals) await rival.stop();
  await house?.[Symbol.asyncDispose]();
});

const server = () => house.cluster(CLUSTER);
const who = (user: string) => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });
async function bind(user: string): Promise<void> {
  await putUser(house.management!, user);
  await putCrtb(house.management!, CLUSTER, user, { userName: user });
}
const bound = (user: string): Promise<StatusRow[]> => settledAfter(house, { clusters: [CLUSTER], user }, () => bind(user));
async function enqueue(user: string): Promise<void> {
  const { code, stderr } = await house.command(["enqueue", "--cluster", CLUSTER, "--user", user]);
  assert.equal(code, 0, stderr);
}
const calls = async (user: string, since: number): Promise<SubjectCall[]> => (await callsOf(server(), [user], since)).get(user)!;
/** A second producer begins by asking for a resync. */
async function resynced(): Promise<void> {
  const resyncs = (): number => house.processes.flatMap(({ lines }) => lines).filter((line) => line["msg"] === "cluster resynced").length;
  const earlier = resyncs();
  const producer = await house.start("producer");
  await waitUntil("a resync is over", () => resyncs() > earlier, DEADLINE);
  assert.equal(await producer.stop(), 0);
}

/** Rancher's rules for a user who has one group more than we know of. */
const theirs = (user: string, group = "github_org://theirs"): V1PolicyRule[] => ranchersRules(user, [group]);
function fights(user: string): Rival {
  const rival = new Rival(server(), user, RANCHER);
  rivals.push(rival);
  rival.start(theirs(user));
  return rival;
}
/** Ready, and then fought for until it is stopped. */
async function stopped(user: string): Promise<Rival> {
  await bound(user);
  const rival = fights(user);
  const { reason } = await house.waitFor(CLUSTER, user, "failed", DEADLINE);
  assert.match(reason, /^another manager: rancher wrote over the ClusterRole three times in ten minutes; .*understudy enqueue/);
  return rival;
}

test("who writes over a role three times in ten minutes has it: no write of ours follows, whatever the other does, and others are served", async (t) => {
  const user = "u-fought";
  const since = await auditEnd(server());
  const rival = await stopped(user);
  const fought = writesIn(await calls(user, since)).filter((write) => write === "update clusterroles");
  t.diagnostic(`${fought.length} repairs, ${rival.writes} writes of the other`);
  assert.deepEqual([fought.length, rival.writes], [2, 3]);
  await rival.stop();
  const quiet = await auditEnd(server());
  const end = Date.now() + QUIET_MS;
  for (let i = 0; Date.now() < end; i++) {
    assert.ok(await rival.write(theirs(user, `github_org://${i}`)));
    if (i === 2) {
      await resynced();
      await waitUntil("the resync has made somebody look", async () => (await calls(user, quiet)).length > 0, DEADLINE);
    }
    if (i === 4) await bound("u-meanwhile");
    // A new fact comes with what the ledger remembers of the role: not even a write that would be refused is sent for it.
    if (i === 6) await told(house, CLUSTER, user, () => putAttribute(house.management!, user, { groups: { github: ["github_org://new"] } }));
    const next = Math.min(end, Date.now() + 2_000);
    await waitUntil("two seconds have passed", () => Date.now() >= next);
  }
  await assertActsAsExactly(server(), who("u-meanwhile"));
  const made = await calls(user, quiet);
  t.diagnostic(`${made.length} looks in ${QUIET_MS / 1000} s`);
  assert.deepEqual(made.filter(isWrite), []);
  assert.match((await house.row(CLUSTER, user))!.reason, /^another manager: rancher/);
});

test("after an enqueue it is written again, and stops again if the other goes on, because only a person knows whether it has been stopped", async () => {
  const user = "u-again";
  const rival = await stopped(user);
  const since = await auditEnd(server());
  await enqueue(user);
  const repairs = async (): Promise<number> => writesIn(await calls(user, since)).filter((write) => write === "update clusterroles").length;
  await waitUntil("it is put right twice more", async () => (await repairs()) === 2, DEADLINE);
  await house.waitFor(CLUSTER, user, "failed", DEADLINE);
  assert.equal(await repairs(), 2);
  await rival.stop();
  await enqueue(user);
  await house.waitFor(CLUSTER, user, "ready", DEADLINE);
  await assertActsAsExactly(server(), who(user));
  assert.equal(await repairs(), 3);
});

test("when the other writes back what we want, it is ready again without a write, and the next two edits of a person are put back", async () => {
  const user = "u-returned";
  await bound(user);
  const own = (await objectsOf(server(), user)).role.rules as V1PolicyRule[];
  const rival = fights(user);
  await house.waitFor(CLUSTER, user, "failed", DEADLINE);
  await rival.stop();
  const since = await auditEnd(server());
  assert.ok(await rival.write(own));
  await resynced();
  await house.waitFor(CLUSTER, user, "ready", DEADLINE);
  assert.deepEqual((await calls(user, since)).filter(isWrite), []);
  await assertActsAsExactly(server(), who(user));
  await editedTwice(user);
});

/** Two edits by hand, each of which is put back. */
async function editedTwice(user: string): Promise<void> {
  const hand = new Rival(server(), user, "kubectl-edit/v1.36");
  for (const group of ["github_org://1", "github_org://2"]) {
    await settledAfter(house, { clusters: [CLUSTER], user }, async () => assert.ok(await hand.write(theirs(user, group))));
    await assertActsAsExactly(server(), who(user));
  }
}

test("a person's two edits in ten minutes are just put back, because who tries something out is no controller", async () => {
  await bound("u-edited");
  await editedTwice("u-edited");
});

test("a removal gets through on a stopped subject, because nobody may keep an access by writing over its role", async () => {
  const user = "u-ends";
  const rival = await stopped(user);
  await settledAfter(house, { clusters: [CLUSTER], user, state: "removed" }, () => deleteCrtb(house.management!, CLUSTER, user));
  await assertGone(server(), user);
  await rival.stop();
});

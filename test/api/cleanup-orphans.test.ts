// `cleanup --orphans` and `--allow` on real parts: who has a reason stays, beside a running producer and worker too, and removals that were held back go on by a person's word.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { loggedIn, metricOf } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { assertGone, callsSince, objectsOf, writesOf } from "../support/impersonator.ts";
import { makeRanchers } from "../support/rancher-impersonator.ts";
import { deleteCrtb, putAttribute, putCrtb, putUser } from "../support/rancher-objects.ts";
import { Vandal } from "../support/vandal.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 90_000 };
const TEAM = "github_team://1";
const PEOPLE = Array.from({ length: 12 }, (_, i) => `u-${i}`);
let house: House;
before(async () => {
  house = await House.open({ clusters: [CLUSTER], workers: 1 });
  const management = house.management!;
  for (const user of [...PEOPLE, "u-ada", "u-cleo", "u-member"]) await putUser(management, user);
  for (const user of [...PEOPLE, "u-ada"]) await putCrtb(management, CLUSTER, user, { userName: user });
  await putAttribute(management, "u-member", { groups: { github: [TEAM] } });
  await putCrtb(management, CLUSTER, "team", { groupPrincipalName: TEAM });
  for (const user of ["u-ada", ...PEOPLE]) await house.waitFor(CLUSTER, user, "ready", DEADLINE);
  await loggedIn(house, "u-cleo", CLUSTER, { groups: [TEAM] });
  await makeRanchers(house.cluster(CLUSTER), "u-member");
});
after(() => house?.[Symbol.asyncDispose]());

interface Row {
  readonly stale: number | null;
  readonly orphans: number | null;
  readonly deleted: number;
  readonly left: readonly { readonly kind: string; readonly name: string; readonly reason: string }[];
  readonly held: string;
}
async function clean(args: readonly string[], settings: Readonly<Record<string, string>> = {}): Promise<Row & { readonly code: number | null }> {
  const { code, stdout, stderr } = await house.command(["cleanup", "--output", "json", ...args], settings);
  assert.ok(stdout.startsWith("{"), stderr);
  return { code, ...(JSON.parse(stdout) as { clusters: Row[] }).clusters[0]! };
}
const nameOf = (user: string): string => `cattle-impersonation-${user}`;
const server = () => house.cluster(CLUSTER);
const stopAll = () => Promise.all(house.processes.map((process) => process.stop()));
const stands = async (user: string): Promise<boolean> => (await objectsOf(server(), user)).role !== undefined;
/** A whole impersonator with the marks of ours that nobody has a reason for, its Secret one that no label leads to. */
async function orphan(user: string): Promise<void> {
  const hand = await makeRanchers(server(), user);
  for (const kind of ["serviceaccounts", "secrets", "clusterrolebindings", "clusterroles"] as const)
    await hand.edit(
      kind,
      ({ metadata }) => (metadata.annotations = { ...metadata.annotations, "understudy.io/user": user, "understudy.io/install": "understudy" }),
    );
  await hand.label("secrets", "cattle.io/service-account.name", undefined);
}

/** Roles with the marks of ours, and nothing else. */
const make = (users: readonly string[], more: Readonly<Record<string, string>> = {}) =>
  Promise.all(
    users.map((user) => {
      const annotations = { "understudy.io/user": user, "understudy.io/install": "understudy", ...more };
      const metadata = { name: nameOf(user), labels: { "authz.cluster.cattle.io/impersonator": "true" }, annotations };
      return new Vandal(server(), nameOf(user), "").create("clusterroles", { metadata, rules: [] });
    }),
  );
const KEPT = ["u-ada", "u-cleo", "u-member", ...PEOPLE];
const assertKept = async () => {
  for (const user of KEPT) assert.ok(await stands(user), user);
};

test("beside a running producer and worker only those of Rancher's go that nobody has a reason for, and only where they may be adopted", async () => {
  await makeRanchers(server(), "u-left");
  const left = [{ kind: "ClusterRole", name: nameOf("u-left"), reason: "managed by Rancher; UNDERSTUDY_ADOPT=true would let it be removed" }];
  const { code, orphans, deleted, left: told } = await clean(["--cluster", CLUSTER, "--orphans", "--yes"]);
  assert.deepEqual([code, orphans, deleted, told], [0, 0, 0, left]);
  const adopting = await clean(["--orphans", "--yes"], { UNDERSTUDY_ADOPT: "true" });
  assert.deepEqual([adopting.code, adopting.orphans, adopting.deleted, adopting.left], [0, 1, 4, []]);
  await assertGone(server(), "u-left");
  await assertKept();
});

test("an orphan goes whole, with the Secret that no label leads to; who is bound, has logged in, or is let in by a group stays; a dry run writes nothing", async () => {
  await stopAll();
  await orphan("u-orphan");
  const { position } = await callsSince(server(), 0);
  const dry = await clean(["--cluster", CLUSTER]);
  assert.deepEqual([dry.code, dry.stale, dry.orphans, dry.deleted], [0, 0, 1, 0]);
  assert.deepEqual(writesOf((await callsSince(server(), position)).calls), []);
  const { code, orphans, deleted, stale } = await clean(["--cluster", CLUSTER, "--orphans", "--yes"]);
  assert.deepEqual([code, stale, orphans, deleted], [0, null, 1, 4]);
  await assertGone(server(), "u-orphan");
  await assertKept();
});

test("without a Redis the roles' own memory of logins counts, and a tenth of the grant beyond it, because by so much it may lag", async () => {
  await stopAll();
  const days = (ago: number): string => new Date(Date.now() - ago * 86_400_000).toISOString();
  await make(["u-late"], { "understudy.io/login-ends": days(2) });
  await make(["u-over"], { "understudy.io/login-ends": days(4) });
  const { code, orphans, deleted } = await clean(["--cluster", CLUSTER, "--orphans", "--yes"], { UNDERSTUDY_REDIS_URL: "" });
  assert.deepEqual([code, orphans, deleted], [0, 1, 1]);
  assert.deepEqual([await stands("u-late"), await stands("u-over"), await stands("u-cleo")], [true, false, true]);
  await new Vandal(server(), nameOf("u-late"), "").remove("clusterroles");
});

test("with logins as the only source nobody is an orphan whom no login made, because the source that did may only not be set here", async () => {
  const { code, orphans, deleted, left } = await clean(["--cluster", CLUSTER, "--orphans", "--yes"], { UNDERSTUDY_REDIS_URL: "", UNDERSTUDY_SOURCE: "logins" });
  assert.deepEqual([code, orphans, deleted, left.length], [0, 0, 0, PEOPLE.length + 1]);
  assert.deepEqual(left[0], { kind: "ClusterRole", name: nameOf("u-0"), reason: "no login made it, so another source did" });
  await assertKept();
});

const statusOf = async () => {
  const { stdout } = await house.command(["status", "--output", "json"]);
  const [row] = (JSON.parse(stdout) as { clusters: { held: number; orphans: number; reason: string }[] }).clusters;
  return row!;
};
const metricIs = (removals: number) =>
  waitUntil("the metric says so", async () => (await metricOf([house.producer], "understudy_removals_held", { cluster: CLUSTER })) === removals, DEADLINE);
const allow = async (): Promise<number> => {
  const { code, stdout, stderr } = await house.command(["cleanup", "--allow", CLUSTER, "--output", "json"]);
  assert.equal(code, 0, stderr);
  return (JSON.parse(stdout) as { clusters: [{ allowed: number }] }).clusters[0].allowed;
};

test("removals that an import held back go on by a person's word, as many as were named, and status says both", async () => {
  assert.equal(await allow(), 0, "nothing is held");
  await stopAll();
  for (const user of PEOPLE) await deleteCrtb(house.management!, CLUSTER, user);
  await Promise.all([house.start("producer"), house.start("worker")]);
  const held = await waitUntil("they are held", async () => ((await statusOf()).held > 0 ? await statusOf() : undefined), DEADLINE);
  assert.equal(held.held, PEOPLE.length);
  await metricIs(PEOPLE.length);
  assert.match(held.reason, /12 removals are held back; where they are right: understudy cleanup --allow c-one/);
  for (const user of PEOPLE) assert.ok(await stands(user), user);
  assert.equal((await clean(["--cluster", CLUSTER, "--orphans"])).orphans, 0, "whom the ledger knows is the workers'");
  assert.equal(await allow(), PEOPLE.length);
  for (const user of PEOPLE) await house.waitFor(CLUSTER, user, "removed", DEADLINE);
  for (const user of PEOPLE) await assertGone(server(), user);
  await waitUntil("nothing is held any more", async () => (await statusOf()).held === 0, DEADLINE);
  await metricIs(0);
  assert.equal((await house.row(CLUSTER, "u-ada"))?.state, "ready");
});

test("orphans that are too many are held: cleanup takes them where the cluster is named, and the resync where they are allowed", async () => {
  await stopAll();
  const many = Array.from({ length: 24 }, (_, i) => `u-orphan-${i}`);
  await make(many);
  const cautious = await clean(["--orphans", "--yes"]);
  assert.deepEqual([cautious.code, cautious.orphans, cautious.deleted], [3, 24, 0]);
  assert.match(cautious.held, /^24 of \d+ impersonators are too many to be believed at once$/);
  const named = await clean(["--cluster", CLUSTER, "--orphans", "--yes", "--rate", "999"]);
  assert.deepEqual([named.code, named.deleted, named.held], [0, 24, ""]);

  await make(many);
  await Promise.all([house.start("producer"), house.start("worker")]);
  const held = await waitUntil("they are held", async () => ((await statusOf()).held > 0 ? await statusOf() : undefined), DEADLINE);
  assert.deepEqual([held.held, held.orphans], [24, 24]);
  assert.ok(await stands(many[0]!));
  assert.equal(await allow(), 24);
  await waitUntil("they have gone", async () => (await Promise.all(many.map(stands))).every((there) => !there), DEADLINE);
  await waitUntil("status says so", async () => (await statusOf()).held === 0, DEADLINE);
});

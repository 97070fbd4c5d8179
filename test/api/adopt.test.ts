// Impersonators that Rancher made: left alone byte for byte, or taken over as they stand where UNDERSTUDY_ADOPT says so. Nobody's token changes by it, and whatever is
// wider than Rancher makes it stays where it is.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { nameOf } from "../../shared/names.ts";
import { callsDuring, openQuiet, settledAfter, whyItWaits } from "../support/evidence.ts";
import type { House } from "../support/house.ts";
import { type Called, actAs, assertActsAsExactly, assertGone, objectsOf, tokenOf, writesOf } from "../support/impersonator.ts";
import { deleteCrtb, putAttribute, putCrtb, putUser } from "../support/rancher-objects.ts";
import { FOUR_KINDS, type RanchersOptions, makeRanchers } from "../support/rancher-impersonator.ts";
import type { Body, Vandal } from "../support/vandal.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 60_000 };
const TEAM = "github_team://1";
const RBAC = "rbac.authorization.k8s.io";
let house: House;
before(async () => (house = await openQuiet({ clusters: [CLUSTER], workers: 1, settings: { UNDERSTUDY_PROFILE: "rancher" } })));
after(() => house?.[Symbol.asyncDispose]());

const server = () => house.cluster(CLUSTER);
const who = (user: string) => ({ user, groups: [TEAM], extras: { principalid: [`local://${user}`], username: [user] } });
async function bind(user: string): Promise<void> {
  const { extras } = who(user);
  await putUser(house.management!, user);
  await putAttribute(house.management!, user, { groups: { github: [TEAM] }, extras: { local: extras } });
  await putCrtb(house.management!, CLUSTER, user, { userName: user });
}
async function enqueue(user: string): Promise<void> {
  const { code, stderr } = await house.command(["enqueue", "--cluster", CLUSTER, "--user", user]);
  assert.equal(code, 0, stderr);
}
const objects = (hand: Vandal): Promise<Body[]> => Promise.all(FOUR_KINDS.map((kind) => hand.get(kind)));
/** A used token brings its day to the Secret's labels by the API server itself. */
const untouched = (all: Body[]): unknown[] =>
  all.map(({ metadata: { labels, resourceVersion, managedFields, ...metadata }, ...object }) => {
    const { "kubernetes.io/legacy-token-last-used": used, ...rest } = labels;
    return { ...object, labels: rest, metadata, ...(used === undefined ? { resourceVersion, managedFields } : {}) };
  });
/** Writes by our processes to whatever is called so, refused ones too. */
const of = (calls: readonly Called[], user: string): string[] =>
  writesOf(calls)
    .filter(({ name }) => name === nameOf(user) || name.startsWith(`${nameOf(user)}-token-`))
    .map(({ verb, uri, code }) => `${verb} ${uri.split("/").at(-2)} ${code}`);
const ADOPTING = ["update clusterroles 200", "update serviceaccounts 200", "update secrets 200", "update clusterrolebindings 200"];

/** The producer and the worker with another setting; over when the resync that every start asks for is. */
async function restarted(settings: Readonly<Record<string, string>>): Promise<void> {
  await Promise.all([house.producer, ...house.workers].map((process) => process.stop()));
  Object.assign(house.settings, settings);
  const [producer] = await Promise.all([house.start("producer"), house.start("worker")]);
  await waitUntil("the resync is over", () => producer.lines.some((line) => line["msg"] === "cluster resynced"), DEADLINE);
}

const made: Readonly<Record<string, RanchersOptions>> = {
  "u-today": {},
  "u-until-2-12": { creator: true },
  "u-until-2-10": { creator: true, ref: false },
  "u-permuted": { rules: ([users, token, host, groups, ...extras]) => [groups!, ...extras.toReversed(), users!, host!, token!] },
};
interface Stood {
  readonly hand: Vandal;
  readonly all: Body[];
  readonly token: string;
}
const stood = new Map<string, Stood>();
const unknown: { hand?: Vandal; all?: Body[] } = {};
async function stand(user: string, options: RanchersOptions): Promise<Stood> {
  const hand = await makeRanchers(server(), user, { groups: [TEAM], ...options });
  const token = Buffer.from((await hand.get("secrets")).data.token, "base64").toString();
  await waitUntil("Rancher's impersonator works", async () => (await actAs(server(), token, { user })).status === 201, DEADLINE);
  return { hand, token, all: await objects(hand) };
}

test("without UNDERSTUDY_ADOPT what Rancher made stays byte for byte as it is, and its user waits, because two that write it would go on for ever", async () => {
  Object.assign(unknown, await stand("u-unknown", { creator: true }));
  for (const [user, options] of Object.entries(made)) stood.set(user, await stand(user, options));
  const calls = await callsDuring(server(), async () => {
    for (const user of stood.keys()) {
      await bind(user);
      assert.equal(await whyItWaits(house, CLUSTER, user), "managed by Rancher");
    }
    await settledAfter(house, { clusters: [CLUSTER], user: "u-today", state: "waiting" }, () => enqueue("u-today"));
    await restarted({});
  });
  assert.deepEqual(writesOf(calls), []);
  for (const { hand, all } of stood.values()) assert.deepEqual(untouched(await objects(hand)), untouched(all));
});

test("with UNDERSTUDY_ADOPT=true each becomes ready by the next resync: the same four objects, the same Secret, the same token, rules in the order they had", async () => {
  const began = await callsDuring(server(), async () => {
    await restarted({ UNDERSTUDY_ADOPT: "true" });
    await Promise.all([...stood.keys()].map((user) => house.waitFor(CLUSTER, user, "ready", DEADLINE)));
  });
  for (const [user, { hand, all, token }] of stood) {
    assert.deepEqual(of(began, user), ADOPTING, user);
    const now = await objects(hand);
    assert.deepEqual(
      now.map(({ metadata }) => metadata.uid),
      all.map(({ metadata }) => metadata.uid),
    );
    const marks = { "understudy.io/user": user, "understudy.io/install": "understudy" };
    for (const [i, { metadata }] of now.entries())
      assert.deepEqual({ ...metadata.annotations, ...marks }, metadata.annotations, `${user}: our marks are on ${FOUR_KINDS[i]}`);
    assert.deepEqual(now[0].rules, all[0].rules, user);
    assert.equal(now[1].metadata.annotations["rancher.io/service-account.secret-ref"], `cattle-impersonation-system/${hand.secret}`);
    assert.deepEqual(now[2].data, all[2].data);
    assert.equal((await objectsOf(server(), user)).secrets.length, 1);
    assert.equal(await tokenOf(server(), user), token);
    await assertActsAsExactly(server(), who(user));
    assert.equal((await actAs(server(), token, { user, extras: { requesthost: ["any"] } })).status, 201, "Rancher's own proxy goes on");
  }
});

test("a second look at what was adopted writes nothing, and neither does a resync", async () => {
  const calls = await callsDuring(server(), async () => {
    for (const user of stood.keys()) await settledAfter(house, { clusters: [CLUSTER], user }, () => enqueue(user));
    await restarted({});
  });
  assert.deepEqual(writesOf(calls), []);
});

const rule = (resource: string, resourceNames?: readonly string[]) => ({
  verbs: ["impersonate"],
  apiGroups: [""],
  resources: [resource],
  ...(resourceNames ? { resourceNames: [...resourceNames] } : {}),
});
const slugged = "u-0123456789abcdef";
const wider: Readonly<Record<string, readonly [what: string, options: RanchersOptions, why: RegExp]>> = {
  "u-rule": ["allows any group", { rules: (rules) => [...rules, rule("groups")] }, /its ClusterRole allows impersonate {2}groups any name/],
  "u-second": ["allows a second user", { rules: (rules) => [...rules, rule("users", ["u-eve"])] }, /its ClusterRole allows impersonate {2}users u-eve/],
  "u-subject": [
    "is bound to somebody else as well",
    { binding: ({ subjects }) => void subjects!.push({ kind: "User", name: "u-eve", apiGroup: RBAC }) },
    /its ClusterRoleBinding binds User u-eve too/,
  ],
  "u-role-ref": ["is bound to another role", { binding: (binding) => void (binding.roleRef.name = "view") }, /its ClusterRoleBinding binds ClusterRole view/],
  [slugged]: ["has a name that Rancher would not give it", { name: nameOf(slugged) }, /Rancher's would be called cattle-impersonation-u-0123456789abcdef/],
};
describe("what is wider than Rancher makes it", { concurrency: 3 }, () => {
  before(() => (house.settings["UNDERSTUDY_ADOPT"] === "true" ? undefined : restarted({ UNDERSTUDY_ADOPT: "true" })));
  for (const [user, [what, options, why]] of Object.entries(wider)) {
    test(`an impersonator that ${what} is not adopted, because its width would become ours: its user waits, is told what to do, and nothing is written`, async () => {
      const hand = await makeRanchers(server(), user, { groups: [TEAM], ...options });
      const all = await objects(hand);
      const calls = await callsDuring(server(), async () => {
        await bind(user);
        const reason = await whyItWaits(house, CLUSTER, user);
        assert.match(reason, /^managed by Rancher, and not adopted because .*: put that right or delete it, then: understudy enqueue$/);
        assert.match(reason, why);
        await settledAfter(house, { clusters: [CLUSTER], user, state: "waiting" }, () => enqueue(user));
      });
      assert.deepEqual(of(calls, user), []);
      assert.deepEqual(untouched(await objects(hand)), untouched(all));
    });
  }
});

test("once a person has put it right it is adopted, by an enqueue as the reason says", async () => {
  const user = "u-rule";
  const hand = (await stand("u-mended", {})).hand;
  await hand.edit("clusterroles", ({ rules }) => rules.push(rule("serviceaccounts")));
  await bind("u-mended");
  await house.waitFor(CLUSTER, "u-mended", "waiting", DEADLINE);
  await hand.edit("clusterroles", ({ rules }) => rules.pop());
  await settledAfter(house, { clusters: [CLUSTER], user: "u-mended" }, () => enqueue("u-mended"));
  await assertActsAsExactly(server(), who("u-mended"));
  // Its neighbour still waits, or does so again once the resync that is asked for at the start has looked at it.
  await house.waitFor(CLUSTER, user, "waiting", DEADLINE);
});

test("when the grant ends an adopted impersonator is removed like one of ours, and a new grant makes a new token", async () => {
  const user = "u-until-2-10";
  const { token } = stood.get(user)!;
  await settledAfter(house, { clusters: [CLUSTER], user, state: "removed" }, () => deleteCrtb(house.management!, CLUSTER, user));
  await assertGone(server(), user);
  await waitUntil("its token is dead", async () => (await actAs(server(), token, who(user))).status === 401, DEADLINE);
  await settledAfter(house, { clusters: [CLUSTER], user }, () => putCrtb(house.management!, CLUSTER, user, { userName: user }));
  await assertActsAsExactly(server(), who(user));
  assert.notEqual(await tokenOf(server(), user), token);
});

test("Rancher's impersonators of users whom nobody has told us of are never touched, by no resync either, because they may be another's", async () => {
  const calls = await callsDuring(server(), () => restarted({}));
  assert.deepEqual(of(calls, "u-unknown"), []);
  assert.deepEqual(untouched(await objects(unknown.hand!)), untouched(unknown.all!));
  assert.equal(await house.row(CLUSTER, "u-unknown"), undefined);
});

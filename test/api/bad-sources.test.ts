// What a management cluster may hold besides what it should: each wrong object is named with its place, changes nothing that it does not have to, and stops nobody else.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { auditEnd, callsOf, isWrite, writesIn } from "../support/audit.ts";
import { settledAfter } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { actAs, assertActsAsExactly, assertGone, tokenOf } from "../support/impersonator.ts";
import { deleteCrtb, deleteUser, putAttribute, putCrtb, putUser } from "../support/rancher-objects.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const V3 = "/apis/management.cattle.io/v3";
const DEADLINE = { deadlineMs: 60_000 };
let house: House;
before(async () => (house = await House.open({ clusters: [CLUSTER], workers: 2 })));
after(() => house?.[Symbol.asyncDispose]());

const server = () => house.cluster(CLUSTER);
const standIn = (user: string) => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });
async function boundUser(user: string): Promise<void> {
  await putUser(house.management!, user);
  await settledAfter(house, { clusters: [CLUSTER], user }, () => putCrtb(house.management!, CLUSTER, user, { userName: user }));
}
/** As somebody writes it who knows no schema. Texts are sent as they stand. */
async function write(method: "POST" | "PATCH", path: string, object: object | string): Promise<void> {
  const { status, body } = await house.management!.call(method, `${V3}/${path}`, object);
  assert.ok(status < 300, `${status} ${JSON.stringify(body)}`);
}
const crtb = (name: string, fields: object): [string, object] => [
  `namespaces/${CLUSTER}/clusterroletemplatebindings`,
  {
    apiVersion: "management.cattle.io/v3",
    kind: "ClusterRoleTemplateBinding",
    metadata: { name },
    clusterName: CLUSTER,
    roleTemplateName: "cluster-member",
    ...fields,
  },
];
/** Waits until every producer has said why it refuses this object. */
async function refusalOf(kind: string, name: string, place: RegExp): Promise<void> {
  const producers = house.processes.filter((process) => process.name === "producer" && process.child.exitCode === null);
  const said = ({ lines }: (typeof producers)[number]) =>
    lines.findLast((line) => line["msg"] === "binding refused" && line["kind"] === kind && line["name"] === name);
  const lines = await waitUntil(`${kind} ${name} is refused`, () => (producers.every(said) ? producers.map(said) : undefined), DEADLINE);
  for (const line of lines) assert.match(String(line!["reason"]), place, `${kind} ${name}`);
}

const ids: Readonly<Record<string, string>> = {
  masters: "system:masters",
  admins: "kubeadm:cluster-admins",
  account: "system:serviceaccount:kube-system:default",
  eks: "eks:admin",
  nul: "u\u0000x",
  newline: "u-ann\nu-eve",
  rtl: "u-\u202eeve",
  zero: "u-a\u200bnn",
  blank: " u-ann",
};
test("an id that may never be impersonated fails with the reason and nothing is written, while its neighbours are served", async () => {
  const since = await auditEnd(server());
  for (const [name, userName] of Object.entries(ids)) await write("POST", ...crtb(`id-${name}`, { userName }));
  await boundUser("u-neighbour");
  for (const user of Object.values(ids)) {
    const { reason } = await house.waitFor(CLUSTER, user, "failed", DEADLINE);
    assert.match(
      reason,
      /^user id "[\x20-\x7e]*" (has the reserved prefix \w+:|has control, invisible or text-direction characters|begins or ends with a blank)$/,
    );
  }
  for (const [user, calls] of await callsOf(server(), Object.values(ids), since)) assert.deepEqual(calls.filter(isWrite), [], JSON.stringify(user));
  await assertActsAsExactly(server(), standIn("u-neighbour"));
  const { code, stdout } = await house.command(["status"]);
  assert.equal(code, 0);
  assert.ok(/^[\x20-\x7e\n]*$/.test(stdout), "shown so that nothing deceives who reads it");
  for (const name of Object.keys(ids)) await deleteCrtb(house.management!, CLUSTER, `id-${name}`);
  for (const user of Object.values(ids)) await house.waitFor(CLUSTER, user, "removed", DEADLINE);
});

test("names of JavaScript's own are people like others", async () => {
  for (const user of ["constructor", "tostring", "valueof"]) await boundUser(user);
  for (const user of ["constructor", "tostring", "valueof"]) await assertActsAsExactly(server(), standIn(user));
  await write("POST", ...crtb("proto", { userName: "__proto__" }));
  assert.equal((await house.waitFor(CLUSTER, "__proto__", "waiting", DEADLINE)).reason, "user unknown");
});

const deep = (levels: number): string => `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`;
test("a binding that is wrong is refused with its place in the log, and its namespace's other bindings count", async () => {
  const wrong: Readonly<Record<string, readonly [fields: object, place: RegExp]>> = {
    "user-number": [{ userName: 7 }, /^userName: .*expected string/],
    "user-list": [{ userName: ["u-ann"] }, /^userName: /],
    "group-object": [{ groupPrincipalName: { name: "g" } }, /^groupPrincipalName: /],
    "cluster-list": [{ clusterName: [CLUSTER], userName: "u-ann" }, /^clusterName: /],
    "cluster-none": [{ clusterName: "", userName: "u-ann" }, /clusterName is empty/],
    "cluster-other": [{ clusterName: "c-two", userName: "u-ann" }, /clusterName is not its namespace/],
    "user-long": [{ userName: "u".repeat(1025) }, /longer than 1024 characters/],
    "user-huge": [{ userName: "u".repeat(1_000_000) }, /longer than 1024 characters/],
    "user-and-group": [{ userName: "u-ann", groupPrincipalName: "github_org://1" }, /both a user and a group/],
  };
  for (const [name, [fields]] of Object.entries(wrong)) await write("POST", ...crtb(`bad-${name}`, fields));
  for (const [name, [, place]] of Object.entries(wrong)) await refusalOf("clusterroletemplatebindings", `bad-${name}`, place);
  for (const fields of [{ userName: "" }, { userName: null }, {}]) await write("POST", ...crtb(`empty-${JSON.stringify(fields).length}`, fields));
  const [path, object] = crtb("deep", { userName: "u-deep" });
  await putUser(house.management!, "u-deep");
  await write("POST", path, JSON.stringify(object).replace(/}$/, `,"__proto__":{"userName":"u-eve"},"constructor":${deep(2_000)},"userName":"u-deep"}`));
  await house.waitFor(CLUSTER, "u-deep", "ready", DEADLINE);
  await assertActsAsExactly(server(), standIn("u-deep"));
  for (const user of ["u-ann", "u-eve", ""]) assert.equal(await house.row(CLUSTER, user), undefined);
});

test("a group or extra that may never be in a role is left out and named in the row, and the rest of the person counts", async () => {
  const user = "u-dropped";
  await boundUser(user);
  const bad = [
    "",
    "system:masters",
    "kubeadm:cluster-admins",
    "developers",
    "g://a\nb",
    "g://\u202eb",
    "g://\u200bb",
    "g://a\u0000b",
    `g://${"x".repeat(2_000)}`,
  ];
  const groups = { github: [...bad, "github_org://good"], local: [] };
  const [row] = await settledAfter(house, { clusters: [CLUSTER], user }, () =>
    putAttribute(house.management!, user, { groups, extras: { github: { username: ["", "good"], principalid: [], scopes: ["x"] } } }),
  );
  assert.match(row!.reason, /^left out: /);
  for (const group of [
    /groups "" is empty/,
    /groups "system:masters" has the reserved prefix system:/,
    /groups "kubeadm:cluster-admins" has the reserved prefix/,
    /groups "developers" is not a principal/,
    /groups "g:\/\/a\\nb" has control/,
    /username "" is empty/,
  ])
    assert.match(row!.reason, group);
  assert.ok(/^[\x20-\x7e…]{1,1000}$/.test(row!.reason));
  await assertActsAsExactly(server(), { user, groups: ["github_org://good"], extras: { username: ["good"] } });
  const token = await tokenOf(server(), user);
  assert.equal((await actAs(server(), token, { user, groups: ["kubeadm:cluster-admins"] })).status, 403);
  const [mended] = await settledAfter(house, { clusters: [CLUSTER], user }, () =>
    putAttribute(house.management!, user, { groups: { github: ["github_org://good"] }, extras: { github: { username: ["good"] } } }),
  );
  assert.equal(mended!.reason, "");
});

test("with 501 groups a person fails, is never cut to 500, and loses the impersonator that stands; with 500 they are back", async () => {
  const user = "u-many";
  await boundUser(user);
  const token = await tokenOf(server(), user);
  const groups = Array.from({ length: 501 }, (_, i) => `github_team://${i}`);
  await putAttribute(house.management!, user, { groups: { github: groups } });
  const row = await house.waitFor(CLUSTER, user, "failed", DEADLINE);
  assert.equal(row.reason, "501 groups, over the limit of 500 (UNDERSTUDY_GROUPS_MAX)");
  await assertGone(server(), user);
  await waitUntil("its token is dead", async () => (await actAs(server(), token, { user })).status === 401, DEADLINE);
  await settledAfter(house, { clusters: [CLUSTER], user }, () => putAttribute(house.management!, user, { groups: { github: groups.slice(1) } }));
  await assertActsAsExactly(server(), { user, groups: groups.slice(1, 60) });
});

test("a User or UserAttribute that cannot be read is named with its place and changes nothing, also for a producer that starts anew", async () => {
  const user = "u-unreadable";
  await boundUser(user);
  const said = { groups: { github: ["github_org://1"] }, extras: { github: { username: ["ann"] } } };
  await settledAfter(house, { clusters: [CLUSTER], user }, () => putAttribute(house.management!, user, said));
  const row = await house.row(CLUSTER, user);
  const since = await auditEnd(server());
  await write("PATCH", `users/${user}`, { enabled: "no", principalIds: "local://eve" });
  await write("PATCH", `userattributes/${user}`, { GroupPrincipals: { github: { Items: "github_org://2" } }, ExtraByProvider: ["x"] });
  const places = async (): Promise<void> => {
    await refusalOf("users", user, /^enabled: .*expected boolean.*; principalIds: .*expected array/);
    await refusalOf("userattributes", user, /^GroupPrincipals\.github\.Items: .*expected array.*; ExtraByProvider: /);
  };
  await places();
  const second = await house.start("producer");
  await waitUntil("its own import stands", () => second.lines.some(({ msg }) => msg === "sources imported"), DEADLINE);
  await places();
  // Both streams and the import have come past it.
  await boundUser("u-after");
  assert.deepEqual(await house.row(CLUSTER, user), row);
  assert.deepEqual(writesIn((await callsOf(server(), [user], since)).get(user)!), []);
  await assertActsAsExactly(server(), { user, groups: ["github_org://1"], extras: { username: ["ann"] } });
  assert.equal(await second.stop(), 0);
  // What cannot be read can still go, and come back mended.
  await deleteUser(house.management!, user);
  assert.equal((await house.waitFor(CLUSTER, user, "waiting", DEADLINE)).reason, "user unknown");
  await assertGone(server(), user);
  await settledAfter(house, { clusters: [CLUSTER], user }, () => putUser(house.management!, user));
});

test("an id that a setting comes to refuse fails when it is looked at, and its impersonator goes", async () => {
  const user = "corp-ann";
  await boundUser(user);
  await assertActsAsExactly(server(), standIn(user));
  await Promise.all(house.workers.map((worker) => worker.stop()));
  await house.start("worker", { UNDERSTUDY_DENY_PREFIXES: "corp-" });
  const { code } = await house.command(["enqueue", "--cluster", CLUSTER, "--user", user]);
  assert.equal(code, 0);
  assert.equal((await house.waitFor(CLUSTER, user, "failed", DEADLINE)).reason, 'user id "corp-ann" has the reserved prefix corp-');
  await assertGone(server(), user);
});

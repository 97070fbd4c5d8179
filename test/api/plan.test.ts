// `plan` as a person runs it, against real API servers: what it foretells is what a producer and a worker with an empty Redis then write, it names what it leaves alone, and writes nothing itself.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { kubeconfigText } from "../apiserver/files.ts";
import { auditEnd, callsOf, isWrite } from "../support/audit.ts";
import { atTerminal } from "../support/command.ts";
import { loggedIn } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { callsSince, objectsOf, writesOf } from "../support/impersonator.ts";
import { deleteCrtb, putAttribute, putCrtb, putPrtb, putUser } from "../support/rancher-objects.ts";
import { Vandal } from "../support/vandal.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 90_000 };
const RBAC = "rbac.authorization.k8s.io";
const TEAM = "github_team://1";
const LABELS = { "authz.cluster.cattle.io/impersonator": "true" };
const OTHERS = { UNDERSTUDY_REDIS_PREFIX: "second" };
const BOUND = ["u-ada", "u-ben", "u-eve", "u-fay"];
let house: House;
before(async () => {
  house = await House.open({ clusters: [CLUSTER], producers: 0, workers: 0 });
  const management = house.management!;
  for (const user of [...BOUND, "u-cleo", "u-dana"]) await putUser(management, user, user === "u-dana" ? { enabled: false } : {});
  await putAttribute(management, "u-ada", { groups: { github: [TEAM, "no-principal"] }, extras: { github: { username: ["ada"] } } });
  for (const user of ["u-ada", "u-eve", "u-fay", "u-dana"]) await putCrtb(management, CLUSTER, user, { userName: user });
  await putPrtb(management, CLUSTER, "p-1", "u-ben", { userName: "u-ben" });
  await putCrtb(management, CLUSTER, "team", { groupPrincipalName: TEAM });
  await management.call("POST", "/api/v1/namespaces", { metadata: { name: "c-elsewhere" } });
  await putCrtb(management, "c-elsewhere", "u-ada", { userName: "u-ada" });
});
after(() => house?.[Symbol.asyncDispose]());

interface Step {
  readonly action: "create" | "change" | "recreate" | "delete";
  readonly kind: string;
  readonly name: string;
  readonly user: string;
  readonly reason: string;
  readonly diff?: string;
}
interface Row {
  readonly cluster: string;
  readonly equal: number;
  readonly stale: number;
  readonly steps: readonly Step[];
  readonly untouched: readonly { readonly kind: string; readonly name: string; readonly user: string; readonly reason: string }[];
  readonly waiting: readonly { readonly user: string; readonly reason: string }[];
  readonly failed: readonly { readonly user: string; readonly reason: string }[];
}
interface Planned {
  readonly code: number | null;
  readonly clusters: readonly Row[];
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}
/** Without a Redis, which it must not need. */
const run = (...args: readonly string[]) => house.command(["plan", ...args], { UNDERSTUDY_REDIS_URL: "" });
async function plan(...args: readonly string[]): Promise<Planned & { readonly row: Row }> {
  const { code, stdout, stderr } = await run("--output", "json", ...args);
  assert.ok(stdout.startsWith("{"), `${code}: ${stderr}`);
  const planned = JSON.parse(stdout) as Planned;
  return { ...planned, code, row: planned.clusters.find(({ cluster }) => cluster === CLUSTER)! };
}
const said = ({ action, kind, reason }: Step): string => `${action} ${kind}: ${reason}`;
const stepsOf = ({ steps }: Row, user: string): string[] => steps.filter((step) => step.user === user).map(said);
const nameOf = (user: string): string => `cattle-impersonation-${user}`;
const vandalOf = (user: string, secret = "") => new Vandal(house.cluster(CLUSTER), nameOf(user), secret);

const VERBS = { create: ["create"], change: ["update"], delete: ["delete"], recreate: ["delete", "create"] } as const;
/** The writes that a plan foretells for a user, as an audit log calls them. */
const foretold = ({ steps }: Row, user: string): string[] =>
  steps.filter((step) => step.user === user).flatMap(({ action, kind }) => VERBS[action].map((verb) => `${verb} ${kind.toLowerCase()}s`));
/** What the workers wrote for a user; what the garbage collector had deleted before them counts as theirs. A role that was written and is written again is only sealed. */
async function written(user: string, since: number): Promise<string[]> {
  const calls = (await callsOf(house.cluster(CLUSTER), [user], since)).get(user)!.filter(isWrite);
  const done = calls.filter(({ verb, code }) => code < 300 || (verb === "delete" && code === 404)).map(({ verb, resource }) => `${verb} ${resource}`);
  return done.filter((write, i) => write !== "update clusterroles" || !done.slice(0, i).some((earlier) => earlier.endsWith(" clusterroles")));
}
const settled = () => waitUntil("nothing differs any more", async () => (await plan()).code === 0, DEADLINE);

const CREATES = [
  "create ClusterRole: it is missing",
  "create ServiceAccount: it is missing",
  "create Secret: it is missing",
  "create ClusterRoleBinding: it is missing",
];

test("an empty cluster gets every object of whoever is bound, and then has just these; whoever is entitled by a group alone is not there before a login", async () => {
  const { code, row, problems, warnings } = await plan();
  assert.deepEqual([code, row.equal, problems], [3, 0, []]);
  for (const user of BOUND) assert.deepEqual(stepsOf(row, user), CREATES);
  assert.deepEqual([...new Set(row.steps.map(({ user }) => user))], BOUND);
  assert.deepEqual(row.waiting, [{ user: "u-dana", reason: "user disabled" }]);
  assert.ok(
    warnings.some((warning) => warning.includes("u-ada") && warning.includes("no-principal")),
    "a name that is left out is said",
  );
  assert.ok(
    warnings.some((warning) => warning.startsWith("cluster c-elsewhere: not configured; 1 subject")),
    warnings.join("\n"),
  );
  const since = await auditEnd(house.cluster(CLUSTER));
  await Promise.all([house.start("producer"), house.start("worker")]);
  for (const user of BOUND) {
    await house.waitFor(CLUSTER, user, "ready", DEADLINE);
    assert.deepEqual(await written(user, since), foretold(row, user));
  }
});

test("where the product has worked there is no step, also for a user whom only the role remembers: 0", async () => {
  await loggedIn(house, "u-cleo", CLUSTER, { groups: [TEAM] });
  const { code, row } = await plan();
  assert.deepEqual([code, row.equal, row.stale, row.steps, row.untouched, row.failed], [0, BOUND.length + 1, 0, [], [], []]);
});

const stale = (user: string, metadata: object) =>
  vandalOf(user).create("secrets", {
    metadata: { name: `${nameOf(user)}-token-0123456789`, annotations: { "kubernetes.io/service-account.name": nameOf(user) }, ...metadata },
    type: "kubernetes.io/service-account-token",
  });
/** Clears a screen, twice, and turns the rest of its line around. */
const EVIL = "\u001b[2J\u009b2J\u202e";
/** Another hand, while nobody repairs; a binding goes, and Rancher makes impersonators of its own. */
async function damage(): Promise<void> {
  await Promise.all(house.processes.map((process) => process.stop()));
  await vandalOf("u-ada").edit("clusterroles", (role) => role.rules[1].resourceNames.push("system:masters"));
  // As Rancher left them: owned and labelled; and one that nothing but its annotation leads to.
  const { account } = await objectsOf(house.cluster(CLUSTER), "u-ada");
  const owner = { apiVersion: "v1", kind: "ServiceAccount", name: nameOf("u-ada"), uid: account.metadata.uid };
  await stale("u-ada", { labels: { "cattle.io/service-account.name": nameOf("u-ada") }, ownerReferences: [owner] });
  await stale("u-ben", {});
  await vandalOf("u-ben").remove("clusterrolebindings");
  const { secrets } = await objectsOf(house.cluster(CLUSTER), "u-cleo");
  await vandalOf("u-cleo", secrets[0].metadata.name).remove("secrets");
  await deleteCrtb(house.management!, CLUSTER, "u-eve");
  const { binding } = await objectsOf(house.cluster(CLUSTER), "u-fay");
  await vandalOf("u-fay").remove("clusterrolebindings");
  const { name, labels, annotations, ownerReferences } = binding.metadata;
  const roleRef = { apiGroup: RBAC, kind: "ClusterRole", name: "view" };
  await vandalOf("u-fay").create("clusterrolebindings", {
    metadata: { name, labels, annotations: { ...annotations, evil: EVIL }, ownerReferences },
    subjects: binding.subjects,
    roleRef,
  });
  for (const user of ["u-rex", "u-sam"])
    await vandalOf(user).create("clusterroles", {
      metadata: { name: nameOf(user), labels: LABELS },
      rules: [{ verbs: ["impersonate"], apiGroups: [""], resources: ["users"], resourceNames: [user] }],
    });
  await putUser(house.management!, "u-rex");
  await putCrtb(house.management!, CLUSTER, "u-rex", { userName: "u-rex" });
}

/** `--diff` adds what each step changes, and changes nothing else of the answer. */
async function assertDiffs(without: Row): Promise<void> {
  const { row } = await plan("--diff");
  assert.deepEqual(
    row.steps.map(({ diff: _diff, ...step }) => step),
    without.steps,
  );
  const diffOf = (user: string, kind: string): string => row.steps.find((step) => step.user === user && step.kind === kind)!.diff!;
  const heads = ["u-ada", "u-fay"].map(nameOf);
  const changed = diffOf("u-ada", "ClusterRole").replaceAll(/@@.*@@/g, "@@");
  assert.ok(changed.startsWith(`--- ClusterRole/${heads[0]} as it is\n+++ ClusterRole/${heads[0]} as it would be\n@@\n`), changed);
  // A run that took over from a dead one has left a mark in it, which goes too.
  assert.ok(
    changed.endsWith(`
@@
       - ${TEAM}
       - system:authenticated
       - system:cattle:authenticated
-      - system:masters
     resources:
       - groups
     verbs:`),
    changed,
  );
  const created = diffOf("u-ben", "ClusterRoleBinding").split("\n");
  assert.deepEqual([created[0], created.slice(3).every((line) => line.startsWith("+"))], ["--- /dev/null", true]);
  assert.match(diffOf("u-fay", "ClusterRoleBinding"), new RegExp(`-  name: view\n\\+  name: ${heads[1]}\n`));
  assert.match(diffOf("u-fay", "ClusterRoleBinding"), /^-    evil: "\\e\[2J\\u\{9b\}2J\\u\{202e\}"$/m);
  const secret = diffOf("u-eve", "Secret");
  assert.match(secret, /\+\+\+ \/dev\/null\n[\s\S]*-type: kubernetes\.io\/service-account-token$/);
  for (const { diff } of row.steps) assert.ok(!/^.(data|stringData|  uid|  resourceVersion|  managedFields):/m.test(diff!), diff);
  await assertColours();
}
/** Green and red are for eyes: neither in a file nor where NO_COLOR asks for none. */
async function assertColours(): Promise<void> {
  const args = ["plan", "--diff", "--cluster", CLUSTER];
  const settings = { ...house.settings, UNDERSTUDY_REDIS_URL: "" };
  const line = "      - system:masters";
  const { screen } = await atTerminal(args, settings);
  assert.ok(screen.includes(`\u001b[31m-${line}\u001b[39m`), screen);
  assert.match(screen, /1 of 1 clusters planned, \d+ pages of objects read|0 of 1 clusters planned, 0 pages of objects read/);
  const plain = await atTerminal(args, { ...settings, NO_COLOR: "1" });
  assert.ok(plain.screen.includes(`\n-${line}\r`) && !plain.screen.includes("\u001b[31m"));
  const { stdout, stderr } = await run("--diff", "--cluster", CLUSTER);
  assert.ok(stdout.includes(`\n-${line}\n`) && !stdout.includes("\u001b"), stdout);
  assert.equal(stderr, "");
  const sums = "11 steps: 2 to make, 2 to change, 1 to make anew, 6 to remove, 2 stale token Secrets (understudy cleanup --stale-secrets)";
  assert.equal(stdout.slice(0, stdout.indexOf("\n")), `${CLUSTER}: 0 equal, ${sums}`);
}

test("each damage, stale Secret and orphan is named with its reason, Rancher's impersonators are left alone, and an empty Redis then leads to just these writes", async () => {
  await damage();
  const { code, row } = await plan();
  assert.deepEqual([code, row.stale], [3, 2]);
  assert.deepEqual(stepsOf(row, "u-ada"), ["change ClusterRole: the rules are not the identity's", "delete Secret: the account names another one"]);
  assert.ok(row.steps.some(({ name }) => name === `${nameOf("u-ada")}-token-0123456789`));
  assert.deepEqual(stepsOf(row, "u-ben").toSorted(), ["create ClusterRoleBinding: it is missing", "delete Secret: it belongs to an earlier owner"]);
  assert.deepEqual(stepsOf(row, "u-cleo"), [
    "change ServiceAccount: its token Secret is gone: a new one gets a new name; known from the role only",
    "create Secret: it is missing; known from the role only",
  ]);
  const orphan = "orphan: nobody may act as this user here; no grant";
  assert.deepEqual(
    stepsOf(row, "u-eve"),
    ["ClusterRole", "ClusterRoleBinding", "Secret", "ServiceAccount"].map((kind) => `delete ${kind}: ${orphan}`),
  );
  assert.deepEqual(stepsOf(row, "u-fay"), ["recreate ClusterRoleBinding: its roleRef, which cannot be changed, is not the impersonator's role"]);
  assert.deepEqual(
    row.untouched.map(({ kind, name, user, reason }) => [kind, name, user, reason]),
    [
      ["ClusterRole", nameOf("u-rex"), "u-rex", "managed by Rancher"],
      ["ClusterRole", nameOf("u-sam"), "u-sam", "managed by Rancher; no source entitles this user"],
    ],
  );
  await assertDiffs(row);
  const since = await auditEnd(house.cluster(CLUSTER));
  await Promise.all([house.start("producer", OTHERS), house.start("worker", OTHERS)]);
  await settled();
  for (const user of ["u-ada", "u-ben", "u-cleo", "u-eve", "u-fay", "u-rex", "u-sam"]) {
    const writes = await written(user, since);
    // A run that knows of none before it seals the role that stands: no difference, and no step.
    const sealed = ["u-ben", "u-cleo", "u-fay"].includes(user) ? ["update clusterroles"] : [];
    assert.deepEqual(writes.toSorted(), [...foretold(row, user), ...sealed].toSorted(), user);
  }
});

test("a cluster that does not answer is named with why and makes it 1, and the others are planned all the same", async () => {
  const server = house.cluster(CLUSTER);
  await writeFile(join(house.clustersDir, "c-away.yaml"), kubeconfigText("https://127.0.0.1:1", server.ca, "token"));
  await writeFile(join(house.clustersDir, "c-broken.yaml"), "no kubeconfig");
  const { code, row, clusters, problems } = await plan();
  assert.deepEqual([code, row.equal, clusters.map(({ cluster }) => cluster)], [1, BOUND.length, ["c-away", CLUSTER]]);
  assert.match(problems.join("\n"), /kubeconfig c-broken\.yaml: .*\n.*cluster c-away: no answer from 127\.0\.0\.1:1 \(ECONNREFUSED\)/);
  assert.equal((await plan("--cluster", CLUSTER)).code, 0);
  const unknown = await run("--cluster", "c-none");
  assert.deepEqual([unknown.code, unknown.stdout], [2, ""]);
});

test("people read a table a cluster and a summary line, and no progress where there is no terminal", async () => {
  const { code, stdout, stderr } = await run("--cluster", CLUSTER);
  assert.deepEqual([code, stderr], [0, ""]);
  assert.match(stdout, /^c-one: 4 equal, 0 steps\nSTEP +KIND +NAME +USER +REASON\nwaits +u-dana +user disabled\n/);
  assert.match(stdout, /none +ClusterRole +cattle-impersonation-u-sam +u-sam +managed by Rancher/);
  assert.match(stdout.trimEnd().split("\n").at(-1)!, /^1 cluster: 4 equal, 0 steps to take, 0 failed, 0 problems$/);
});

test("without a management cluster only the roles are asked: who logged in is kept, and what no login made is another source's", async () => {
  const { code, stdout } = await house.command(["plan", "--output", "json", "--cluster", CLUSTER], { UNDERSTUDY_REDIS_URL: "", UNDERSTUDY_SOURCE: "logins" });
  const [row] = (JSON.parse(stdout) as Planned).clusters;
  assert.deepEqual([code, row!.equal, row!.steps], [0, 1, []]);
  const others = row!.untouched.filter(({ reason }) => reason === "no login made it, so another source did").map(({ user }) => user);
  assert.deepEqual(others.toSorted(), ["u-ada", "u-ben", "u-fay"]);
});

test("more orphans than may be removed at once are named and left, because the sources' lists may be what is wrong: 3", async () => {
  await Promise.all(house.processes.map((process) => process.stop()));
  const orphans = Array.from({ length: 11 }, (_, i) => `u-orphan-${i}`);
  for (const user of orphans) {
    const annotations = { "understudy.io/user": user, "understudy.io/install": "understudy" };
    await vandalOf(user).create("clusterroles", { metadata: { name: nameOf(user), labels: LABELS, annotations }, rules: [] });
  }
  const { code, row } = await plan("--cluster", CLUSTER);
  assert.deepEqual([code, row.steps], [3, []]);
  const reason = "orphan: 11 of them are too many to be removed at once (UNDERSTUDY_REMOVALS_MAX)";
  assert.deepEqual(
    row.failed.toSorted((a, b) => (a.user < b.user ? -1 : 1)),
    orphans.toSorted().map((user) => ({ user, reason })),
  );
});

test("plan never writes: its calls to either kind of cluster are lists and reads", async () => {
  for (const server of [house.cluster(CLUSTER), house.management!]) {
    const { calls } = await callsSince(server, 0);
    const own = calls.filter(({ agent }) => agent.endsWith(" plan"));
    assert.ok(own.length > 0);
    assert.deepEqual(writesOf(own), []);
    assert.deepEqual([...new Set(own.map(({ verb }) => verb))], ["list"]);
  }
});

// `verify` asks a real cluster with the impersonator's own token: it agrees where all is right, and names what is not where somebody has been at it.
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { kubeconfigText } from "../apiserver/files.ts";
import { atTerminal } from "../support/command.ts";
import { loggedIn, settledAfter } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { assertActsAsExactly, assertGone, objectsOf } from "../support/impersonator.ts";
import { deleteCrtb, putCrtb, putUser } from "../support/rancher-objects.ts";
import { firstResync } from "../support/traps.ts";
import { waitUntil } from "../support/wait-until.ts";
import { type Body, type Kind, Vandal } from "../support/vandal.ts";

const CLUSTER = "c-one";
let house: House;
before(async () => {
  house = await House.open({ clusters: [CLUSTER] });
  // It would find the first damages before anybody looks.
  await firstResync(house, [CLUSTER]);
});
after(() => house?.[Symbol.asyncDispose]());

interface Verified {
  readonly cluster: string;
  readonly user: string;
  readonly ok: boolean;
  readonly checks: readonly { readonly check: string; readonly expected: string; readonly got: string; readonly ok: boolean }[];
}
async function verify(...args: readonly string[]): Promise<{ code: number | null; subjects: readonly Verified[] }> {
  const { code, stdout, stderr } = await house.command(["verify", "--output", "json", ...args]);
  assert.ok(stdout.startsWith("{"), `${code}: ${stderr}`);
  return { code, ...(JSON.parse(stdout) as { subjects: Verified[] }) };
}
const of = (user: string) => ["--cluster", CLUSTER, "--user", user];
const failing = ({ checks }: Verified): string[] => checks.filter(({ ok }) => !ok).map(({ check }) => check);

const who = (user: string) => ({ user, groups: ["github_team://1"], extras: { principalid: [`github_user://${user}`], username: [user] } });
async function readyUser(user: string): Promise<void> {
  await putUser(house.management!, user);
  await putCrtb(house.management!, CLUSTER, user, { userName: user });
  const { groups, extras } = who(user);
  await loggedIn(house, user, CLUSTER, { groups, extras });
}

/** Rules in their order: users, groups, principalid, username. */
const rules = (change: (rules: Body) => unknown) => (v: Vandal) => v.edit("clusterroles", (role) => change(role.rules));
const more = (rule: object) => rules((all) => all.push({ apiGroups: ["", "authentication.k8s.io"], verbs: ["impersonate"], ...rule }));
const gone =
  (kind: Kind, along: readonly Kind[] = []) =>
  (v: Vandal) =>
    v.remove(kind, along);
const WRONG_PERSON = ["becomes", "groups", "extras"];

/** What was done, and the checks that fail because of it. */
const damages: Readonly<Record<string, { readonly hurt: (vandal: Vandal) => Promise<void>; readonly fails: readonly string[] }>> = {
  "the role allows one group more": { hurt: rules((all) => all[1].resourceNames.push("system:masters")), fails: ["role allows"] },
  "the role allows one user more": { hurt: rules((all) => all[0].resourceNames.push("u-eve")), fails: ["role allows"] },
  "the role allows every user": { hurt: rules((all) => delete all[0].resourceNames), fails: ["as a stranger", "role allows"] },
  "the role allows every group": { hurt: rules((all) => delete all[1].resourceNames), fails: ["with a foreign group", "role allows"] },
  "the role allows every principalid": { hurt: rules((all) => delete all[2].resourceNames), fails: ["with a foreign extra", "role allows"] },
  "the role allows everything": {
    hurt: more({ resources: ["*"], verbs: ["*"] }),
    fails: ["as a stranger", "with a foreign group", "with a foreign extra", "with an extra that is not granted", "with a uid", "role allows"],
  },
  "the role allows an extra more": { hurt: more({ resources: ["userextras/scopes"] }), fails: ["role allows"] },
  "the role allows uids": { hurt: more({ resources: ["uids"] }), fails: ["with a uid", "role allows"] },
  "the role allows to read Secrets": { hurt: more({ resources: ["secrets"], verbs: ["get"] }), fails: ["role allows"] },
  "the role allows less": { hurt: rules((all) => all.splice(1, 1)), fails: [...WRONG_PERSON, "role allows"] },
  "the binding is gone": { hurt: gone("clusterrolebindings"), fails: [...WRONG_PERSON, "binding"] },
  "the binding binds somebody else too": {
    hurt: (v) =>
      v.edit("clusterrolebindings", (binding) => binding.subjects.push({ kind: "Group", apiGroup: "rbac.authorization.k8s.io", name: "github_team://9" })),
    fails: ["binding"],
  },
  "the Secret is gone": { hurt: gone("secrets"), fails: ["impersonator"] },
  "the account is gone": { hurt: gone("serviceaccounts", ["secrets"]), fails: ["impersonator"] },
  "the role is gone": { hurt: gone("clusterroles", ["serviceaccounts", "secrets", "clusterrolebindings"]), fails: ["impersonator", "role allows", "binding"] },
};

/** While workers are stopped nothing is repaired, so that there is time to ask. */
const signalWorkers = (signal: NodeJS.Signals): void => house.workers.forEach(({ child }) => child.kill(signal));
async function unrepaired<T>(act: () => Promise<T>): Promise<T> {
  signalWorkers("SIGSTOP");
  try {
    return await act();
  } finally {
    signalWorkers("SIGCONT");
  }
}
const vandalOf = async (user: string): Promise<Vandal> => {
  const { secrets } = await objectsOf(house.cluster(CLUSTER), user);
  return new Vandal(house.cluster(CLUSTER), `cattle-impersonation-${user}`, secrets[0].metadata.name);
};
const allRight = () => waitUntil("verify --all agrees", async () => (await verify("--all")).code === 0, { deadlineMs: 60_000 });

describe("M30 verify names what is wrong", { concurrency: 3 }, () => {
  const userOf = (what: string): string => `u-verify-${Object.keys(damages).indexOf(what)}`;
  before(async () => {
    for (const what of Object.keys(damages)) await readyUser(userOf(what));
    signalWorkers("SIGSTOP");
  });
  after(() => signalWorkers("SIGCONT"));
  for (const [what, { hurt, fails }] of Object.entries(damages)) {
    test(`M30 verify says 3 and ${fails.join(", ")} when ${what}`, async () => {
      await hurt(await vandalOf(userOf(what)));
      const { code, subjects } = await verify(...of(userOf(what)));
      assert.equal(code, 3);
      assert.equal(subjects[0]!.ok, false);
      assert.deepEqual(failing(subjects[0]!).toSorted(), fails.toSorted());
    });
  }
});

test("M30 verify says 0 of each of them once it is repaired", async () => {
  await allRight();
  for (const what of Object.keys(damages).keys()) await assertActsAsExactly(house.cluster(CLUSTER), who(`u-verify-${what}`));
});

test("M30 verify --all names the one subject of many that is wrong, and leaves out who has none", async () => {
  const users = ["u-all-1", "u-all-2", "u-all-3"];
  for (const user of users) await readyUser(user);
  assert.equal((await verify("--all")).code, 0);
  const vandal = await vandalOf("u-all-2");
  const { code, subjects } = await unrepaired(async () => {
    await vandal.edit("clusterroles", (role) => role.rules[0].resourceNames.push("u-all-1"));
    return verify("--all", "--cluster", CLUSTER);
  });
  assert.equal(code, 3);
  assert.deepEqual(
    subjects.filter(({ ok }) => !ok).map(({ user }) => user),
    ["u-all-2"],
  );
  assert.deepEqual(
    users.filter((user) => !subjects.some((subject) => subject.user === user)),
    [],
  );
  await assertActsAsExactly(house.cluster(CLUSTER), who("u-all-1"));
});

test("M30 verify --all shows how far it is on a terminal alone, and people read only what is wrong and a line that sums up", async () => {
  const args = ["verify", "--all", "--cluster", CLUSTER];
  const { code, stdout, stderr } = await house.command(args);
  const [, count] = /^(\d+) impersonators on 1 cluster: \1 ok, 0 not ok\n$/.exec(stdout) ?? [];
  assert.deepEqual([code, stderr, Number(count) > 3], [0, "", true], stdout);
  const { screen } = await atTerminal(args, house.settings);
  assert.match(screen, new RegExp(`0 of ${count} impersonators verified`));
  assert.match(screen, new RegExp(`\\u001b\\[2K${stdout.trimEnd()}`), "the line is gone before the answer is printed");
  assert.ok(!(await atTerminal([...args, "--user", "u-nobody"], house.settings)).screen.includes("verified"), "nothing to count");
});

/** What `verify --all` says where these kubeconfigs are all that there is. */
async function verifyWith(name: string, server: string) {
  const folder = join(house.folder, name);
  await mkdir(folder);
  await writeFile(join(folder, `${name}.yaml`), kubeconfigText(server, house.cluster(CLUSTER).ca, "token"));
  const { code, stdout } = await house.command(["verify", "--all", "--output", "json"], { UNDERSTUDY_CLUSTERS_DIR: folder });
  return { code, subjects: (JSON.parse(stdout) as { subjects: readonly Verified[] }).subjects };
}

test("M30 verify --all fails the subjects of a cluster that is away, which it asks no more, because one dead cluster may not hold up thirty", async () => {
  let calls = 0;
  await using dead = createServer((socket) => void (socket.destroy(), (calls += 1)));
  await new Promise<void>((resolve) => dead.listen(0, "127.0.0.1", resolve));
  const { code, subjects } = await verifyWith(CLUSTER, `https://127.0.0.1:${(dead.address() as AddressInfo).port}`);
  assert.deepEqual([code, subjects.some(({ ok }) => ok)], [3, false]);
  for (const { checks } of subjects) assert.match(checks.map(({ got }) => got).join(), /^cluster c-one: no answer from 127\.0\.0\.1:\d+/);
  // Eight are asked at once, with four looks each.
  assert.ok(calls <= 32 && subjects.length * 4 > 48, `${calls} calls for ${subjects.length} subjects`);
});

test("M30 verify --all fails the subjects of a cluster without a kubeconfig, because nobody knows what they may do there", async () => {
  const { code, subjects } = await verifyWith("c-other", "https://127.0.0.1:1");
  assert.deepEqual([code, subjects.length > 3, subjects.some(({ ok }) => ok)], [3, true, false]);
  for (const { checks } of subjects) assert.match(checks.map(({ got }) => got).join(), /^not in UNDERSTUDY_CLUSTERS_DIR/);
});

test("M30 verify agrees that a removed user has no impersonator, and says 3 when somebody brings its role back", async () => {
  const user = "u-was";
  await readyUser(user);
  const role = (await objectsOf(house.cluster(CLUSTER), user)).role;
  await settledAfter(house, { clusters: [CLUSTER], user, state: "removed" }, () => deleteCrtb(house.management!, CLUSTER, user));
  await assertGone(house.cluster(CLUSTER), user);
  assert.equal((await verify(...of(user))).code, 0);
  const { name, labels, annotations } = role.metadata;
  const { code, subjects } = await unrepaired(async () => {
    await new Vandal(house.cluster(CLUSTER), name, "").create("clusterroles", { metadata: { name, labels, annotations }, rules: role.rules });
    return verify(...of(user));
  });
  assert.deepEqual([code, failing(subjects[0]!)], [3, ["impersonator"]]);
});

test("M30 verify of nobody, and of a cluster that is not configured, is a wrong use: 2, with what to say instead", async () => {
  const nobody = await house.command(["verify", "--cluster", CLUSTER]);
  assert.deepEqual([nobody.code, nobody.stdout], [2, ""]);
  assert.match(nobody.stderr, /--user.*--all/);
  const elsewhere = await house.command(["verify", "--cluster", "c-none", "--user", "u-x"]);
  assert.deepEqual([elsewhere.code, elsewhere.stdout], [2, ""]);
  assert.match(elsewhere.stderr, /c-none/);
});

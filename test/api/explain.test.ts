// `explain` as a person runs it: where each name of an impersonator comes from, or why its user has none, as the running installation knows it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { StatusRow } from "../../shared/ledger/status.ts";
import { loggedIn, settledAfter } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { dumpOf, lastingIn } from "../support/hunt.ts";
import { callsSince } from "../support/impersonator.ts";
import { deleteCrtb, putAttribute, putCrtb, putUser } from "../support/rancher-objects.ts";
import { told } from "../support/scenes.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 90_000 };
const [TEAM, OTHER_TEAM] = ["github_team://1", "github_team://2"];
const REFRESHED = "2026-01-15T12:00:00.000Z";
let house: House;
before(async () => (house = await House.open({ clusters: [CLUSTER], workers: 1 })));
after(() => house?.[Symbol.asyncDispose]());

interface Origin {
  readonly by: string;
  readonly [field: string]: string | null;
}
interface Explanation {
  readonly state: StatusRow["state"] | "unknown";
  readonly reason: string;
  readonly wanted: boolean;
  readonly why: readonly string[];
  readonly login: { readonly at: string | null; readonly ends: string } | null;
  readonly names: readonly { readonly resource: string; readonly name: string; readonly from: readonly Origin[]; readonly applied: boolean }[];
  readonly refused: readonly string[];
  readonly differs: { readonly added: readonly string[]; readonly removed: readonly string[] };
  readonly removedAt: string | null;
  readonly next: { readonly at: string | null; readonly why: string };
}
async function explain(user: string, cluster = CLUSTER, settings: Readonly<Record<string, string>> = {}): Promise<Explanation> {
  const { code, stdout, stderr } = await house.command(["explain", "--cluster", cluster, "--user", user, "--output", "json"], settings);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as Explanation;
}
const fromOf = ({ names }: Explanation, resource: string, name: string): readonly Origin[] | undefined =>
  names.find((one) => one.resource === resource && one.name === name)?.from;
const bindingOf = (user: string) => `clusterroletemplatebindings:${CLUSTER}/${user}`;
async function bind(user: string, fields: Parameters<typeof putUser>[2] = {}): Promise<void> {
  await putUser(house.management!, user, fields);
  await putCrtb(house.management!, CLUSTER, user, { userName: user });
}

test("each name says who gave it: the binding, each provider with the time of its word, the two built in; what no role may hold is named with its reason", async () => {
  const user = "u-ada";
  await putAttribute(house.management!, user, {
    groups: { github: [TEAM, "no-principal"] },
    extras: { github: { username: ["ada"] } },
    lastRefresh: REFRESHED,
  });
  await bind(user);
  await loggedIn(house, user, CLUSTER, { provider: "saml", groups: ["saml_group://1"] });
  const explained = await explain(user);
  assert.deepEqual([explained.state, explained.wanted, explained.why, explained.differs], ["ready", true, [], { added: [], removed: [] }]);
  const login = { by: "login", at: explained.login!.at, until: explained.login!.ends };
  assert.deepEqual(fromOf(explained, "users", user), [{ by: "binding", id: bindingOf(user) }, login]);
  const [team] = fromOf(explained, "groups", TEAM)!;
  assert.deepEqual([team!.by, team!["provider"]], ["provider", "github"]);
  assert.ok(Date.parse(String(team!["at"])) >= Date.parse(REFRESHED));
  assert.equal(fromOf(explained, "groups", "saml_group://1")![0]!["provider"], "saml");
  assert.deepEqual(fromOf(explained, "groups", "system:cattle:authenticated"), [{ by: "built-in" }]);
  assert.equal(fromOf(explained, "userextras/username", "ada")![0]!["provider"], "github");
  assert.match(explained.refused.join(), /groups "no-principal" is not a principal/);
  assert.ok(explained.names.every(({ applied }) => applied));
});

test("while no provider has spoken the extras are the User object's", async () => {
  await bind("u-ben", { displayName: "Ben" });
  await house.waitFor(CLUSTER, "u-ben", "ready", DEADLINE);
  const explained = await explain("u-ben");
  assert.deepEqual(fromOf(explained, "userextras/username", "Ben"), [{ by: "user" }]);
  assert.deepEqual([explained.login, explained.next], [null, { at: null, why: "at the next change or resync" }]);
});

test("whoever is entitled by a group is known from the first login on, with the group's binding and the end of the login grant", async () => {
  const user = "u-cleo";
  await putUser(house.management!, user);
  await putCrtb(house.management!, CLUSTER, "team", { groupPrincipalName: TEAM });
  const earlier = await explain(user);
  assert.deepEqual([earlier.state, earlier.wanted], ["unknown", false]);
  assert.match(earlier.why[0]!, /no binding of its own.*counts from a login on/);
  await loggedIn(house, user, CLUSTER, { groups: [TEAM] });
  const explained = await explain(user);
  const { at, ends } = explained.login!;
  const binding = { by: "binding", id: `clusterroletemplatebindings:${CLUSTER}/team`, group: TEAM };
  assert.deepEqual(fromOf(explained, "users", user), [{ by: "login", at, until: ends }, binding]);
  assert.deepEqual(explained.next, { at: ends, why: "a login grant, or what the role remembers, ends then" });
});

test("who has none is told why: disabled, unknown, refused, removed since when, and a cluster that is not configured", async () => {
  const { management } = house;
  await bind("u-disabled", { enabled: false });
  await putCrtb(management!, CLUSTER, "u-nobody", { userName: "u-nobody" });
  await bind("u-gone");
  await putCrtb(management!, CLUSTER, "reserved", { userName: "system:admin" });
  await management!.call("POST", "/api/v1/namespaces", { metadata: { name: "c-none" } });
  await putCrtb(management!, "c-none", "u-gone", { userName: "u-gone" });
  for (const [user, why] of [
    ["u-disabled", "user disabled"],
    ["u-nobody", "user unknown"],
  ] as const) {
    await house.waitFor(CLUSTER, user, "waiting", DEADLINE);
    const { state, wanted, why: said, names } = await explain(user);
    assert.deepEqual([state, wanted, said, names], ["waiting", false, [why], []]);
  }
  await house.waitFor(CLUSTER, "system:admin", "failed", DEADLINE);
  const refused = await explain("system:admin");
  assert.deepEqual([refused.state, refused.wanted], ["failed", false]);
  assert.match(refused.why.join(), /has the reserved prefix system:/);
  assert.ok(Date.parse(refused.next.at!) > Date.now(), "it says when it is looked at again");
  await house.waitFor("c-none", "u-gone", "waiting", DEADLINE);
  const elsewhere = await explain("u-gone", "c-none");
  assert.deepEqual([elsewhere.wanted, elsewhere.why, elsewhere.next.why], [true, ["cluster not configured"], "when its cluster is configured"]);
  await house.waitFor(CLUSTER, "u-gone", "ready", DEADLINE);
  await settledAfter(house, { clusters: [CLUSTER], user: "u-gone", state: "removed" }, () => deleteCrtb(management!, CLUSTER, "u-gone"));
  const gone = await explain("u-gone");
  assert.deepEqual([gone.state, gone.wanted, gone.why], ["removed", false, ["no grant"]]);
  assert.ok(Date.parse(gone.removedAt!) > 0);
});

test("what is wanted and not yet applied is told apart, while the worker stands still", async () => {
  const user = "u-fay";
  await bind(user);
  await loggedIn(house, user, CLUSTER, { groups: [TEAM] });
  const [worker] = house.workers;
  worker!.child.kill("SIGSTOP");
  try {
    await told(house, CLUSTER, user, () => house.hook("POST", "/v1/logins", { user, cluster: CLUSTER, provider: "github", groups: [OTHER_TEAM] }));
    const { state, differs, names } = await explain(user);
    assert.equal(state, "pending");
    assert.deepEqual(differs, { added: [`groups ${OTHER_TEAM}`], removed: [`groups ${TEAM}`] });
    const pending = names.filter(({ applied }) => !applied).map(({ name }) => name);
    assert.deepEqual(pending, [OTHER_TEAM]);
    const { stdout } = await house.command(["explain", "--cluster", CLUSTER, "--user", user]);
    assert.match(stdout, /still applied: groups github_team:\/\/1\n/);
    assert.match(stdout, /groups +github_team:\/\/2 +not yet +provider github at \d{4}-/);
  } finally {
    worker!.child.kill("SIGCONT");
  }
  await house.waitFor(CLUSTER, user, "ready", DEADLINE);
});

test("explain reads two records: it writes nothing to Redis and calls no cluster; ids that can name nobody are a wrong use: 2", async () => {
  await Promise.all(house.processes.map((process) => process.stop()));
  const first = await dumpOf(house.redis);
  const lasting = await lastingIn(house.redis, first.keys());
  await explain("u-ada");
  await explain("u-stranger");
  // A key of a stopped process, BullMQ's or ours, may expire meanwhile.
  const second = await dumpOf(house.redis);
  for (const [key, value] of second) assert.equal(value, first.get(key), key);
  assert.ok(lasting.length > 0 && lasting.every((key) => second.has(key)));
  const { calls } = await callsSince(house.cluster(CLUSTER), 0);
  assert.deepEqual(
    calls.filter(({ agent }) => agent.includes("explain")),
    [],
  );
  const wrong = await house.command(["explain", "--cluster", "C ONE", "--user", "u-ada"]);
  assert.deepEqual([wrong.code, wrong.stdout], [2, ""]);
  assert.equal((await house.command(["explain", "--cluster", CLUSTER])).code, 2);
});

test("after a lost Redis the names that only the role knows say so, and until when", async () => {
  const second = { UNDERSTUDY_REDIS_PREFIX: "second" };
  await Promise.all([house.start("producer", second), house.start("worker", second)]);
  await house.waitFor(CLUSTER, "u-cleo", "ready", DEADLINE);
  const explained = await explain("u-cleo", CLUSTER, second);
  assert.deepEqual(fromOf(explained, "groups", TEAM), [{ by: "role", until: explained.login!.ends }]);
  assert.equal(explained.login!.at, null, "nobody knows when the login was");
});

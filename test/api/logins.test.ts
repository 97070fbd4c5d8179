// Logins and providers, from the hook to a request with the impersonator's own token: what a person may be follows what was last said, and nothing is written twice.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { callsDuring, median, metricOf, openQuiet, settledAfter } from "../support/evidence.ts";
import type { House } from "../support/house.ts";
import { actAs, assertActsAsExactly, objectsOf, tokenOf, type Who, writesOf } from "../support/impersonator.ts";
import { putAttribute, putCrtb, putPrtb, putUser } from "../support/rancher-objects.ts";
import { waitUntil } from "../support/wait-until.ts";

const BOTH = ["c-one", "c-two"] as const;
const RBAC = "/apis/rbac.authorization.k8s.io/v1";
type Login = NonNullable<Parameters<House["login"]>[2]>;
let house: House;
before(async () => (house = await openQuiet()));
after(() => house[Symbol.asyncDispose]());

const asUserObject = (user: string): Who => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });

/** A user with a CRTB on each of these clusters, ready there as the User object says. */
async function boundUser(user: string, ...clusters: string[]): Promise<void> {
  await putUser(house.management!, user);
  for (const cluster of clusters) await putCrtb(house.management!, cluster, user, { userName: user });
  for (const cluster of clusters) await house.waitFor(cluster, user, "ready", { deadlineMs: 60_000 });
}
/** A login whose facts are settled on these clusters. */
const logIn = (user: string, clusters: readonly string[], login: Login) => settledAfter(house, { clusters, user }, () => house.login(user, clusters[0], login));

/** Many logins, one after the other; every one is answered ready, without a look at any cluster. */
async function logInOften(user: string, cluster: string, logins: readonly Login[]): Promise<Set<unknown>> {
  const verified = new Set<unknown>();
  for (const login of logins) {
    const { status, body } = await house.hook("POST", "/v1/logins", { user, cluster, provider: "github", ...login });
    assert.deepEqual([status, body["state"]], [200, "ready"]);
    verified.add(body["verifiedAt"]);
  }
  return verified;
}
/** A later login of somebody else on c-two has been worked on, so whatever was put in the queue of logins before it was taken too. */
async function passLoginMarker(user: string, group: string): Promise<void> {
  await settledAfter(house, { clusters: ["c-two"], user }, () => house.login(user, "c-two", { groups: [group] }));
}
const loginPasses = (): Promise<number> => metricOf(house.workers, "understudy_passes_total", { queue: "login" });
/** How many there have been, when it is so many at least: a worker counts after it has settled. */
const countedPasses = (least: number): Promise<number> =>
  waitUntil(`${least} passes are counted`, async () => ((now) => now >= least && now)(await loginPasses()));

test("M5 a login gives the role its extras and groups, and takes away what the User object stood in for", async (t) => {
  await boundUser("u-m5", "c-one");
  const server = house.cluster("c-one");
  await assertActsAsExactly(server, asUserObject("u-m5"));
  const token = await tokenOf(server, "u-m5");
  const login = { groups: ["github_org://a", "github_team://b"], extras: { principalid: ["github_user://5"], username: ["octo"] } };
  const calls = await callsDuring(server, async () => {
    const first = await house.login("u-m5", "c-one", login);
    assert.ok(first.status === 200 || first.status === 202, JSON.stringify(first));
    await house.waitFor("c-one", "u-m5", "ready", { generation: 2 });
  });
  assert.deepEqual(
    writesOf(calls).map(({ verb, name }) => `${verb} ${name}`),
    ["update cattle-impersonation-u-m5"],
    "one write for a change",
  );
  t.diagnostic(`calls of a change: ${calls.map(({ verb, uri }) => `${verb} ${uri.split("/").at(-2)}/${uri.split("/").at(-1)}`).join(", ")}`);
  const second = await house.login("u-m5", "c-one", login);
  assert.equal(second.status, 200);
  assert.equal(second.body["state"], "ready");
  assert.ok(Date.parse(String(second.body["verifiedAt"])) <= Date.now());
  assert.equal((await actAs(server, token, { user: "u-m5", extras: { principalid: ["local://u-m5"] } })).status, 403, "the stand-in is gone");
  assert.equal(await tokenOf(server, "u-m5"), token);
  await assertActsAsExactly(server, { user: "u-m5", ...login });
});

test("M5 an empty list takes the groups away, and a list that is left out keeps them", async () => {
  await boundUser("u-m5-keys", "c-one");
  const server = house.cluster("c-one");
  await logIn("u-m5-keys", ["c-one"], { groups: ["github_org://kept"], extras: { username: ["keys"] } });
  await logIn("u-m5-keys", ["c-one"], { extras: { username: ["renamed"] } });
  await assertActsAsExactly(server, { user: "u-m5-keys", groups: ["github_org://kept"], extras: { username: ["renamed"] } });
  const token = await tokenOf(server, "u-m5-keys");
  await logIn("u-m5-keys", ["c-one"], { groups: [] });
  assert.equal((await actAs(server, token, { user: "u-m5-keys", groups: ["github_org://kept"] })).status, 403);
  assert.equal((await actAs(server, token, { user: "u-m5-keys", extras: { username: ["keys"] } })).status, 403);
  await assertActsAsExactly(server, { user: "u-m5-keys", extras: { username: ["renamed"] } });
});

test("M6 a group that the provider adds or takes away follows in every cluster of the user, and a removed one is refused at once", async () => {
  const extras = { principalid: ["github_user://6"], username: ["six"] };
  await boundUser("u-m6", "c-one");
  await settledAfter(house, { clusters: ["c-two"], user: "u-m6" }, () => putPrtb(house.management!, "c-two", "p-m6", "m6", { userName: "u-m6" }));
  const say = (groups: string[]) =>
    settledAfter(house, { clusters: BOTH, user: "u-m6" }, () =>
      putAttribute(house.management!, "u-m6", { groups: { github: groups }, extras: { github: extras } }),
    );
  await say(["github_org://stays", "github_org://goes"]);
  for (const id of BOTH) await assertActsAsExactly(house.cluster(id), { user: "u-m6", groups: ["github_org://stays", "github_org://goes"], extras });
  const tokens = await Promise.all(BOTH.map((id) => tokenOf(house.cluster(id), "u-m6")));
  await say(["github_org://stays"]);
  const refused = await Promise.all(BOTH.map((id, i) => actAs(house.cluster(id), tokens[i]!, { user: "u-m6", groups: ["github_org://goes"] })));
  assert.deepEqual(
    refused.map(({ status }) => status),
    [403, 403],
    "the first request after `ready` is refused",
  );
  await say(["github_org://stays", "github_org://new"]);
  for (const id of BOTH) await assertActsAsExactly(house.cluster(id), { user: "u-m6", groups: ["github_org://stays", "github_org://new"], extras });
});

test("M6 a login reaches every cluster of the user, not only the one that it names", async () => {
  await boundUser("u-m6-login", ...BOTH);
  const login = { groups: ["github_org://m6"], extras: { principalid: ["github_user://66"], username: ["sixty"] } };
  await settledAfter(house, { clusters: BOTH, user: "u-m6-login" }, () => house.login("u-m6-login", "c-one", login));
  for (const id of BOTH) await assertActsAsExactly(house.cluster(id), { user: "u-m6-login", ...login });
});

test("M7 several providers give the union, in one order whoever spoke first, and a provider that is dropped takes only its own along", async () => {
  const said: Record<string, Login> = {
    openldap: {
      provider: "openldap",
      groups: ["openldap_group://cn=z,dc=x", "shared://g"],
      extras: { principalid: ["openldap_user://cn=u"], username: ["Ü7"] },
    },
    github: { provider: "github", groups: ["shared://g", "github_org://a"], extras: { principalid: ["github_user://7"], username: ["seven"] } },
  };
  const union = {
    groups: ["github_org://a", "openldap_group://cn=z,dc=x", "shared://g"],
    extras: { principalid: ["github_user://7", "openldap_user://cn=u"], username: ["seven", "Ü7"] },
  };
  const roles = [];
  for (const order of [
    ["openldap", "github"],
    ["github", "openldap"],
  ]) {
    const user = `u-m7-${order[0]}`;
    await boundUser(user, "c-one");
    for (const provider of order) await logIn(user, ["c-one"], said[provider]!);
    await assertActsAsExactly(house.cluster("c-one"), { user, ...union });
    roles.push((await objectsOf(house.cluster("c-one"), user)).role.rules.slice(1));
  }
  assert.deepEqual(roles[0], roles[1]);
  // What Rancher's UserAttribute says of the same providers changes nothing, whatever order its lists have.
  const calls = await callsDuring(house.cluster("c-one"), async () => {
    await putAttribute(house.management!, "u-m7-github", {
      groups: { github: ["github_org://a", "shared://g"], openldap: ["shared://g", "openldap_group://cn=z,dc=x"] },
      extras: { github: said["github"]!.extras!, openldap: said["openldap"]!.extras! },
    });
    await boundUser("u-m7-marker", "c-two");
    await settledAfter(house, { clusters: ["c-two"], user: "u-m7-marker" }, () =>
      putAttribute(house.management!, "u-m7-marker", { groups: { github: ["github_org://m"] } }),
    );
  });
  assert.deepEqual(calls, []);
  await assertActsAsExactly(house.cluster("c-one"), { user: "u-m7-github", ...union });
  await settledAfter(house, { clusters: ["c-one"], user: "u-m7-github" }, () => house.hook("DELETE", "/v1/logins/u-m7-github/openldap"));
  const { groups, extras } = said["github"]!;
  await assertActsAsExactly(house.cluster("c-one"), { user: "u-m7-github", groups: groups!, extras: extras! });
});

test("M8 two providers whose logins differ do not flap: a hundred logins in turn write nothing", async () => {
  await boundUser("u-m8", ...BOTH);
  await boundUser("u-m8-marker", "c-two");
  const said: Login[] = [
    { provider: "github", groups: ["github_org://8"], extras: { principalid: ["github_user://8"], username: ["eight"] } },
    { provider: "local", groups: [], extras: { principalid: ["local://u-m8"], username: ["admin"] } },
  ];
  const earlier = await loginPasses();
  for (const login of said) await logIn("u-m8", BOTH, login);
  const passes = await countedPasses(earlier + said.length * BOTH.length);
  const row = await house.row("c-one", "u-m8");
  const calls = await callsDuring(house.cluster("c-one"), async () => {
    await logInOften(
      "u-m8",
      "c-one",
      Array.from({ length: 100 }, (_, i) => said[i % 2]!),
    );
    await passLoginMarker("u-m8-marker", "github_org://m8");
  });
  assert.deepEqual(calls, []);
  assert.equal(await countedPasses(passes + 1), passes + 1, "the marker's own job and no other");
  assert.deepEqual({ ...(await house.row("c-one", "u-m8")), loginEnds: row!.loginEnds }, row);
  for (const id of BOTH)
    await assertActsAsExactly(house.cluster(id), {
      user: "u-m8",
      groups: ["github_org://8"],
      extras: { principalid: ["github_user://8", "local://u-m8"], username: ["admin", "eight"] },
    });
});

test("M8 one provider whose logins sometimes leave extras or groups out does not flap", async () => {
  await boundUser("u-m8-part", "c-one");
  await boundUser("u-m8-part-marker", "c-two");
  const groups = ["github_org://8"];
  const extras = { principalid: ["github_user://88"], username: ["part"] };
  await logIn("u-m8-part", ["c-one"], { groups, extras });
  const parts: Login[] = [
    { groups, extras },
    { groups },
    { extras },
    {},
    { groups, extras: { username: ["part"] } },
    { extras: { principalid: extras.principalid } },
  ];
  const calls = await callsDuring(house.cluster("c-one"), async () => {
    await logInOften(
      "u-m8-part",
      "c-one",
      Array.from({ length: 100 }, (_, i) => parts[i % parts.length]!),
    );
    await passLoginMarker("u-m8-part-marker", "github_org://m8");
  });
  assert.deepEqual(calls, []);
  await assertActsAsExactly(house.cluster("c-one"), { user: "u-m8-part", groups, extras });
});

test("M9 a login that says nothing new costs no call and no job, and is answered ready each time", async (t) => {
  await boundUser("u-m9", "c-one");
  await boundUser("u-m9-marker", "c-two");
  const login = { groups: ["github_org://9"], extras: { principalid: ["github_user://9"], username: ["nine"] } };
  const earlier = await loginPasses();
  await logIn("u-m9", ["c-one"], login);
  const passes = await countedPasses(earlier + 1);
  const times: number[] = [];
  const calls = await callsDuring(house.cluster("c-one"), async () => {
    for (let i = 0; i < 100; i++) {
      const began = performance.now();
      assert.equal((await logInOften("u-m9", "c-one", [login])).size, 1);
      times.push(performance.now() - began);
    }
    await passLoginMarker("u-m9-marker", "github_org://m9");
  });
  assert.deepEqual(calls, []);
  assert.equal(await countedPasses(passes + 1), passes + 1, "the marker's own job and no other");
  t.diagnostic(`unchanged login: median ${median(times).toFixed(1)} ms, ${calls.length} calls, 0 jobs`);
  await assertActsAsExactly(house.cluster("c-one"), { user: "u-m9", ...login });
});

test("M9 sources that are written without a change of what they say cost no call", async () => {
  const { management } = house;
  const say = (user: string, group: string) => putAttribute(management!, user, { groups: { github: [group] }, extras: { github: { username: [user] } } });
  for (const [user, cluster] of [
    ["u-m9-still", "c-one"],
    ["u-m9-loud", "c-two"],
  ] as const) {
    await boundUser(user, cluster);
    await settledAfter(house, { clusters: [cluster], user }, () => say(user, "github_org://still"));
  }
  const row = await house.row("c-one", "u-m9-still");
  const label = { metadata: { labels: { touched: "yes" } } };
  const touch = async (path: string): Promise<void> =>
    assert.equal((await management!.call("PATCH", `/apis/management.cattle.io/v3/${path}`, label)).status, 200);
  const calls = await callsDuring(house.cluster("c-one"), async () => {
    await say("u-m9-still", "github_org://still");
    await touch("userattributes/u-m9-still");
    await touch("users/u-m9-still");
    await touch("namespaces/c-one/clusterroletemplatebindings/u-m9-still");
    // Each of the three streams has come past these.
    await settledAfter(house, { clusters: ["c-two"], user: "u-m9-loud" }, () => say("u-m9-loud", "github_org://other"));
    await settledAfter(house, { clusters: ["c-two"], user: "u-m9-loud", state: "waiting" }, () => putUser(management!, "u-m9-loud", { enabled: false }));
    await boundUser("u-m9-last", "c-two");
  });
  assert.deepEqual(calls, []);
  assert.deepEqual(await house.row("c-one", "u-m9-still"), row);
  await assertActsAsExactly(house.cluster("c-one"), { user: "u-m9-still", groups: ["github_org://still"], extras: { username: ["u-m9-still"] } });
});

test("M12 the real request: what RBAC gives the person and the person's group is there through token and headers, and nothing is without them", async () => {
  const server = house.cluster("c-one");
  const subject = (kind: "User" | "Group", name: string) => [{ apiGroup: "rbac.authorization.k8s.io", kind, name }];
  const roleRef = (kind: string) => ({ apiGroup: "rbac.authorization.k8s.io", kind, name: "m12" });
  const make = async (path: string, object: object): Promise<void> =>
    assert.equal((await server.call("POST", path, { metadata: { name: "m12" }, ...object })).status, 201, path);
  await make(`${RBAC}/clusterroles`, { rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["list"] }] });
  await make(`${RBAC}/clusterrolebindings`, { roleRef: roleRef("ClusterRole"), subjects: subject("User", "u-m12") });
  await make(`${RBAC}/namespaces/default/roles`, { rules: [{ apiGroups: [""], resources: ["configmaps"], verbs: ["get", "list", "create"] }] });
  await make(`${RBAC}/namespaces/default/rolebindings`, { roleRef: roleRef("Role"), subjects: subject("Group", "github_org://m12") });
  const review = { spec: { groups: ["github_org://m12"], resourceAttributes: { namespace: "default", resource: "configmaps", verb: "list" } } };
  await waitUntil(
    "RBAC gives it to the group",
    async () => (await server.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)).body.status.allowed,
  );
  await boundUser("u-m12", "c-one");
  await boundUser("u-m12-other", "c-one");
  await logIn("u-m12", ["c-one"], { groups: ["github_org://m12"], extras: { username: ["twelve"] } });
  const [token, other] = await Promise.all(["u-m12", "u-m12-other"].map((user) => tokenOf(server, user)));
  const as = async (bearer: string, path: string, headers: Record<string, string> = {}, body?: object): Promise<number> =>
    (await server.call(body ? "POST" : "GET", path, body, { authorization: `Bearer ${bearer}`, ...headers })).status;
  const person = { "impersonate-user": "u-m12", "impersonate-extra-username": "twelve" };
  const member = { ...person, "impersonate-group": "github_org://m12" };
  const [pods, maps] = ["/api/v1/pods", "/api/v1/namespaces/default/configmaps"];
  assert.equal(await as(token!, pods, person), 200, "what the person may");
  assert.equal(await as(token!, maps, member), 200, "what the group may");
  assert.equal(await as(token!, maps, member, { metadata: { name: "made-by-m12" } }), 201);
  assert.equal(await as(token!, maps, person), 403, "the group's right without the group");
  assert.equal(await as(token!, "/api/v1/secrets", member), 403, "what neither may");
  for (const path of [pods, maps]) assert.equal(await as(token!, path), 403, "the account itself");
  assert.equal(await as(other!, pods, person), 403, "somebody else's impersonator");
  assert.equal(await as(other!, maps, { "impersonate-user": "u-m12-other", "impersonate-group": "github_org://m12" }), 403, "a group that is not one's own");
  assert.equal(await as(other!, maps, { "impersonate-user": "u-m12-other" }), 403);
});

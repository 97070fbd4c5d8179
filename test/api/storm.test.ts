// Many at once: fifty users removed and re-added, and one user woken a hundred times over three queues by three worker processes.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertOneAtATime, auditEnd, callsOf, writesIn } from "../support/audit.ts";
import { controllersCaughtUp } from "../support/controllers.ts";
import { House } from "../support/house.ts";
import { actAs, assertActsAsExactly, assertGone, objectsOf, tokenOf } from "../support/impersonator.ts";
import { deleteCrtb, putAttribute, putCrtb, putUser } from "../support/rancher-objects.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 90_000 };
let house: House;
before(async () => (house = await House.open({ clusters: [CLUSTER], settings: { UNDERSTUDY_CONCURRENCY: "16" } })));
after(() => house?.[Symbol.asyncDispose]());

const server = () => house.cluster(CLUSTER);
const management = () => house.management!;
const each = <T, R>(items: readonly T[], act: (item: T, at: number) => Promise<R>): Promise<R[]> => Promise.all(items.map(act));
const people = (name: string, count = 50): string[] => Array.from({ length: count }, (_, i) => `u-${name}-${i}`);
const bind = (user: string) => putCrtb(management(), CLUSTER, `crtb-${user}`, { userName: user });
const unbind = (user: string) => deleteCrtb(management(), CLUSTER, `crtb-${user}`);
const owner = (user: string) => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });

/** Made, bound and ready; returns each user's generation and token. */
async function readyPeople(users: readonly string[]): Promise<{ generations: number[]; tokens: string[] }> {
  await each(users, async (user) => {
    await putUser(management(), user);
    await bind(user);
  });
  const rows = await each(users, (user) => house.waitFor(CLUSTER, user, "ready", DEADLINE));
  return { generations: rows.map(({ generation }) => generation), tokens: await each(users, (user) => tokenOf(server(), user)) };
}

/** The users whose role stands. */
async function rolesThere(): Promise<Set<string>> {
  const { body } = await server().call(
    "GET",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles?labelSelector=authz.cluster.cattle.io/impersonator=true",
    undefined,
    {
      accept: "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    },
  );
  return new Set((body.items as { metadata: { annotations: Record<string, string> } }[]).map(({ metadata }) => metadata.annotations["understudy.io/user"]!));
}

/** Each user's binding goes, and comes back in the moment in which the role is seen to be gone. */
async function readdedOnceGone(users: readonly string[]): Promise<void> {
  await each(users, unbind);
  const left = new Set(users);
  await waitUntil(
    "every role has gone",
    async () => {
      const there = await rolesThere();
      const gone = [...left].filter((user) => !there.has(user));
      for (const user of gone) left.delete(user);
      await each(gone, bind);
      return left.size === 0;
    },
    { ...DEADLINE, everyMs: 5 },
  );
}

/** Nothing is left to be deleted: then each acts as exactly itself, with one Secret. */
async function assertAllUsable(users: readonly string[], groups: readonly string[] = []): Promise<void> {
  await controllersCaughtUp(server());
  for (const user of users) {
    await assertActsAsExactly(server(), { ...owner(user), groups });
    assert.equal((await objectsOf(server(), user)).secrets.length, 1, `${user} has one Secret`);
  }
}

test("M11 50 users whose bindings go and come back in one breath end usable", async () => {
  const users = people("breath");
  const { generations } = await readyPeople(users);
  await each(users, async (user) => {
    await unbind(user);
    await bind(user);
  });
  await each(users, (user, i) => house.waitFor(CLUSTER, user, "ready", { ...DEADLINE, generation: generations[i]! + 2 }));
  await assertAllUsable(users);
});

test("M11 50 users re-added while they are being removed end usable, with new tokens, and gone when it is for good", async () => {
  const users = people("again");
  const { generations, tokens } = await readyPeople(users);
  await readdedOnceGone(users);
  await each(users, (user, i) => house.waitFor(CLUSTER, user, "ready", { ...DEADLINE, generation: generations[i]! + 2 }));
  await assertAllUsable(users);
  const dead = async (user: string, token: string) =>
    waitUntil(`the old token of ${user} is dead`, async () => (await actAs(server(), token, owner(user))).status === 401, DEADLINE);
  await each(users, (user, i) => dead(user, tokens[i]!));
  const last = await each(users, (user) => tokenOf(server(), user));
  await each(users, unbind);
  await each(users, (user) => house.waitFor(CLUSTER, user, "removed", DEADLINE));
  await each(users, (user) => assertGone(server(), user));
  await each(users, (user, i) => dead(user, last[i]!));
});

test("M11 50 users removed and re-added while the controller-manager is paused end usable once it goes on", async () => {
  const users = people("paused");
  const { generations } = await readyPeople(users);
  server().pauseControllerManager();
  try {
    await readdedOnceGone(users);
    await each(users, (user) =>
      waitUntil(
        `${user} waits for its token`,
        async () => {
          const row = await house.row(CLUSTER, user);
          return row?.state === "pending" && row.reason.includes("token controller");
        },
        DEADLINE,
      ),
    );
  } finally {
    server().resumeControllerManager();
  }
  await each(users, (user, i) => house.waitFor(CLUSTER, user, "ready", { ...DEADLINE, generation: generations[i]! + 2 }));
  await assertAllUsable(users);
});

test("M11 50 users whose ClusterRoles an administrator deletes while they log in with a new group end usable", async () => {
  const users = people("deleted");
  await readyPeople(users);
  const extras = (user: string) => ({ principalid: [`local://${user}`], username: [user] });
  await each(users, async (user) => {
    await server().call("DELETE", `/apis/rbac.authorization.k8s.io/v1/clusterroles/cattle-impersonation-${user}`);
    const login = { user, cluster: CLUSTER, provider: "github", groups: ["github_team://1"], extras: extras(user) };
    await waitUntil(`the login of ${user} is stored`, async () => (await house.hook("POST", "/v1/logins", login)).status < 300, DEADLINE);
  });
  await each(users, (user) => house.waitFor(CLUSTER, user, "ready", DEADLINE));
  await assertAllUsable(users, ["github_team://1"]);
});

const extras = { principalid: ["github_user://1"], username: ["storm"] };
const logIn = (user: string, group: string) => house.hook("POST", "/v1/logins", { user, cluster: CLUSTER, provider: "github", groups: [group], extras });

/** 120 wake-ups, well mixed, eight at once: binding queue, login queue, deletion queue. */
async function storm(user: string): Promise<void> {
  const times = (count: number, act: (i: number) => Promise<unknown>) => Array.from({ length: count }, (_, i) => () => act(i));
  const wakeUps = [
    ...times(30, async (i) => {
      await putCrtb(management(), CLUSTER, `storm-${i}`, { userName: user });
      await deleteCrtb(management(), CLUSTER, `storm-${i}`);
    }),
    ...times(30, (i) => logIn(user, `github_team://${i}`)),
    ...times(16, (i) => putAttribute(management(), user, { groups: { keycloak: [`keycloak_group://${i}`] } })),
    ...times(8, () => house.hook("DELETE", `/v1/logins/${user}?cluster=${CLUSTER}`)),
    ...times(6, async () => assert.equal((await house.command(["enqueue", "--cluster", CLUSTER, "--user", user])).code, 0)),
  ];
  const queue = wakeUps
    .map((act, i) => ({ act, order: (i * 37) % wakeUps.length }))
    .toSorted((a, b) => a.order - b.order)
    .values();
  await each(Array.from({ length: 8 }), async () => {
    for (const { act } of queue) await act();
  });
  await putAttribute(management(), user, { groups: { keycloak: ["keycloak_group://last"] } });
  await waitUntil("the last login is stored", async () => (await logIn(user, "github_team://last")).status < 300, DEADLINE);
  await waitUntil(
    "the last group is in the role",
    async () => JSON.stringify((await objectsOf(server(), user)).role?.rules ?? []).includes("keycloak_group://last"),
    DEADLINE,
  );
}

/** Logs each in again and again, one login of each at a time, until told to end. */
function keepBusy(users: readonly string[]): { end(): Promise<unknown> } {
  const end = new AbortController();
  const loops = each(users, async (user) => {
    for (let i = 0; !end.signal.aborted; i++) await house.login(user, CLUSTER, { groups: [`github_team://${i % 2}`] });
  });
  return {
    end() {
      end.abort();
      return loops;
    },
  };
}

test("M14 100 wake-ups of one user over three queues and three workers: one worker at a time, and one Secret ever", async (t) => {
  const user = "u-storm";
  const others = people("other", 12);
  await each([user, ...others], (name) => putUser(management(), name));
  const since = await auditEnd(server());
  await each(others, bind);
  const busy = keepBusy(others);
  // One binding stays, so that the user is never removed. The storm begins while the impersonator is being made.
  await bind(user);
  await waitUntil("the user is known to the ledger", () => house.row(CLUSTER, user), { ...DEADLINE, everyMs: 5 });
  await storm(user);
  await busy.end();
  const { generation } = await house.waitFor(CLUSTER, user, "ready", DEADLINE);
  await assertActsAsExactly(server(), { user, groups: ["github_team://last", "keycloak_group://last"], extras });

  assert.ok(generation >= 100, `only ${generation} wake-ups brought something new`);
  const calls = await callsOf(server(), [user, ...others], since);
  const own = calls.get(user)!;
  const agents = new Set(own.map(({ agent }) => agent));
  const inFlight = others.filter((other) => calls.get(other)!.some(({ from }) => from > own[0]!.from && from < own.at(-1)!.from));
  t.diagnostic(`generation ${generation}, ${own.length} calls by ${agents.size} workers, ${inFlight.length} others in flight, ${writesIn(own).length} writes`);
  assert.ok(inFlight.length >= 8, `${inFlight.length} other subjects in flight`);
  assert.ok(agents.size > 1, "more than one worker took part");
  assert.equal(new Set([...calls.values()].flat().map(({ agent }) => agent)).size, 3, "three workers were at work");
  for (const list of calls.values()) assertOneAtATime(list);
  const created = ["create clusterroles", "create serviceaccounts", "create secrets", "create clusterrolebindings"];
  assert.deepEqual(
    writesIn(own).filter((write) => write !== "update clusterroles"),
    created,
    "each object was made once, in its order, and never removed",
  );
});

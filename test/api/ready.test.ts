// `ready` is a promise about the very next request: with the impersonator's token and all its headers, sent once, it is never refused.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { loggedIn } from "../support/evidence.ts";
import { House } from "../support/house.ts";
import { actAs, assertActsAsExactly, NAMESPACE } from "../support/impersonator.ts";
import { putAttribute, putCrtb, putUser } from "../support/rancher-objects.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const TEAM = "github_team://everybody";
/** So many at once. */
const LANES = 8;
const DEADLINE = { deadlineMs: 60_000, everyMs: 5 };
let house: House;
before(async () => {
  house = await House.open({ clusters: [CLUSTER] });
  await putCrtb(house.management!, CLUSTER, "everybody", { groupPrincipalName: TEAM });
});
after(() => house?.[Symbol.asyncDispose]());

const server = () => house.cluster(CLUSTER);
const people = (name: string, count: number): string[] => Array.from({ length: count }, (_, i) => `u-${name}-${i}`);
async function inLanes<T>(items: readonly T[], act: (item: T, at: number) => Promise<void>): Promise<void> {
  const rest = items.entries();
  await Promise.all(
    Array.from({ length: LANES }, async () => {
      for (const [at, item] of rest) await act(item, at);
    }),
  );
}
const known = (users: readonly string[]) => inLanes(users, (user) => putUser(house.management!, user));

/** The token, as soon as the token controller has filled the Secret: before `ready`, so that fetching it gives nobody time. */
async function tokenSoon(user: string): Promise<string> {
  const path = `/api/v1/namespaces/${NAMESPACE}/secrets?labelSelector=cattle.io/service-account.name=cattle-impersonation-${user}`;
  const base64 = await waitUntil(
    `a token of ${user}`,
    async () => (await server().call("GET", path)).body.items?.[0]?.data?.token as string | undefined,
    DEADLINE,
  );
  return Buffer.from(base64, "base64").toString();
}
async function readySoon(user: string, generation: number): Promise<void> {
  const ready = async (): Promise<boolean> => {
    const row = await house.row(CLUSTER, user);
    return row?.state === "ready" && row.observedGeneration >= generation;
  };
  await waitUntil(`${user} is ready`, ready, { ...DEADLINE, everyMs: 1 });
}

type Login = NonNullable<Parameters<House["login"]>[2]>;
/** Logs in and acts in the first moment in which anybody is told `ready`: by the answer to the login, or by the subject's row. */
async function actOnceLoggedIn(user: string, login: Login, act: () => Promise<void>): Promise<void> {
  const generation = ((await house.row(CLUSTER, user))?.generation ?? 0) + 1;
  const told = [loggedIn(house, user, CLUSTER, login), readySoon(user, generation)];
  await Promise.race(told);
  await act();
  await Promise.all(told);
}

/** What the first requests were answered. */
class Firsts {
  readonly #statuses: number[] = [];
  async send(token: string, who: Parameters<typeof actAs>[2]): Promise<void> {
    const groups = ["system:authenticated", "system:cattle:authenticated", ...(who.groups ?? [])];
    this.#statuses.push((await actAs(server(), token, { ...who, groups })).status);
  }
  /** All were answered alike. */
  assertAll(count: number, status: number, t: TestContext): void {
    const other = this.#statuses.filter((got) => got !== status);
    t.diagnostic(`${other.length} of ${this.#statuses.length} first requests were not answered ${status}`);
    assert.deepEqual([this.#statuses.length, other], [count, []]);
  }
}

const asUser = (user: string) => ({ principalid: [`local://${user}`], username: [user] });
const extrasOf = (user: string) => ({ principalid: [`github_user://${user}`], username: [user] });

test("M31 the first request after a binding made its user ready is never refused: 0 of 100, eight at once", async (t) => {
  const users = people("bound", 100);
  await known(users);
  const firsts = new Firsts();
  await inLanes(users, async (user) => {
    await putCrtb(house.management!, CLUSTER, user, { userName: user });
    const [token] = await Promise.all([tokenSoon(user), readySoon(user, 1)]);
    await firsts.send(token, { user, extras: asUser(user) });
  });
  firsts.assertAll(100, 201, t);
  await assertActsAsExactly(server(), { user: users[0]!, extras: asUser(users[0]!) });
});

test("M31 the first request after a first login was answered ready is never refused: 0 of 100, eight at once", async (t) => {
  const users = people("member", 100);
  await known(users);
  const firsts = new Firsts();
  await inLanes(users, async (user) => {
    const token = tokenSoon(user);
    await actOnceLoggedIn(user, { groups: [TEAM], extras: extrasOf(user) }, async () => {
      await firsts.send(await token, { user, groups: [TEAM], extras: extrasOf(user) });
    });
  });
  firsts.assertAll(100, 201, t);
  await assertActsAsExactly(server(), { user: users[0]!, groups: [TEAM], extras: extrasOf(users[0]!) });
});

/** Logged in, with their tokens. */
async function members(name: string, count: number): Promise<{ user: string; token: string }[]> {
  const users = people(name, count);
  await known(users);
  const found: { user: string; token: string }[] = [];
  await inLanes(users, async (user, at) => {
    await loggedIn(house, user, CLUSTER, { groups: [TEAM], extras: extrasOf(user) });
    found[at] = { user, token: await tokenSoon(user) };
  });
  return found;
}

test("M31 a group that a login brought can be used at once when the login is answered ready, and one that it took away cannot: 0 of 100", async (t) => {
  const gained = new Firsts();
  const lost = new Firsts();
  await inLanes(await members("change", 25), async ({ user, token }) => {
    for (let i = 1; i <= 4; i++) {
      await actOnceLoggedIn(user, { groups: [TEAM, `github_team://${i}`] }, async () => {
        await gained.send(token, { user, groups: [TEAM, `github_team://${i}`], extras: extrasOf(user) });
        await lost.send(token, { user, groups: [`github_team://${i - 1}`] });
      });
    }
    await assertActsAsExactly(server(), { user, groups: [TEAM, "github_team://4"], extras: extrasOf(user) });
  });
  gained.assertAll(100, 201, t);
  lost.assertAll(100, 403, t);
});

test("M31 a group that a UserAttribute brought can be used at once when the subject is ready, and one that it took away cannot: 0 of 100", async (t) => {
  const gained = new Firsts();
  const lost = new Firsts();
  await inLanes(await members("attribute", 25), async ({ user, token }) => {
    for (let i = 1; i <= 4; i++) {
      const { generation } = (await house.row(CLUSTER, user))!;
      await putAttribute(house.management!, user, { groups: { keycloak: [`keycloak_group://${i}`] } });
      await readySoon(user, generation + 1);
      await gained.send(token, { user, groups: [TEAM, `keycloak_group://${i}`], extras: extrasOf(user) });
      await lost.send(token, { user, groups: [`keycloak_group://${i - 1}`] });
    }
    await assertActsAsExactly(server(), { user, groups: [TEAM, "keycloak_group://4"], extras: extrasOf(user) });
  });
  gained.assertAll(100, 201, t);
  lost.assertAll(100, 403, t);
});

test("M31 a group that a login only takes away is refused at once when the login is answered ready: 0 of 50 go on", async (t) => {
  const lost = new Firsts();
  await inLanes(await members("loss", 25), async ({ user, token }) => {
    for (const group of ["github_team://1", "github_team://2"]) {
      await loggedIn(house, user, CLUSTER, { groups: [TEAM, group] });
      await actOnceLoggedIn(user, { groups: [TEAM] }, () => lost.send(token, { user, groups: [group] }));
    }
    await assertActsAsExactly(server(), { user, groups: [TEAM], extras: extrasOf(user) });
  });
  lost.assertAll(50, 403, t);
});

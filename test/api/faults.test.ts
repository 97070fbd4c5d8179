// A write that failed is never remembered as done, whether the server did it or not: the subject ends right without a hand, and its status says so meanwhile.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { loggedIn } from "../support/evidence.ts";
import type { Verdict } from "../support/fault-proxy.ts";
import { actAs, assertActsAsExactly, assertGone, objectsOf, tokenOf } from "../support/impersonator.ts";
import { openProxiedHouse, type ProxiedHouse, writeOf } from "../support/proxied-house.ts";
import { deleteCrtb, putCrtb, putUser } from "../support/rancher-objects.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 90_000, everyMs: 10 };
let proxied: ProxiedHouse;
before(async () => (proxied = await openProxiedHouse({ clusters: [CLUSTER] })));
after(() => proxied?.[Symbol.asyncDispose]());

const house = () => proxied.house;
const server = () => house().cluster(CLUSTER);
const management = () => house().management!;
const GROUPS = ["github_team://1"];
const who = (user: string) => ({ user, groups: GROUPS, extras: { principalid: [`github_user://${user}`], username: [user] } });

/** Each call of set-up, change and removal, and what makes a ready (or new) user's worker send it. */
const bind = (user: string) => putCrtb(management(), CLUSTER, user, { userName: user });
const unbind = (user: string) => deleteCrtb(management(), CLUSTER, user);
const change = async (user: string) => void (await house().hook("POST", "/v1/logins", { user, cluster: CLUSTER, provider: "github", groups: GROUPS }));
const calls: Readonly<Record<string, { readonly act: (user: string) => Promise<unknown>; readonly end: "ready" | "removed" }>> = {
  "POST clusterroles": { act: bind, end: "ready" },
  "POST serviceaccounts": { act: bind, end: "ready" },
  "POST secrets": { act: bind, end: "ready" },
  "POST clusterrolebindings": { act: bind, end: "ready" },
  "PUT clusterroles": { act: change, end: "ready" },
  "DELETE clusterroles": { act: unbind, end: "removed" },
  "DELETE clusterrolebindings": { act: unbind, end: "removed" },
  "DELETE secrets": { act: unbind, end: "removed" },
  "DELETE serviceaccounts": { act: unbind, end: "removed" },
};

/** One fault of one user's one call; later ones pass. */
interface Trap {
  readonly call: string;
  readonly verdict: Verdict;
  sprung: boolean;
}
const traps = new Map<string, Trap>();

/** Prepares the user, springs the trap, and sees what status and cluster say until the end. */
async function meet(user: string, call: string, verdict: Verdict, reason: RegExp): Promise<void> {
  const { act, end } = calls[call]!;
  await putUser(management(), user);
  let token: string | undefined;
  if (act !== bind) {
    await bind(user);
    const { groups, extras } = who(user);
    await loggedIn(house(), user, CLUSTER, act === change ? { groups: [], extras } : { groups, extras });
    token = await tokenOf(server(), user);
  }
  const trap: Trap = { call, verdict, sprung: false };
  traps.set(`cattle-impersonation-${user}`, trap);
  await act(user);
  await waitUntil(`${call} of ${user} meets its fault`, () => trap.sprung, DEADLINE);
  const meanwhile = await waitUntil(
    `status says that ${call} of ${user} failed`,
    async () => {
      const row = await house().row(CLUSTER, user);
      return row && reason.test(row.reason) ? row : undefined;
    },
    DEADLINE,
  );
  assert.equal(meanwhile.state, "pending", `${call}: ${JSON.stringify(meanwhile)}`);
  assert.ok(meanwhile.observedGeneration < meanwhile.generation, `${call}: what failed is not observed`);
  await house().waitFor(CLUSTER, user, end, DEADLINE);
  // The first moment in which it is said to be done.
  if (end === "ready") {
    const identity = act === bind ? { user, extras: { principalid: [`local://${user}`], username: [user] } } : who(user);
    await assertActsAsExactly(server(), identity);
    assert.equal((await objectsOf(server(), user)).secrets.length, 1, `${call}: one Secret`);
    if (token !== undefined) assert.equal(await tokenOf(server(), user), token);
  } else {
    await assertGone(server(), user);
    assert.notEqual((await actAs(server(), token!, who(user))).status, 201);
  }
}

const faults: readonly { readonly what: string; readonly verdict: Verdict; readonly reason: RegExp }[] = [
  ...[500, 403, 504].flatMap((status) => [
    { what: `${status} instead of being done`, verdict: { answer: status }, reason: new RegExp(`\\b${status}\\b`) },
    { what: `${status} after it was done`, verdict: { forwardThen: status }, reason: new RegExp(`\\b${status}\\b`) },
  ]),
  { what: "no answer instead of being done", verdict: { reset: true }, reason: /no answer/ },
  { what: "no answer after it was done", verdict: { forwardThen: "reset" }, reason: /no answer/ },
];

for (const [i, { what, verdict, reason }] of faults.entries()) {
  test(`M41 a write that gets ${what} is not remembered as done: all nine kinds of write end right, and status says that they failed`, async () => {
    proxied.proxy(CLUSTER).setRule((request) => {
      const write = writeOf(request);
      const trap = write && traps.get(write.name);
      if (!trap || trap.sprung || trap.call !== write.call) return undefined;
      trap.sprung = true;
      return trap.verdict;
    });
    await Promise.all(Object.keys(calls).map((call, at) => meet(`u-fault-${i}-${at}`, call, verdict, reason)));
  });
}

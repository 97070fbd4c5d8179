// Redis loses what it holds, with its connections kept (FLUSHALL) or by a restart from an older dump. The ledger is a cache: until it is whole again nothing
// is written, nobody is removed, and everybody may still act.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Store, openStore } from "../../shared/run/redis.ts";
import type { ApiServer } from "../apiserver/start.ts";
import { metricOf } from "../support/evidence.ts";
import { type Who, actAs, assertActsAsExactly, assertGone, objectsOf, tokenOf } from "../support/impersonator.ts";
import { deleteCrtb, putAttribute, putCrtb, putGrb, putUser } from "../support/rancher-objects.ts";
import { handedBack, logIn, onlySecretOf, settledAs, told, writesBy } from "../support/scenes.ts";
import { type TrappedHouse, openTrappedHouse, processOf } from "../support/traps.ts";
import { waitUntil } from "../support/wait-until.ts";

const C = "c-one";
/** Not to be reached when everything starts. */
const AWAY = "c-two";
const IMPORT_MS = 8_000;
let trapped: TrappedHouse;
let server: ApiServer;
let store: Store;

const bound = async (user: string, cluster = C): Promise<void> => {
  await putUser(trapped.house.management!, user);
  await putCrtb(trapped.house.management!, cluster, user, { userName: user });
};
const local = (user: string): Who => ({ user, extras: { principalid: [`local://${user}`], username: [user] } });
const complete = async (): Promise<boolean> => (await store.ledger.mark().catch(() => undefined))?.complete ?? false;

/** One list of each import is held from now on. Returns how many were held, and how to let one go. */
function holdImports(): { count(): number; release(): void; end(): void } {
  const held: PromiseWithResolvers<void>[] = [];
  let released = 0;
  trapped.management!.giveAll(({ url, path }) => {
    if (!path.endsWith("/globalrolebindings") || url.includes("watch=true")) return undefined;
    held.push(Promise.withResolvers<void>());
    return { hold: held.at(-1)!.promise };
  });
  return {
    count: () => held.length,
    release: () => held[released++]!.resolve(),
    end: () => {
      trapped.management!.giveAll(undefined);
      for (const one of held) one.resolve();
    },
  };
}

/** People of every kind: bound, with facts of the source or of a login alone; entitled through a group, through a global role. */
async function people(prefix: string): Promise<Who[]> {
  const { house } = trapped;
  const management = house.management!;
  const [own, web, member, admin] = ["own", "web", "member", "admin"].map((kind) => `u-${prefix}-${kind}`) as [string, string, string, string];
  const team = `github_org://${prefix}`;
  await Promise.all([bound(own), bound(web), putUser(management, member), putUser(management, admin)]);
  await putAttribute(management, own, { groups: { github: [team] } });
  await putCrtb(management, C, `${prefix}-team`, { groupPrincipalName: team });
  await putGrb(management, `${prefix}-admin`, "admin", { userName: admin });
  for (const user of [web, member, admin]) await logIn(house, user, C, [team]);
  const whos = [own, web, member, admin].map((user) => ({ user, groups: [team] }));
  await waitUntil("what the source says of groups is written", async () => JSON.stringify((await objectsOf(server, own)).role?.rules)?.includes(team));
  await Promise.all(whos.map(({ user }) => settledAs(house, C, user, "ready")));
  for (const who of whos) await assertActsAsExactly(server, who);
  return whos;
}

/** All of them may act with one and the same token while `act` goes on; their roles are never written otherwise, and nothing of theirs is deleted. */
async function undisturbed(whos: readonly Who[], act: () => Promise<void>): Promise<void> {
  const tokens = new Map<string, string>();
  const rules = new Map<string, unknown>();
  for (const { user } of whos) {
    tokens.set(user, await tokenOf(server, user));
    rules.set(user, (await objectsOf(server, user)).role.rules);
  }
  const seenBefore = trapped.at(C).calls.length;
  const refused: string[] = [];
  const over = new AbortController();
  const ask = async (who: Who): Promise<void> => {
    while (!over.signal.aborted) if ((await actAs(server, tokens.get(who.user)!, who)).status !== 201) refused.push(who.user);
  };
  const asking = Promise.all(whos.map(ask));
  try {
    await act();
  } finally {
    over.abort();
    await asking;
  }
  assert.deepEqual(refused, []);
  for (const { user, call, body } of trapped.at(C).calls.slice(seenBefore)) {
    if (!rules.has(user)) continue;
    assert.ok(!call.startsWith("DELETE"), `${call} of ${user}`);
    if (call === "PUT ClusterRole") assert.deepEqual(JSON.parse(body).rules, rules.get(user), `the rules of ${user}`);
  }
  for (const who of whos) {
    await assertActsAsExactly(server, who);
    assert.equal(await tokenOf(server, who.user), tokens.get(who.user));
  }
}

async function flushed(): Promise<void> {
  const whos = await people("q22");
  await undisturbed(whos, async () => {
    await store.redis.flushall();
    const began = performance.now();
    await waitUntil("the import stands again", complete);
    assert.ok(performance.now() - began < IMPORT_MS, `imported ${performance.now() - began} ms after the loss`);
    await Promise.all(whos.map(({ user }) => settledAs(trapped.house, C, user, "ready")));
  });
}

async function flushedTwice(): Promise<void> {
  const whos = await people("q8");
  await undisturbed(whos, async () => {
    const imports = holdImports();
    await store.redis.flushall();
    await waitUntil("half of the import is read", () => imports.count() === 1);
    await store.redis.flushall();
    imports.release();
    await waitUntil("it begins again", () => imports.count() === 2);
    assert.equal(await complete(), false, "the half import sets no mark");
    assert.equal((await fetch(`${trapped.house.producer.started["ops"]}/readyz`)).ok, false);
    imports.end();
    await waitUntil("the import stands again", complete);
    await Promise.all(whos.map(({ user }) => settledAs(trapped.house, C, user, "ready")));
  });
}

/** The run that has the removal in hand loses its record; the run that only looks may not go on. */
async function flushedDuringRemoval(): Promise<void> {
  const { house } = trapped;
  const [removing, looking] = ["u-q9-removing", "u-q9-looking"];
  for (const user of [removing, looking]) {
    await bound(user);
    await settledAs(house, C, user, "ready");
  }
  const traps = trapped.at(C);
  const look = traps.hold(looking, "GET ClusterRole", "after");
  assert.equal((await house.command(["enqueue", "--cluster", C, "--user", looking])).code, 0);
  await look.caught();
  const removal = traps.hold(removing, "DELETE ClusterRole");
  await told(house, C, looking, () => deleteCrtb(house.management!, C, looking));
  await deleteCrtb(house.management!, C, removing);
  await removal.caught();
  const imports = holdImports();
  await store.redis.flushall();
  await waitUntil("the import is under way", () => imports.count() === 1);
  const seenBefore = traps.of(looking).length;
  for (const trap of [look, removal]) trap.release();
  await waitUntil("the removal has ended", async () =>
    Object.values(await objectsOf(server, removing))
      .flat()
      .every((object) => object === undefined),
  );
  assert.equal(await store.ledger.record({ cluster: C, user: removing }), undefined, "nothing is settled");
  assert.deepEqual(traps.of(looking).slice(seenBefore), [], "nothing is done for a subject that nobody knows");
  imports.end();
  await waitUntil("what the ledger does not know is found on the cluster", async () => (await objectsOf(server, looking)).role === undefined);
  await settledAs(house, C, looking, "removed");
  for (const user of [removing, looking]) await assertGone(server, user);
}

/** Another run has the subject before the first one's lock would have expired, or its next renewal would have told it. */
async function lockLost(): Promise<void> {
  const { house } = trapped;
  const user = "u-q5";
  const traps = trapped.at(C);
  const look = traps.hold(user, "GET ClusterRoleBinding", "after");
  await bound(user);
  const worker = processOf(house, await look.caught());
  const until = (): Promise<string | null> => store.redis.hget(`${store.ledger.tag}:rec:${C}/${user}`, "until");
  const first = await until();
  await waitUntil("its lock has just been renewed", async () => (await until()) !== first, { everyMs: 5 });
  const half = traps.hold(user, "POST ServiceAccount");
  const lost = (): Promise<number> => metricOf([worker], "understudy_passes_total", { result: "lost" });
  const lostBefore = await lost();
  await store.redis.flushall();
  await half.caught();
  look.release();
  await waitUntil("the first run has ended", async () => (await lost()) > lostBefore);
  half.release();
  await settledAs(house, C, user, "ready");
  assert.equal(traps.of(user).filter(({ call }) => call === "POST ClusterRole").length, 1, "the run without a lock wrote nothing");
  await onlySecretOf(server, user);
  await assertActsAsExactly(server, local(user));
}

/** Redis as it was when it was last saved, on the same socket. */
async function fromDump(): Promise<void> {
  await trapped.house.redis.restart();
  await waitUntil("redis answers", async () => (await store.redis.ping()) === "PONG");
}

async function olderDump(): Promise<void> {
  const { house } = trapped;
  const user = "u-q10";
  await bound(user);
  await settledAs(house, C, user, "ready");
  const token = await tokenOf(server, user);
  // A worker that takes up another job of the dump is paused by it.
  const unfinished = async (): Promise<number> => {
    const counts = await Promise.all(Object.values(store.queues).map((queue) => queue.getJobCountByTypes("waiting", "prioritized", "active", "delayed")));
    return counts.reduce((sum, count) => sum + count, 0);
  };
  await waitUntil("nothing else is in the queues", async () => (await unfinished()) === 0);
  await store.redis.save();
  await deleteCrtb(house.management!, C, user);
  await settledAs(house, C, user, "removed");
  await assertGone(server, user);
  const imports = holdImports();
  const seenBefore = trapped.at(C).of(user).length;
  await fromDump();
  assert.equal((await store.ledger.record({ cluster: C, user }))?.grants.length, 1, "the ledger believes in the binding");
  await store.ledger.wake({ cluster: C, user }, "filled", "binding");
  await handedBack(house, user, "incomplete");
  imports.end();
  await waitUntil("the import stands again", complete);
  await settledAs(house, C, user, "removed");
  await assertGone(server, user);
  const writes = trapped
    .at(C)
    .of(user)
    .slice(seenBefore)
    .filter(({ call }) => /^(POST|PUT)/.test(call));
  assert.deepEqual(writes, [], "nothing was made for it");
  assert.notEqual((await actAs(server, token, { user })).status, 201);
}

async function generationAgain(): Promise<void> {
  const { house } = trapped;
  const user = "u-q11";
  const groups = (...ids: string[]): Promise<void> => putAttribute(house.management!, user, { groups: { github: ids.map((id) => `github_org://${id}`) } });
  await bound(user);
  await groups("1");
  // A resync after the last import may still bring news of its own.
  await waitUntil("its group is written", async () => JSON.stringify((await objectsOf(server, user)).role?.rules)?.includes("github_org://1"));
  const saved = await settledAs(house, C, user, "ready");
  await store.redis.save();
  const put = trapped.at(C).hold(user, "PUT ClusterRole");
  await groups("1", "lost");
  const agent = await put.caught();
  const lost = (await house.row(C, user))!.generation;
  assert.ok(saved.generation < lost);
  // The other fact changes nothing on the cluster.
  await groups("1");
  await putCrtb(house.management!, C, `${user}-second`, { userName: user });
  const imports = holdImports();
  await fromDump();
  imports.end();
  await waitUntil("the import stands again", complete);
  // What came one by one the first time, with a resync's look in between, the import tells at once.
  while ((await settledAs(house, C, user, "ready")).generation < lost) assert.equal((await house.command(["enqueue", "--cluster", C, "--user", user])).code, 0);
  put.release();
  await waitUntil("the write for the lost fact is refused", async () => (await writesBy(server, user, agent)).includes("update clusterroles 409"));
  await assertActsAsExactly(server, { user, groups: ["github_org://1"] });
}

describe("a Redis that loses what it holds", { timeout: 240_000 }, () => {
  before(async () => {
    trapped = await openTrappedHouse({
      clusters: [C, AWAY],
      resynced: [C],
      before: (traps, cluster) => (cluster === AWAY ? traps.giveAll(() => ({ reset: true })) : undefined),
    });
    server = trapped.house.cluster(C);
    store = await openStore(trapped.house.redis.url, "understudy", 5_000, () => undefined);
  });
  after(async () => {
    await store[Symbol.asyncDispose]();
    await trapped[Symbol.asyncDispose]();
  });

  test("Q18 at the first start with a cluster away the import stands, the other is served, and that one as soon as it is back", async () => {
    const { house } = trapped;
    const user = "u-q18";
    assert.equal(await complete(), true);
    await bound(user);
    await putCrtb(house.management!, AWAY, user, { userName: user });
    await settledAs(house, C, user, "ready");
    await assertActsAsExactly(server, local(user));
    assert.equal((await house.row(AWAY, user))?.state, "pending");
    for (const { started } of [house.producer, ...house.workers]) assert.ok((await fetch(`${started["ops"]}/readyz`)).ok);
    trapped.at(AWAY).giveAll(undefined);
    await settledAs(house, AWAY, user, "ready");
    await assertActsAsExactly(house.cluster(AWAY), local(user));
  });
  test("Q22 after a FLUSHALL with connections kept the import stands within seconds, and meanwhile nobody is narrowed, widened or removed", flushed);
  test("Q8 a FLUSHALL in the middle of an import: that import sets no mark, and nobody is removed", flushedTwice);
  test("Q9 a FLUSHALL while removals are in hand: none is settled on a record that is gone, and all are made in the end", flushedDuringRemoval);
  test("Q5 a run that lost its lock while it looked may not read the ledger, and writes nothing", lockLost);
  test("Q10 a Redis from an older dump, which has lost a removal: nothing is made again before the import", olderDump);
  test("Q11 a Redis from an older dump gives a generation a second time, to another fact: what was under way for the first is refused", generationAgain);
});

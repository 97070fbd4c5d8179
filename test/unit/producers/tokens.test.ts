// Tokens in memory: what costs a call and what does not, and when one that is held is no longer good enough. The clock is the test's.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MovedError, Tokens } from "../../../producers/tokens.ts";
import { ClusterClient } from "../../../shared/kube/client.ts";
import { ApiError } from "../../../shared/kube/errors.ts";
import { recordOf } from "../../../shared/ledger/record.ts";
import type { SubjectRecord } from "../../../shared/ledger/record.ts";
import { nameOf } from "../../../shared/names.ts";
import { NOW, anIdentity } from "../../support/builders.ts";

const MINUTE = 60_000;
const USER = "u-alice";
const SECRET = { name: "its-secret", uid: "uid-secret" };

/** A cluster that gives tokens, numbered; `answer` may throw, or hold. */
class TokenCluster extends ClusterClient {
  readonly calls: string[] = [];
  answer: () => Promise<void> = async () => undefined;
  secretUid = SECRET.uid;
  readonly #now: () => number;

  constructor(now: () => number) {
    super("c-amber", { server: "http://127.0.0.1:1", tls: {}, proxyUrl: undefined, authorize: async () => ({}) }, "test");
    this.#now = now;
  }

  override async call<T>(method: string, path: string): Promise<T> {
    this.calls.push(`${method} ${path}`);
    const token = `token-${this.calls.length}`;
    await this.answer();
    if (method === "GET")
      return {
        metadata: { uid: this.secretUid, creationTimestamp: new Date(NOW - MINUTE).toISOString() },
        data: { token: Buffer.from(token).toString("base64") },
      } as T;
    return { status: { token, expirationTimestamp: new Date(this.#now() + 60 * MINUTE).toISOString() } } as T;
  }
}

function aRecord(over: { gen?: number; stamp?: string; secret?: { name: string; uid: string } | undefined } = {}): SubjectRecord {
  const { gen = 1, stamp = "s", secret = SECRET } = over;
  const applied = { identity: anIdentity(), profile: "strict", ends: 0, role: { uid: "r", resourceVersion: "1" }, accountUid: "a", bindingUid: "b", secret };
  return recordOf(new Map(Object.entries({ gen: String(gen), obs: String(gen), stamp, result: "ready", applied: JSON.stringify(applied) })));
}

function bench(mode: "secret" | "request") {
  const clock = { now: NOW };
  const moved: string[] = [];
  const now = (): number => clock.now;
  const tokens = new Tokens({ mode, stopping: new AbortController().signal, now, onMoved: async (cluster, user) => void moved.push(`${cluster}/${user}`) });
  const cluster = new TokenCluster(now);
  const ask = async (record = aRecord(), client = cluster): Promise<string> => (await tokens.tokenFor(client, USER, record)).token;
  return { tokens, cluster, clock, moved, ask };
}
const away = (): Promise<never> => Promise.reject(new ApiError({ cluster: "c-amber", method: "POST", path: "/" }, { status: 0, reason: "ECONNREFUSED" }));
const status = (code: number) => (): Promise<never> =>
  Promise.reject(new ApiError({ cluster: "c-amber", method: "GET", path: "/" }, { status: code, reason: "" }));

test("a token is fetched once from where the mode says, for all who ask at once and for all who come later", async () => {
  const wanted = {
    secret: "GET /api/v1/namespaces/cattle-impersonation-system/secrets/its-secret",
    request: `POST /api/v1/namespaces/cattle-impersonation-system/serviceaccounts/${nameOf(USER)}/token`,
  };
  for (const mode of ["secret", "request"] as const) {
    const { ask, cluster } = bench(mode);
    const all = await Promise.all(Array.from({ length: 50 }, () => ask()));
    assert.deepEqual([...new Set([...all, await ask()])], ["token-1"]);
    assert.deepEqual(cluster.calls, [wanted[mode]]);
  }
});

test("its age counts from the Secret's making or from the request, and only a requested one has an end", async () => {
  const secret = bench("secret");
  assert.deepEqual(await secret.tokens.tokenFor(secret.cluster, USER, aRecord()).then(({ issuedAt, expiresAt }) => [issuedAt, expiresAt]), [
    NOW - MINUTE,
    undefined,
  ]);
  const request = bench("request");
  assert.deepEqual(await request.tokens.tokenFor(request.cluster, USER, aRecord()).then(({ issuedAt, expiresAt }) => [issuedAt, expiresAt]), [
    NOW,
    NOW + 60 * MINUTE,
  ]);
});

test("a requested token is renewed at four fifths of its life, so that nobody is given one that ends at once", async () => {
  const { ask, clock, cluster } = bench("request");
  assert.equal(await ask(), "token-1");
  clock.now = NOW + 48 * MINUTE - 1;
  assert.equal(await ask(), "token-1");
  clock.now = NOW + 48 * MINUTE;
  assert.equal(await ask(), "token-2");
  assert.equal(await ask(), "token-2");
  assert.equal(cluster.calls.length, 2);
});

test("while the cluster is away the held token is given until half a minute before its end, and then the error", async () => {
  const { ask, clock, cluster } = bench("request");
  await ask();
  cluster.answer = away;
  clock.now = NOW + 59 * MINUTE;
  assert.equal(await ask(), "token-1");
  clock.now = NOW + 60 * MINUTE - 29_000;
  await assert.rejects(ask(), ApiError);
  cluster.answer = async () => undefined;
  assert.match(await ask(), /^token-/);
});

for (const [what, over] of Object.entries({
  generation: { gen: 2 },
  stamp: { stamp: "t" },
  "Secret's uid": { secret: { name: "its-secret", uid: "uid-next" } },
})) {
  test(`a token is forgotten when the ${what} moves, because it stands for a person who may be less by now`, async () => {
    const { ask, cluster } = bench("secret");
    assert.equal(await ask(), "token-1");
    cluster.secretUid = over === undefined ? SECRET.uid : aRecord(over).applied!.secret!.uid;
    assert.equal(await ask(aRecord(over)), "token-2");
    cluster.answer = away;
    await assert.rejects(ask(aRecord({ gen: 3, stamp: "u" })), ApiError, "the old one is no fallback");
  });
}

test("who asks for a later version while an earlier is fetched gets one of its own", async () => {
  const { ask, cluster } = bench("request");
  const gate = Promise.withResolvers<void>();
  cluster.answer = () => gate.promise;
  const both = Promise.all([ask(), ask(aRecord({ gen: 2 }))]);
  gate.resolve();
  assert.deepEqual(await both, ["token-1", "token-2"]);
});

test("a changed kubeconfig shares no token with the one before, because it may lead to another cluster", async () => {
  const { ask, clock, cluster } = bench("request");
  await ask();
  const other = new TokenCluster(() => clock.now);
  await ask(aRecord(), other);
  assert.deepEqual([cluster.calls.length, other.calls.length], [1, 1]);
});

for (const [what, arrange] of Object.entries<(cluster: TokenCluster) => void>({
  "another Secret under its name": (cluster) => (cluster.secretUid = "uid-of-somebody-else"),
  "a Secret that is gone": (cluster) => (cluster.answer = status(404)),
})) {
  test(`${what} gives no token and wakes the subject once for all who ask`, async () => {
    const { ask, cluster, moved } = bench("secret");
    arrange(cluster);
    const asked = await Promise.allSettled(Array.from({ length: 20 }, () => ask()));
    for (const answer of asked) assert.ok(answer.status === "rejected" && answer.reason instanceof MovedError);
    assert.deepEqual(moved, ["c-amber/u-alice"]);
  });
}

test("a record without a Secret gives none in mode `secret`, and one in mode `request`", async () => {
  const record = recordOf(new Map([["applied", JSON.stringify({ ...aRecord().applied, secret: undefined })]]));
  const secret = bench("secret");
  await assert.rejects(secret.ask(record), MovedError);
  assert.deepEqual(secret.cluster.calls, []);
  assert.equal(await bench("request").ask(record), "token-1");
});

test("a refusal of the cluster is an error without the token, and the next who asks tries again", async () => {
  const { ask, cluster, moved } = bench("secret");
  cluster.answer = status(403);
  await assert.rejects(ask(), ApiError);
  cluster.answer = async () => undefined;
  assert.equal(await ask(), "token-2");
  assert.deepEqual(moved, []);
});

// Who gets a credential and who does not, on a real ledger and a cluster that answers as the test says.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openCredentials } from "../../producers/credentials.ts";
import { RevocationStreams } from "../../producers/revocation-streams.ts";
import { Tokens } from "../../producers/tokens.ts";
import { ClusterClient } from "../../shared/kube/client.ts";
import { openLog } from "../../shared/run/log.ts";
import { openMetrics } from "../../shared/run/metrics.ts";
import { type Bench, alice, anApplied, aSettlement, benchOn, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();
const SECRET = "a-secret-for-credentials-0123456789";
const access = { server: "http://127.0.0.1:1", tls: {}, proxyUrl: undefined, authorize: async () => ({}) };

/** Its one Secret has a token, under this uid. */
class SecretCluster extends ClusterClient {
  readonly #uid: string;
  constructor(uid: string) {
    super(alice.cluster, access, "test");
    this.#uid = uid;
  }
  override async call<T>(): Promise<T> {
    return { metadata: { uid: this.#uid, creationTimestamp: "2026-01-15T12:00:00Z" }, data: { token: Buffer.from("its-token").toString("base64") } } as T;
  }
}

function listenerOn({ ledger, tag }: Bench, client: ClusterClient = new SecretCluster(anApplied().secret!.uid)) {
  const now = (): number => Date.now();
  const log = openLog("silent");
  const onMoved = async (cluster: string, user: string): Promise<void> => void (await ledger.submit({ cluster, user }, {}, "drift", "binding"));
  const tokens = new Tokens({ mode: "secret", stopping: new AbortController().signal, now, onMoved });
  const streams = new RevocationStreams({ redis, quick: redis, tag, log });
  const config = { credentialsSecrets: [SECRET], forwardAuthUserHeader: undefined, tokenMode: "secret", profile: "strict" } as const;
  const clientOf = (cluster: string): ClusterClient | undefined => (cluster === alice.cluster ? client : undefined);
  const app = openCredentials({ ledger, config, tokens, streams, log, metrics: openMetrics(), clientOf, now });
  return async (query = "") => {
    const { statusCode, headers, body } = await app.inject({
      method: "POST",
      url: `/v1/credentials${query}`,
      headers: { authorization: `Bearer ${SECRET}` },
      payload: JSON.stringify(alice),
    });
    return { status: statusCode, retryAfter: headers["retry-after"], body: JSON.parse(body) as Record<string, unknown> };
  };
}
type Asked = Awaited<ReturnType<ReturnType<typeof listenerOn>>>;
function assertRefused({ status, retryAfter, body }: Asked, expected: number, detail: RegExp): void {
  assert.equal(status, expected, JSON.stringify(body));
  assert.match(String(body["detail"]), detail);
  assert.equal(retryAfter === undefined, expected !== 503);
}

test("a ready subject is given its token with the names of what was applied, and without a CA where the kubeconfig has none", async () => {
  const bench = benchOn(redis);
  await bench.import();
  await bench.ready(alice);
  const { status, body } = await listenerOn(bench)();
  assert.equal(status, 200);
  const headers = [
    ["Impersonate-User", "u-alice"],
    ["Impersonate-Group", "system:authenticated"],
  ];
  assert.deepEqual(body, { server: access.server, certificateAuthorityData: null, token: "its-token", expiresAt: null, headers });
});

test("while the import does not stand nobody is given anything and nobody is unknown, because the ledger may lack a removal", async () => {
  const bench = benchOn(redis);
  const ask = listenerOn(bench);
  assertRefused(await ask(), 503, /import does not stand/);
  await bench.import();
  assertRefused(await ask(), 404, /no such subject/);
  await bench.ready(alice);
  assert.equal((await ask()).status, 200);
  await redis.del(bench.key("era"));
  assertRefused(await ask(), 503, /import does not stand/);
});

test("each state that is not ready says itself and its reason, and only what passes is 503", async () => {
  for (const [result, reason, status] of [
    ["waiting", "the user is disabled", 403],
    ["removed", "no grant", 403],
    ["failed", "quota", 403],
    ["retrying", "a conflict", 503],
    ["pending", "no token yet", 503],
  ] as const) {
    const bench = benchOn(redis);
    await bench.import();
    await bench.ready(alice);
    const pending = result === "retrying" || result === "pending";
    await bench.arrange(alice, { result, reason, ...(pending ? { gen: 9 } : {}) });
    assertRefused(await listenerOn(bench)(), status, new RegExp(`^${pending ? "pending" : result}: .*${reason}`));
  }
});

test("`?wait` holds while something new is looked at, also after a refusal, and not where nothing will change", async () => {
  const bench = benchOn(redis);
  await bench.import();
  await bench.ready(alice);
  const ask = listenerOn(bench);
  await bench.arrange(alice, { result: "removed", reason: "" });
  const began = performance.now();
  assertRefused(await ask("?wait=5"), 403, /^removed/);
  assert.ok(performance.now() - began < 4_900, "nothing was waited for");
  await bench.ledger.submit(alice, {}, "verify", "binding");
  const held = ask("?wait=5");
  const { me, record } = await bench.run(alice);
  await bench.ledger.settle(alice, me, record, aSettlement());
  assert.equal((await held).status, 200);
});

test("a Secret that is not the one that was settled gives no token and one look at the subject, however many ask", async () => {
  const bench = benchOn(redis);
  await bench.import();
  await bench.ready(alice);
  const ask = listenerOn(bench, new SecretCluster("uid-of-somebody-else"));
  bench.added.length = 0;
  for (const answer of await Promise.all(Array.from({ length: 10 }, () => ask()))) assertRefused(answer, 503, /put right|pending/);
  assert.deepEqual(
    bench.added.map(({ queue, data }) => [queue, (data as { cause: string }).cause]),
    [["binding", "drift"]],
  );
});

test("a cluster that does not answer is 503 and says so without what was asked of it", async () => {
  const bench = benchOn(redis);
  await bench.import();
  await bench.ready(alice);
  assertRefused(await listenerOn(bench, new ClusterClient(alice.cluster, access, "test"))(), 503, /^cluster c-amber gives no token: no answer ECONNREFUSED$/);
});

// A producer that starts where the ledger is whole already: it judges nobody before it has read the sources itself. Its clusters are HTTP servers that answer empty lists.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { request } from "undici";
import { startProducer } from "../../producers/main.ts";
import { configFrom } from "../../shared/run/config.ts";
import { openLog } from "../../shared/run/log.ts";
import { openStore } from "../../shared/run/redis.ts";
import { startRedis } from "../support/redis.ts";
import { waitUntil } from "../support/wait-until.ts";

const SECRET = "a-plain-secret-of-one-proxy-0123456789";
const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());

/** A cluster without objects. `away`: it answers 503. */
async function emptyCluster(away: boolean) {
  const state = { away, lists: 0 };
  const server = createServer((incoming, response) => {
    if (state.away) return void response.writeHead(503).end();
    if (incoming.url!.includes("watch=")) return response.writeHead(200).flushHeaders();
    // A watch that asks where to begin reads one object; a resync reads all.
    if (new URL(incoming.url!, "http://cluster").searchParams.get("limit") !== "1") state.lists += 1;
    return void response.end(JSON.stringify({ metadata: { resourceVersion: "1" }, items: [] }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanup.defer(() => {
    server.close();
    server.closeAllConnections();
  });
  const cluster = { server: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
  const named = {
    clusters: [{ name: "c", cluster }],
    users: [{ name: "u", user: { token: "t0ken" } }],
    contexts: [{ name: "m", context: { cluster: "c", user: "u" } }],
  };
  return { state, kubeconfig: JSON.stringify({ apiVersion: "v1", kind: "Config", "current-context": "m", ...named }) };
}

/** A producer on a Redis whose import mark an earlier one has set. */
async function startLate(management: { kubeconfig: string }, cluster: { kubeconfig: string }) {
  const redis = cleanup.adopt(await startRedis(), (server) => server.stop());
  const folder = cleanup.adopt(await mkdtemp(join(tmpdir(), "understudy-producer-")), (path) => rm(path, { recursive: true }));
  await mkdir(join(folder, "clusters"));
  await writeFile(join(folder, "management.yaml"), management.kubeconfig);
  await writeFile(join(folder, "clusters", "c-one"), cluster.kubeconfig);
  const store = cleanup.use(await openStore(redis.url, "understudy", 5_000, () => undefined));
  await store.ledger.importEnd(await store.ledger.importBegin());
  const read = configFrom({
    UNDERSTUDY_REDIS_URL: redis.url,
    UNDERSTUDY_MANAGEMENT_KUBECONFIG: join(folder, "management.yaml"),
    UNDERSTUDY_CLUSTERS_DIR: join(folder, "clusters"),
    UNDERSTUDY_HOOK_SECRETS: SECRET,
    UNDERSTUDY_HOOK_LISTEN: "127.0.0.1:0",
    UNDERSTUDY_OPS_LISTEN: "127.0.0.1:0",
    UNDERSTUDY_KUBECONFIG_ALLOW: "http",
  });
  assert.ok("config" in read);
  const lines: string[] = [];
  const producer = cleanup.use(await startProducer(read.config, openLog("debug", {}, { write: (line) => void lines.push(line) }), "1.2.3"));
  return { producer, said: (text: string): number => lines.filter((line) => line.includes(text)).length };
}

test("a producer that has not read the sources yet resyncs no cluster, answers logins with 503 and is not ready, because without bindings everybody looks like nobody's", async () => {
  const [management, cluster] = [await emptyCluster(true), await emptyCluster(false)];
  const { producer, said } = await startLate(management, cluster);
  // Half a second, one and two: by the third, two turns of the resync have come and gone.
  await waitUntil("it has tried in vain for two seconds", () => said("import failed") >= 3);
  assert.equal(cluster.state.lists, 0);
  const payload = JSON.stringify({ user: "u-alice", provider: "github", groups: [] });
  const logIn = async (): Promise<number> => {
    const answer = await request(`${producer.hook}/v1/logins`, { method: "POST", headers: { authorization: `Bearer ${SECRET}` }, body: payload });
    await answer.body.dump();
    return answer.statusCode;
  };
  const ready = await request(`${producer.ops}/readyz`);
  assert.deepEqual([await logIn(), ready.statusCode, await ready.body.text()], [503, 503, "the sources have not been read yet\n"]);

  management.state.away = false;
  await waitUntil("the cluster is resynced", () => said("cluster resynced") > 0);
  assert.deepEqual([await logIn(), cluster.state.lists], [403, 5]);
});

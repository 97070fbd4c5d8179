// What `check` warns of although all works: people who are administrators of a cluster, a clock that is not ours, a Redis that says less than it should.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { startApiServer } from "../apiserver/start.ts";
import { openCheck } from "../support/checked.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { startRedis } from "../support/redis.ts";

const RBAC = "rbac.authorization.k8s.io";
const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());
const folder = cleanup.adopt(await mkdtemp(join(tmpdir(), "understudy-check-")), (path) => rm(path, { recursive: true, force: true }));
const [server, redis] = await Promise.all([startApiServer({ name: "warnings", crds: true }), startRedis({ persist: true })]);
cleanup.defer(() => server.stop());
cleanup.defer(() => redis.stop());
const { check } = openCheck(folder, redis.url);

async function bind(name: string, role: string, subjects: readonly (readonly [kind: string, name: string])[]): Promise<void> {
  const { status } = await server.call("POST", `/apis/${RBAC}/v1/clusterrolebindings`, {
    metadata: { name },
    roleRef: { apiGroup: RBAC, kind: "ClusterRole", name: role },
    subjects: subjects.map(([kind, subject]) =>
      kind === "ServiceAccount" ? { kind, name: subject, namespace: "default" } : { kind, apiGroup: RBAC, name: subject },
    ),
  });
  assert.equal(status, 201);
}

test("users and groups that are cluster-admin and may be impersonated are named with the cure, because such a person's impersonator is an administrator's token", async () => {
  await bind("owners", "cluster-admin", [
    ["User", "u-ada"],
    ["Group", "github_team://1"],
    ["Group", "system:authenticated"],
    ["User", "system:admin"],
    ["Group", "eks:admins"],
    ["ServiceAccount", "tool"],
  ]);
  await bind("viewers", "view", [["User", "u-ben"]]);
  const kubeconfigs = { "c-one.yaml": await server.workerKubeconfig() };
  const { code, ok, clusters, warnings } = await check(kubeconfigs);
  assert.deepEqual([code, ok], [0, true]);
  assert.deepEqual(
    clusters[0]!.admins.map(({ kind, name, binding }) => `${kind} ${name} ${binding}`),
    ["User u-ada owners", "Group github_team://1 owners", "Group system:authenticated owners"],
  );
  assert.equal(warnings.length, 1);
  assert.match(
    warnings[0]!,
    /^cluster c-one: cluster-admin is bound to User "u-ada" by owners, Group "github_team:\/\/1" by owners, .*UNDERSTUDY_DENY_PREFIXES$/,
  );
  const denied = await check(kubeconfigs, { UNDERSTUDY_DENY_PREFIXES: "system:,eks:,u-,github_" });
  assert.deepEqual(
    denied.clusters[0]!.admins.map(({ name }) => name),
    ["system:authenticated"],
  );
});

test("a server's clock that is far from this machine's is a warning, because logins and tokens carry times", async () => {
  const proxy = await startFaultProxy({ url: server.url, ca: server.ca, tls: server.serving });
  await using _ = { [Symbol.asyncDispose]: () => proxy.stop() };
  const at = (ms: number) => ({ answer: 200, body: '{"gitVersion":"v1.36.3"}', headers: { date: new Date(Date.now() + ms).toUTCString() } });
  const through = { "c-one.yaml": await server.workerKubeconfig(proxy.url) };
  await writeFile(join(folder, "management.yaml"), server.kubeconfig.replaceAll(server.url, proxy.url));
  const clockAt = async (ms: number) => {
    proxy.setRule(({ path }) => (path === "/version" ? at(ms) : undefined));
    const { code, clusters, warnings } = await check(through, { UNDERSTUDY_MANAGEMENT_KUBECONFIG: join(folder, "management.yaml") });
    assert.equal(code, 0);
    return { ahead: clusters[0]!.clockAheadMs!, said: warnings.filter((warning) => warning.includes("clock")) };
  };
  const ahead = await clockAt(90_000);
  assert.ok(ahead.ahead > 60_000 && ahead.ahead <= 90_000, String(ahead.ahead));
  assert.deepEqual(
    ahead.said.map((text) => text.replace(/\d+ s/, "N s")),
    ["management cluster", "cluster c-one"].map(
      (whose) => `${whose}: its clock is N s ahead of this machine's; logins and tokens carry times: let NTP set both, and those of the auth proxies`,
    ),
  );
  const behind = await clockAt(-90_000);
  assert.ok(behind.ahead < -60_000, String(behind.ahead));
  assert.match(behind.said.join("\n"), /cluster c-one: its clock is \d+ s behind this machine's/);
  const { clusters, warnings } = await check({ "c-one.yaml": await server.workerKubeconfig() });
  assert.deepEqual([clusters[0]!.clockAheadMs, warnings.filter((warning) => warning.includes("clock"))], [0, []]);
});

test("a Redis that does not let itself be asked what it keeps is a warning of its own, because nobody knows that it forgets", async () => {
  const silent = await startRedis({ args: ["--rename-command", "CONFIG", "''"] });
  await using _ = { [Symbol.asyncDispose]: () => silent.stop() };
  const { redis: row, warnings } = await check({}, { UNDERSTUDY_REDIS_URL: silent.url });
  assert.deepEqual([row.reachable, row.persistence], [true, null]);
  assert.match(warnings[0]!, /^redis does not say whether it keeps anything over a restart .*: see that its appendonly is on$/);
});

// `understudy check` as a person runs it, against a real API server and a real Redis: what it finds, what it names, and that it changes nothing.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Redis } from "ioredis";
import { FENCE_TEXTS } from "../../shared/kube/fence.ts";
import { kubeconfigText } from "../apiserver/files.ts";
import { startApiServer } from "../apiserver/start.ts";
import { openCheck } from "../support/checked.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { startRedis } from "../support/redis.ts";
import { waitUntil } from "../support/wait-until.ts";

const NAMESPACE = "cattle-impersonation-system";
const KEEP = ["get", "list", "watch", "create", "update", "delete"];
const RBAC = "rbac.authorization.k8s.io";
const EVERY_RIGHT = [
  ...[...KEEP, "escalate", "bind"].map((verb) => `${verb} clusterroles.${RBAC}`),
  ...KEEP.map((verb) => `${verb} clusterrolebindings.${RBAC}`),
  ...KEEP.map((verb) => `${verb} serviceaccounts in ${NAMESPACE}`),
  ...KEEP.map((verb) => `${verb} secrets in ${NAMESPACE}`),
  `list rolebindings.${RBAC}`,
  ...["list", "watch"].map((verb) => `${verb} namespaces named ${NAMESPACE}`),
];
const SOURCES = ["clusterroletemplatebindings", "projectroletemplatebindings", "globalrolebindings", "users", "userattributes"];

const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());
const folder = cleanup.adopt(await mkdtemp(join(tmpdir(), "understudy-check-")), (path) => rm(path, { recursive: true, force: true }));
const [server, redis] = await Promise.all([startApiServer({ name: "check", crds: true }), startRedis({ persist: true })]);
cleanup.defer(() => server.stop());
cleanup.defer(() => redis.stop());

const { check, next } = openCheck(folder, redis.url);
const management = async (kubeconfig: string): Promise<Record<string, string>> => {
  const path = join(folder, `management-${next()}.yaml`);
  await writeFile(path, kubeconfig);
  return { UNDERSTUDY_MANAGEMENT_KUBECONFIG: path };
};

type Rule = Readonly<Record<"apiGroups" | "resources" | "verbs", readonly string[]>>;
/** Kubeconfig of an account of its own, with these rights in every namespace. */
async function accountWith(name: string, rules: readonly Rule[]): Promise<string> {
  const rbac = `/apis/${RBAC}/v1`;
  const subjects = [{ kind: "ServiceAccount", name, namespace: "default" }];
  await server.call("POST", "/api/v1/namespaces/default/serviceaccounts", { metadata: { name } });
  await server.call("POST", `${rbac}/clusterroles`, { metadata: { name }, rules });
  await server.call("POST", `${rbac}/clusterrolebindings`, { metadata: { name }, roleRef: { apiGroup: RBAC, kind: "ClusterRole", name }, subjects });
  const { body } = await server.call("POST", `/api/v1/namespaces/default/serviceaccounts/${name}/token`, { spec: {} });
  const token: string = body.status.token;
  const last = rules.at(-1);
  const resourceAttributes = { group: last?.apiGroups[0] ?? "", resource: last?.resources[0] ?? "", verb: last?.verbs[0] ?? "" };
  await waitUntil(`${name} is in force`, async () => {
    const asked = { spec: { resourceAttributes } };
    const review = await server.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", asked, { authorization: `Bearer ${token}` });
    return review.status === 201 && (last === undefined || review.body.status.allowed === true);
  });
  return kubeconfigText(server.url, server.ca, token);
}
const nobody = await accountWith("nobody", []);

test("a namespace that is missing is told apart: one that the account may not make, may make, or cannot see", async () => {
  const rights: Rule[] = [
    { apiGroups: [RBAC], resources: ["clusterroles", "clusterrolebindings"], verbs: [...KEEP, "escalate", "bind"] },
    { apiGroups: [RBAC], resources: ["rolebindings"], verbs: ["list"] },
    { apiGroups: [""], resources: ["serviceaccounts", "secrets"], verbs: KEEP },
    { apiGroups: [""], resources: ["namespaces"], verbs: ["list", "watch"] },
  ];
  const seeing = await accountWith("seeing", [...rights, { apiGroups: [""], resources: ["namespaces"], verbs: ["get"] }]);
  const making = await accountWith("making", [...rights, { apiGroups: [""], resources: ["namespaces"], verbs: ["create"] }]);
  const { code, clusters, problems, warnings } = await check({
    "c-blind.yaml": await accountWith("blind", rights),
    "c-making.yaml": making,
    "c-seeing.yaml": seeing,
  });
  assert.equal(code, 1);
  assert.deepEqual(
    clusters.map(({ cluster, missing }) => [cluster, missing]),
    [
      ["c-blind", []],
      ["c-making", []],
      ["c-seeing", ["create namespaces"]],
    ],
  );
  assert.deepEqual(problems, [`cluster c-seeing: namespace ${NAMESPACE} is not there and its account may not make it: kubectl create namespace ${NAMESPACE}`]);
  assert.deepEqual(warnings, [`cluster c-blind: its account can neither see nor make namespace ${NAMESPACE}; see that it is there`]);
});

test("with the least-privilege account of a worker all is right, and check itself changes nothing", async () => {
  const kubeconfig = await server.workerKubeconfig();
  const { code, stdout: _, ...checked } = await check({ "c-amber.yaml": kubeconfig });
  assert.equal(code, 0, checked.problems.join("\n"));
  const { version, runId } = checked.redis;
  assert.match(`${version} ${runId}`, /^\d+\.\d+\.\d+ [0-9a-f]{40}$/);
  assert.deepEqual(checked, {
    ok: true,
    redis: { reachable: true, version, evictionPolicy: "noeviction", persistence: true, runId },
    sources: [],
    clusters: [{ cluster: "c-amber", reachable: true, version: "v1.36.3", fence: "off", missing: [], admins: [], clockAheadMs: 0 }],
    problems: [],
    warnings: [],
  });
  const audit = (await readFile(server.auditLog, "utf8"))
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as { userAgent?: string; verb: string; requestURI: string });
  const ours = audit.filter(({ userAgent }) => /^understudy\/\S+ check$/.test(userAgent ?? ""));
  assert.ok(ours.length > EVERY_RIGHT.length);
  for (const { verb, requestURI } of ours)
    assert.ok(verb === "get" || verb === "list" || /\/(selfsubjectaccessreviews|clusterroles\?dryRun=All)$/.test(requestURI), `${verb} ${requestURI}`);
});

test("each right that an account lacks is named, grouped into one next move for each kind", async () => {
  const short = await accountWith("short", [
    { apiGroups: [RBAC], resources: ["clusterroles"], verbs: KEEP },
    { apiGroups: [RBAC], resources: ["clusterrolebindings"], verbs: KEEP },
    { apiGroups: [""], resources: ["serviceaccounts", "secrets", "namespaces"], verbs: ["get"] },
  ]);
  const { code, ok, clusters, problems } = await check({ "c-nobody.yaml": nobody, "c-short.yaml": short });
  assert.deepEqual([code, ok], [1, false]);
  assert.deepEqual(clusters[0], { cluster: "c-nobody", reachable: true, version: "v1.36.3", fence: "off", missing: EVERY_RIGHT, admins: [], clockAheadMs: 0 });
  const lacks = EVERY_RIGHT.filter((right) =>
    /escalate|bind clusterroles\.|(list|watch|create|update|delete) (serviceaccounts|secrets)| rolebindings| namespaces/.test(right),
  );
  assert.equal(lacks.length, 15);
  assert.deepEqual(clusters[1]!.missing, lacks);
  assert.equal(problems.length, 6 + 5);
  assert.ok(problems.includes(`cluster c-short: grant its account escalate, bind on clusterroles.${RBAC}`), problems.join("\n"));
});

test("the fence counts as on only where it refuses the worker in its own words: neither another policy's refusal nor an administrator proves it", async () => {
  const admission = "/apis/admissionregistration.k8s.io/v1";
  const name = "nobody-makes-roles";
  const worker = await server.workerKubeconfig();
  const resourceRules = [{ apiGroups: [RBAC], apiVersions: ["*"], operations: ["CREATE"], resources: ["clusterroles"] }];
  const validations = [{ expression: "false", message: Object.values(FENCE_TEXTS).join("; ") }];
  await server.call("POST", `${admission}/validatingadmissionpolicies`, { metadata: { name }, spec: { matchConstraints: { resourceRules }, validations } });
  const spec = { policyName: name, validationActions: ["Deny"] };
  await server.call("POST", `${admission}/validatingadmissionpolicybindings`, { metadata: { name }, spec });
  const tried = () => server.call("POST", `/apis/${RBAC}/v1/clusterroles?dryRun=All`, { metadata: { name: "a-role" }, rules: [] });
  await waitUntil("it refuses", async () => (await tried()).status === 422);
  const { clusters } = await check({ "c-admin.yaml": server.kubeconfig, "c-nobody.yaml": nobody, "c-worker.yaml": worker });
  for (const kind of ["validatingadmissionpolicybindings", "validatingadmissionpolicies"]) await server.call("DELETE", `${admission}/${kind}/${name}`);
  await waitUntil("it refuses no more", async () => (await tried()).status === 201);
  assert.deepEqual(new Set(clusters.map(({ reachable, fence }) => `${reachable} ${fence}`)), new Set(["true off"]));
});

test("a cluster that does not let itself be asked is a problem with a next move, and hides none of the others", async () => {
  const worker = await server.workerKubeconfig();
  const host = new URL(server.url).host;
  const { code, clusters, problems, stdout } = await check({
    "c-amber.yaml": worker,
    "c-gone.yaml": kubeconfigText("https://127.0.0.1:1", server.ca, "some-token"),
    "c-stale.yaml": kubeconfigText(server.url, server.ca, "token-that-nobody-knows"),
    "c-untrusted.yaml": worker.replace(/\n *certificate-authority-data: .*/, ""),
    "c-junk.yaml": "clusters: [",
    "c-plugin.yaml": worker.replace(/token: .*/, "exec: {apiVersion: client.authentication.k8s.io/v1, command: make-token, interactiveMode: Never}"),
    "Not_An_Id.yaml": worker,
  });
  assert.equal(code, 1);
  assert.deepEqual(
    clusters.map(({ cluster, reachable, version }) => [cluster, reachable, version]),
    [
      ["c-amber", true, "v1.36.3"],
      ["c-gone", false, null],
      ["c-stale", false, null],
      ["c-untrusted", false, null],
    ],
  );
  const expected = [
    /^kubeconfig Not_An_Id\.yaml: its name is no cluster id/,
    /^kubeconfig c-junk\.yaml: it cannot be read as a kubeconfig/,
    /^kubeconfig c-plugin\.yaml: an exec plugin is refused .*UNDERSTUDY_KUBECONFIG_ALLOW=exec/,
    /^cluster c-gone: no answer from 127\.0\.0\.1:1 \(ECONNREFUSED\); see that it is up/,
    new RegExp(`^cluster c-stale: ${host} refuses the credentials of its kubeconfig \\(401\\)`),
    /^cluster c-untrusted: .* certificate that is not trusted/,
  ];
  assert.equal(problems.length, expected.length, problems.join("\n"));
  for (const [at, pattern] of expected.entries()) assert.match(problems[at]!, pattern);
  for (const secret of ["some-token", "token-that-nobody-knows", /token: (\S+)/.exec(worker)![1]!]) assert.ok(!stdout.includes(secret));
});

test("the management cluster's kinds are listed one by one, and what to grant is said", async () => {
  const worker = { "c-amber.yaml": await server.workerKubeconfig() };
  const good = await check(worker, await management(server.kubeconfig));
  assert.equal(good.code, 0, good.problems.join("\n"));
  assert.deepEqual(
    good.sources,
    SOURCES.map((kind) => ({ kind, listable: true, reason: "" })),
  );
  const bad = await check(worker, await management(nobody));
  assert.equal(bad.code, 1);
  assert.deepEqual(
    bad.sources,
    SOURCES.map((kind) => ({ kind, listable: false, reason: "403 Forbidden" })),
  );
  assert.deepEqual(
    bad.problems,
    SOURCES.map((kind) => `management cluster: grant the account of UNDERSTUDY_MANAGEMENT_KUBECONFIG list and watch on ${kind}.management.cattle.io`),
  );
  const lister = await check(
    worker,
    await management(await accountWith("lister", [{ apiGroups: ["management.cattle.io"], resources: SOURCES, verbs: ["list"] }])),
  );
  assert.deepEqual([lister.code, lister.sources[0], lister.problems.length], [1, { kind: SOURCES[0], listable: true, reason: "it may not be watched" }, 5]);
});

test("a management cluster that is away, is another kind of cluster, or has no kubeconfig is told apart", async () => {
  const proxy = await startFaultProxy({ url: server.url, ca: server.ca, tls: server.serving });
  await using _ = { [Symbol.asyncDispose]: () => proxy.stop() };
  proxy.setRule(({ path }) => (path.endsWith("/userattributes") ? { answer: 404 } : path.endsWith("/users") ? { answer: 200, body: "<html>" } : undefined));
  const other = await check({}, await management(kubeconfigText(proxy.url, server.ca, server.adminToken)));
  assert.deepEqual(
    other.sources.map(({ listable }) => listable),
    [true, true, true, false, false],
  );
  assert.match(
    other.problems.join("\n"),
    /^management cluster: what answers at \S+ is no Kubernetes API server.*\nmanagement cluster: it has no userattributes\.management\.cattle\.io; .*$/,
  );
  assert.ok(!other.stdout.includes("html"), "an answer that is not understood may hold anything");
  const away = await check({}, await management(kubeconfigText("https://127.0.0.1:1", server.ca, "x")));
  assert.equal(away.problems.length, 1, "said once, not for each kind");
  assert.match(away.problems[0]!, /^management cluster: no answer from 127\.0\.0\.1:1/);
  const none = await check({}, { UNDERSTUDY_MANAGEMENT_KUBECONFIG: join(folder, "nowhere.yaml") });
  assert.deepEqual(
    none.sources.map(({ listable }) => listable),
    SOURCES.map(() => false),
  );
  assert.match(none.problems.join("\n"), /^UNDERSTUDY_MANAGEMENT_KUBECONFIG \(.*nowhere\.yaml\): ENOENT/);
});

test("a Redis that may evict is a problem, one that forgets a warning, and one that is away or locked is named", async () => {
  const evicting = await startRedis({ args: ["--maxmemory-policy", "allkeys-lru"] });
  await using _ = { [Symbol.asyncDispose]: () => evicting.stop() };
  const evicts = await check({}, { UNDERSTUDY_REDIS_URL: evicting.url });
  assert.equal(evicts.code, 1);
  assert.deepEqual([evicts.redis.reachable, evicts.redis.evictionPolicy, evicts.redis.persistence], [true, "allkeys-lru", false]);
  assert.match(evicts.problems.join("\n"), /^redis may evict keys .*CONFIG SET maxmemory-policy noeviction$/);
  assert.match(evicts.warnings[0]!, /keeps nothing over a restart/);
  const client = new Redis(evicting.socket);
  await client.config("SET", "requirepass", "a-password-nobody-told");
  client.disconnect();
  const locked = await check({}, { UNDERSTUDY_REDIS_URL: evicting.url });
  assert.match(locked.problems.join("\n"), /^redis at \S+redis\.sock does not answer: .*NOAUTH/);
  await evicting.kill("SIGKILL");
  const away = await check({}, { UNDERSTUDY_REDIS_URL: evicting.url });
  assert.deepEqual([away.code, away.redis], [1, { reachable: false, version: null, evictionPolicy: null, persistence: null, runId: null }]);
  assert.match(away.problems.join("\n"), /^redis at \S+redis\.sock does not answer: start it, or set UNDERSTUDY_REDIS_URL \(connect E\w+ /);
});

test("without settings it says what to set, and people get short lines that end in a count", async () => {
  const { code, stdout } = await check(undefined, { UNDERSTUDY_REDIS_URL: "" }, "text");
  assert.equal(code, 1);
  assert.match(stdout, /^problem: UNDERSTUDY_REDIS_URL: set it, or start `understudy dev` in this folder$/m);
  assert.match(stdout, /^problem: UNDERSTUDY_CLUSTERS_DIR: set it to a folder .*, or UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE to .+$/m);
  assert.match(stdout, /\n2 problems, 0 warnings\n$/);
  const good = await check({ "c-amber.yaml": await server.workerKubeconfig() }, await management(server.kubeconfig), "text");
  assert.equal(good.code, 0);
  assert.match(
    good.stdout,
    /^redis +\d+\.\d+\.\d+ +noeviction, kept over a restart\n(source +\w+ +listable\n){5}cluster +c-amber +v1\.36\.3, every right, fence off\n\n0 problems, 0 warnings\n$/m,
  );
});

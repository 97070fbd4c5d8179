// `understudy bootstrap` on a real API server: what it prints lets the worker's account do its work and nothing else, whatever its RBAC would allow.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type ApiServer, startApiServer } from "../apiserver/start.ts";
import { type Bootstrapped, apply, bootstrap, bootstrapped, manifestOf } from "../support/bootstrapped.ts";
import { type Bent, FORBIDDEN, made, pod } from "../support/fence-cases.ts";
import { NAMESPACE } from "../support/impersonator.ts";
import { waitUntil } from "../support/wait-until.ts";

const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const POLICIES = "/apis/admissionregistration.k8s.io/v1";
const HOME = `/api/v1/namespaces/${NAMESPACE}`;
const RANCHER = { UNDERSTUDY_SOURCE: "rancher", UNDERSTUDY_MANAGEMENT_KUBECONFIG: "not-read.yaml" };
const REQUEST = { UNDERSTUDY_TOKEN_MODE: "request" };
const PREFIX = "cattle-impersonation-";
const U = `${PREFIX}u-ada`;

let server: ApiServer;
let worker: Bootstrapped;
before(async () => {
  server = await startApiServer({ name: "bootstrap" });
  worker = await bootstrapped(server, await manifestOf({ ...RANCHER, ...REQUEST }));
  // It refuses some of what the fence refuses, and either may be the one that says so.
  await asAdmin("DELETE", `${POLICIES}/validatingadmissionpolicybindings/understudy-binding-guard`);
  await waitUntil("the binding guard is not in force", async () => (await server.call("POST", ...alien(ACCOUNT))).status === 201);
  await seed();
});
after(() => server?.stop());

const asWorker = (method: string, path: string, body?: unknown) => server.call(method, path, body, { authorization: `Bearer ${worker.token}` });
const asAdmin = async (method: string, path: string, body?: unknown): Promise<Bent> => {
  const answer = await server.call(method, path, body);
  assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  return answer.body;
};
/** One impersonator of the worker's, and what is not the worker's. */
async function seed(): Promise<void> {
  const { role, account, binding } = made("u-ada");
  for (const [path, object] of [
    [`${RBAC}/clusterroles`, role()],
    [`${HOME}/serviceaccounts`, account()],
    [`${RBAC}/clusterrolebindings`, binding()],
  ])
    assert.equal((await asWorker("POST", path, object)).status, 201);
  await asAdmin("POST", `${RBAC}/clusterroles`, { metadata: { name: `${PREFIX}of-somebody-else` }, rules: [] });
  await asAdmin("POST", `${HOME}/secrets`, { metadata: { name: "of-somebody-else" } });
}

test("every write that would make more of a worker's account than it is, is refused, because its token may be stolen", async (t) => {
  for (const [what, [call, says]] of Object.entries(FORBIDDEN))
    await t.test(what, async () => {
      const { status, body } = await asWorker(...(typeof call === "function" ? call(await asAdmin("GET", `${RBAC}/clusterroles/${U}`)) : call));
      if (says === "rbac") assert.equal(status, 403, JSON.stringify(body));
      else {
        assert.equal(status, 422, JSON.stringify(body));
        assert.match(body.message, /'understudy-worker-fence'/);
        assert.match(body.message, says);
      }
    });
});

const VIEW = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "view" };
const ACCOUNT = { kind: "ServiceAccount", name: U, namespace: NAMESPACE };
/** Somebody else's binding of an account, tried. */
const alien = (subject: object, namespaced = false) =>
  [
    `${RBAC}/${namespaced ? "namespaces/default/rolebindings" : "clusterrolebindings"}?dryRun=All`,
    { metadata: { name: "alien" }, roleRef: VIEW, subjects: [subject] },
  ] as const;

test("nobody runs anything as an impersonator or binds one to something else, administrators neither", async () => {
  await apply(server, await manifestOf({ ...RANCHER, ...REQUEST }));
  await waitUntil("the binding guard is in force", async () => (await server.call("POST", ...alien(ACCOUNT))).status === 422);
  const refused = async (path: string, object: object, says: RegExp): Promise<void> => {
    const { status, body } = await server.call("POST", path, object);
    assert.equal(status, 422, JSON.stringify(body));
    assert.match(body.message, says);
  };
  await refused(`${HOME}/pods`, pod(), /no pod runs in/);
  const user = { kind: "User", apiGroup: VIEW.apiGroup, name: `system:serviceaccount:${NAMESPACE}:${U}` };
  const group = { kind: "Group", apiGroup: VIEW.apiGroup, name: `system:serviceaccounts:${NAMESPACE}` };
  for (const subject of [ACCOUNT, user, group])
    for (const namespaced of [false, true]) await refused(...alien(subject, namespaced), /its own role and no other/);
  await asAdmin("POST", ...alien({ kind: "ServiceAccount", name: "default", namespace: "default" }));
});

test("what a worker does in earnest passes: all four objects, their changes and removal, slugs, five thousand groups, what others left behind", async () => {
  const passes = async (status: number, ...call: Parameters<typeof asWorker>): Promise<Bent> => {
    const answer = await asWorker(...call);
    assert.equal(answer.status, status, `${call[0]} ${call[1]}: ${answer.body.message}`);
    return answer.body;
  };
  const changed = async (path: string, bend: (object: Bent) => unknown): Promise<void> => {
    const object = await asAdmin("GET", path);
    bend(object);
    await passes(200, "PUT", path, object);
  };
  const [U_ROLE, U_ACCOUNT, U_BINDING] = [`${RBAC}/clusterroles/${U}`, `${HOME}/serviceaccounts/${U}`, `${RBAC}/clusterrolebindings/${U}`];
  const { metadata: account } = await asAdmin("GET", U_ACCOUNT);
  // Of another uid, the token controller would take it for a previous account's.
  const filled = made("u-ada", ({ metadata }) => (metadata.annotations["kubernetes.io/service-account.uid"] = account.uid)).secret();
  await passes(201, "POST", `${HOME}/secrets`, filled);
  await asAdmin("PATCH", U_ACCOUNT, { metadata: { labels: { "team.example.org/owner": "x" } } });
  // As somebody left it: without our label, or without our annotation.
  await asAdmin("PATCH", U_ROLE, { metadata: { labels: null } });
  await asAdmin("PATCH", U_BINDING, { metadata: { annotations: null } });
  await changed(U_ROLE, (object) => Object.assign(object, { metadata: { ...object.metadata, labels: made("u-ada").role().metadata.labels } }));
  await changed(U_BINDING, (object) => (object.metadata.annotations = { "understudy.io/user": "u-ada" }));
  await changed(U_ACCOUNT, (object) => (object.automountServiceAccountToken = false));
  await changed(`${HOME}/secrets/${U}-token-1`, ({ metadata }) => (metadata.labels["cattle.io/service-account.name"] = U));
  await passes(201, "POST", `${HOME}/serviceaccounts/${U}/token`, { spec: { expirationSeconds: 3600 } });
  await asAdmin("POST", `${HOME}/secrets`, {
    type: "kubernetes.io/service-account-token",
    metadata: { name: "stray", annotations: { "kubernetes.io/service-account.name": U } },
  });
  const many = Array.from({ length: 5000 }, (_, i) => `github_org://${String(i).padStart(100, "0")}`);
  for (const role of [made("ada@example.org").role(), made("u-many", undefined, many).role()])
    await passes(201, "POST", `${RBAC}/clusterroles?dryRun=All`, role);
  for (const path of [U_ROLE, U_BINDING, `${HOME}/secrets/stray`, `${HOME}/secrets/${U}-token-1`, U_ACCOUNT]) await passes(200, "DELETE", path);
});

test("other settings make another fence: open extras, groups of any form, other reserved names, no requested tokens", async () => {
  const settings = { UNDERSTUDY_PROFILE: "rancher", UNDERSTUDY_SOURCE: "logins", UNDERSTUDY_DENY_PREFIXES: 'corp\\"' };
  await apply(server, await manifestOf(settings));
  const dryRun = (object: Bent) => asWorker("POST", `${RBAC}/clusterroles?dryRun=All`, object);
  await waitUntil("the new fence is in force", async () => (await dryRun(made("u-new", undefined, ["admins"], "rancher").role())).status === 201);
  for (const [group, says] of [
    ['corp\\"x', /reserved names/],
    ["system:masters", /reserved names/],
  ] as const) {
    const { status, body } = await dryRun(made("u-new", undefined, [group], "rancher").role());
    assert.equal(status, 422);
    assert.match(body.message, says);
  }
  assert.equal((await dryRun(made("u-new", undefined, ["kubeadm:x"]).role())).status, 201);
  assert.equal((await dryRun(made("u-new", ({ rules }) => delete rules[0].resourceNames, [], "rancher").role())).status, 422);
  await waitUntil("no token may be asked for", async () => (await asWorker("POST", `${HOME}/serviceaccounts/${U}/token`, { spec: {} })).status === 403);
});

test("an API server with an audience of its own is told to bootstrap, and tokens for it may be asked for besides the usual ones", async () => {
  const ask = async (audience: string): Promise<number> => {
    const spec = { expirationSeconds: 3600, audiences: [audience] };
    return (await asWorker("POST", `${HOME}/serviceaccounts/${U}/token`, { spec })).status;
  };
  const { account } = made("u-ada");
  await asAdmin("POST", `${HOME}/serviceaccounts`, account());
  await apply(server, await manifestOf({ ...RANCHER, ...REQUEST }, ["--audience", "https://kube.example.org", "kube"]));
  for (const audience of ["https://kube.example.org", "kube", "https://kubernetes.default.svc"])
    await waitUntil(`a token for ${audience} may be asked for`, async () => (await ask(audience)) === 201);
  assert.equal(await ask("vault"), 422);
  await apply(server, await manifestOf({ ...RANCHER, ...REQUEST }));
  await waitUntil("none for its own audience any more", async () => (await ask("kube")) === 422);
  await asAdmin("DELETE", `${HOME}/serviceaccounts/${U}`);
});

test("applied again it changes nothing, for whoever applies it does not know what was applied before", async () => {
  const manifest = await manifestOf({ ...RANCHER, ...REQUEST });
  const lines = await apply(server, manifest);
  const paths = ["understudy-worker-fence", "understudy-namespace-guard", "understudy-binding-guard"].flatMap((name) =>
    ["validatingadmissionpolicies", "validatingadmissionpolicybindings"].map((kind) => `${POLICIES}/${kind}/${name}`),
  );
  const versions = () => Promise.all(paths.map(async (path) => (await asAdmin("GET", path)).metadata.generation as number));
  const earlier = await versions();
  const again = await apply(server, manifest);
  assert.equal(again.length, lines.length);
  for (const line of again) assert.match(line, / unchanged$/);
  assert.deepEqual(await versions(), earlier);
});

test("it needs neither Redis nor a cluster, names the cluster in comments only, and refuses what can be none", async () => {
  const [one, two] = await Promise.all([bootstrap(["--cluster", "c-one"]), bootstrap(["--cluster", "c-two"])]);
  assert.equal(one.code, 0);
  const bare = (text: string): string => text.replaceAll(/^#.*\n/gm, "");
  assert.equal(bare(one.stdout), bare(two.stdout));
  assert.match(two.stdout, /^# Understudy \S+ on cluster c-two: profile strict, source logins, tokens by secret\.$/m);
  const asJson = await bootstrap(["--cluster", "c-one", "--output", "json"]);
  assert.equal((JSON.parse(asJson.stdout) as { items: unknown[] }).items.length, bare(one.stdout).split("---\n").length - 1);
  for (const args of [[], ["--cluster", "C_One"], ["--cluster", "c-one\nkind: Namespace"]]) assert.equal((await bootstrap(args)).code, 2);
});

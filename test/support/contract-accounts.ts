// Contracts on accounts, their tokens, whom they may be, and the namespace that holds them.
import assert from "node:assert/strict";
import type { Server } from "./contract.ts";
import { BINDINGS, type Contract, DEADLINE, HOME, ROLES, type Seen, aRole, aSecret, anAccount, isGone, made, ownedBy, said } from "./contracts.ts";
import { waitUntil } from "./wait-until.ts";

const contracts: Contract[] = [];
const contract = (calls: Contract["calls"], title: string, act: Contract["act"]): void => void contracts.push({ calls, title, act });
const REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

contract(
  [
    "create namespaces",
    "create serviceaccounts",
    "create secrets",
    "get serviceaccounts",
    "get secrets",
    "delete secrets",
    "delete serviceaccounts",
    "update secrets",
    "get namespaces",
  ],
  "a token Secret is filled in, seen by who owns the field; one of an earlier account is deleted; and with its role everything goes",
  async (server) => {
    assert.deepEqual(said(await server.call("POST", "/api/v1/namespaces/nowhere/serviceaccounts", anAccount("one"))), {
      status: 404,
      reason: "NotFound",
    });
    assert.equal((await server.call("POST", "/api/v1/namespaces", { metadata: { name: "home" } })).status, 409);
    const role = await made(server, ROLES, aRole("owner"));
    const account = await made(
      server,
      `${HOME}/serviceaccounts`,
      anAccount("filled", ownedBy({ ...role, apiVersion: "rbac.authorization.k8s.io/v1" }, "ClusterRole")),
    );
    await made(server, `${HOME}/secrets`, aSecret("filled-token", account, ownedBy(account, "ServiceAccount")));
    const filled = await waitUntil(
      "it is filled",
      async () => {
        const { body } = await server.call("GET", `${HOME}/secrets/filled-token`);
        return body.data?.token && body;
      },
      DEADLINE,
    );
    assert.deepEqual(Object.keys(filled.data).sort(), ["ca.crt", "namespace", "token"]);
    assert.ok(
      filled.metadata.managedFields.some(({ fieldsV1 }: Seen) => fieldsV1["f:data"]?.["f:token"]),
      "without reading it",
    );
    const again = await server.call("PUT", `${HOME}/secrets/filled-token`, { ...filled, metadata: { ...filled.metadata, labels: { a: "b" } } });
    assert.equal(again.body.data.token, filled.data.token);
    await made(server, `${HOME}/secrets`, aSecret("earlier-token", { metadata: { name: "filled", uid: "00000000-0000-0000-0000-000000000000" } }));
    await isGone(server, `${HOME}/secrets/earlier-token`);
    assert.equal((await server.call("DELETE", `${ROLES}/owner`)).status, 200);
    await isGone(server, `${HOME}/serviceaccounts/filled`);
    await isGone(server, `${HOME}/secrets/filled-token`);
  },
);

contract(["create secrets"], "what is made for an owner that has gone is collected, and what is orphaned stays", async (server) => {
  const role = { apiVersion: "rbac.authorization.k8s.io/v1", ...(await made(server, ROLES, aRole("orphaner"))) };
  await made(server, `${HOME}/serviceaccounts`, anAccount("orphan", ownedBy(role, "ClusterRole")));
  // The collector orphans only what it has heard of: when a later one of nobody's is gone, it has.
  const nobody = { ...role, metadata: { ...role.metadata, uid: "00000000-0000-0000-0000-000000000000" } };
  await made(server, `${HOME}/serviceaccounts`, anAccount("ownerless", ownedBy(nobody, "ClusterRole")));
  await isGone(server, `${HOME}/serviceaccounts/ownerless`);
  assert.equal((await server.call("DELETE", `${ROLES}/orphaner`, { apiVersion: "v1", kind: "DeleteOptions", propagationPolicy: "Orphan" })).status, 200);
  await isGone(server, `${ROLES}/orphaner`);
  const { body } = await server.call("GET", `${HOME}/serviceaccounts/orphan`);
  assert.deepEqual(body.metadata.ownerReferences ?? [], []);
  await made(server, `${HOME}/serviceaccounts`, anAccount("late", ownedBy(role, "ClusterRole")));
  await isGone(server, `${HOME}/serviceaccounts/late`);
});

/** An account that may be u-ada with one group and one extra, and its token. */
async function impersonator(server: Server, name: string): Promise<{ token: string; secret: string }> {
  const rule = (resource: string, resourceName: string, apiGroup = "") => ({
    verbs: ["impersonate"],
    apiGroups: [apiGroup],
    resources: [resource],
    resourceNames: [resourceName],
  });
  const rules = [rule("users", "u-ada"), rule("groups", "team, 花"), rule("userextras/principalid", "github_user://1", "authentication.k8s.io")];
  await made(server, ROLES, { ...aRole(name), rules });
  const account = await made(server, `${HOME}/serviceaccounts`, anAccount(name));
  const subjects = [{ kind: "ServiceAccount", name, namespace: "home" }];
  await made(server, BINDINGS, { metadata: { name }, roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name }, subjects });
  await made(server, `${HOME}/secrets`, aSecret(`${name}-token`, account));
  const token = await waitUntil(
    "it is filled",
    async () => (await server.call("GET", `${HOME}/secrets/${name}-token`)).body.data?.token as string | undefined,
    DEADLINE,
  );
  return { token: Buffer.from(token, "base64").toString(), secret: `${HOME}/secrets/${name}-token` };
}
const reviewAs = (server: Server, token: string, headers: Record<string, string | string[]>) =>
  server.call("POST", REVIEWS, { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" }, { authorization: `Bearer ${token}`, ...headers });

contract(
  ["create selfsubjectreviews"],
  "a token may be just whom its role names, with just those groups and extras, and dies with its Secret",
  async (server) => {
    const { token, secret } = await impersonator(server, "ada");
    const herself = { "impersonate-user": "u-ada", "impersonate-group": ["team, 花"], "impersonate-extra-principalid": ["github_user://1"] };
    const { body } = await waitUntil(
      "it is in force",
      async () => {
        const answer = await reviewAs(server, token, herself);
        return answer.status === 201 && answer;
      },
      DEADLINE,
    );
    const { username, groups, extra } = body.status.userInfo;
    assert.deepEqual([username, groups, extra], ["u-ada", ["team, 花", "system:authenticated"], { principalid: ["github_user://1"] }]);
    for (const [header, value] of [
      ["impersonate-user", "u-bob"],
      ["impersonate-group", ["team, 花", "system:masters"]],
      ["impersonate-extra-principalid", ["github_user://2"]],
      ["impersonate-extra-other", ["github_user://1"]],
      ["impersonate-uid", "1"],
    ] as const)
      assert.deepEqual([header, (await reviewAs(server, token, { ...herself, [header]: value as string })).status], [header, 403]);
    assert.equal((await reviewAs(server, "nobody", {})).status, 401);
    assert.equal((await reviewAs(server, token, {})).body.status.userInfo.username, "system:serviceaccount:home:ada");
    await server.call("DELETE", secret);
    await waitUntil("the token is dead", async () => (await reviewAs(server, token, herself)).status === 401, DEADLINE);
  },
);

contract(["create serviceaccounts/token"], "a token may be asked for, says when it ends, and dies with its account", async (server) => {
  await made(server, `${HOME}/serviceaccounts`, anAccount("asked"));
  const ask = (name: string) => server.call("POST", `${HOME}/serviceaccounts/${name}/token`, { spec: { expirationSeconds: 3600 } });
  const { status, body } = await ask("asked");
  assert.equal(status, 201);
  assert.ok(Date.parse(body.status.expirationTimestamp) > Date.now());
  assert.equal((await reviewAs(server, body.status.token, {})).body.status.userInfo.username, "system:serviceaccount:home:asked");
  assert.equal((await ask("nobody")).status, 404);
  await server.call("DELETE", `${HOME}/serviceaccounts/asked`);
  await waitUntil("the token is dead", async () => (await reviewAs(server, body.status.token, {})).status === 401, DEADLINE);
});

contract(["create selfsubjectaccessreviews"], "whoever asks what they may do is told by the roles that bind them", async (server) => {
  const { token } = await impersonator(server, "asks");
  const may = async (resourceAttributes: object, authorization = `Bearer ${token}`) =>
    (await server.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", { spec: { resourceAttributes } }, { authorization })).body.status
      ?.allowed;
  await waitUntil("it is in force", () => may({ verb: "impersonate", resource: "users", name: "u-ada" }), DEADLINE);
  assert.equal(await may({ verb: "impersonate", resource: "users", name: "u-bob" }), false);
  assert.equal(await may({ verb: "get", resource: "secrets", namespace: "home" }), false);
  assert.equal(await may({ verb: "get", resource: "secrets", namespace: "home" }, `Bearer ${server.adminToken}`), true);
  assert.equal((await server.call("GET", `${HOME}/secrets`, undefined, { authorization: `Bearer ${token}` })).status, 403);
});

contract(["create serviceaccounts"], "a namespace that is being deleted takes nothing new, and goes with all that is in it", async (server) => {
  await made(server, "/api/v1/namespaces", { metadata: { name: "ending" } });
  await made(server, "/api/v1/namespaces/ending/secrets", { metadata: { name: "held", finalizers: ["test.understudy.io/hold"] }, type: "Opaque" });
  assert.equal((await server.call("DELETE", "/api/v1/namespaces/ending")).status, 200);
  const refused = await server.call("POST", "/api/v1/namespaces/ending/serviceaccounts", anAccount("late"));
  assert.deepEqual([refused.status, refused.body.details.causes[0].reason], [403, "NamespaceTerminating"]);
  await server.call("PATCH", "/api/v1/namespaces/ending/secrets/held", { metadata: { finalizers: null } });
  await isGone(server, "/api/v1/namespaces/ending");
});

export const onAccounts: readonly Contract[] = contracts;

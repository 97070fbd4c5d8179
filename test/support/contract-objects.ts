// Contracts on objects, lists and watches.
import assert from "node:assert/strict";
import { watchOf } from "./contract.ts";
import { BINDINGS, type Contract, HOME, RBAC, ROLES, type Seen, aRole, anAccount, made, said } from "./contracts.ts";

const contracts: Contract[] = [];
const contract = (calls: Contract["calls"], title: string, act: Contract["act"]): void => void contracts.push({ calls, title, act });
const METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

contract(["create clusterroles", "get clusterroles"], "a create answers 201 with uid and version, and a second one 409", async (server) => {
  const { metadata } = await made(server, ROLES, aRole("created"));
  assert.ok(metadata.uid && metadata.resourceVersion && metadata.creationTimestamp);
  assert.deepEqual(said(await server.call("POST", ROLES, aRole("created"))), { status: 409, reason: "AlreadyExists" });
  assert.deepEqual((await server.call("GET", `${ROLES}/created`)).body.metadata.uid, metadata.uid);
  assert.deepEqual(said(await server.call("GET", `${ROLES}/nobody`)), { status: 404, reason: "NotFound" });
});

contract(["create clusterroles dryRun"], "a dry run answers as the write would, and writes nothing", async (server) => {
  assert.equal((await server.call("POST", `${ROLES}?dryRun=All`, aRole("dry"))).status, 201);
  assert.equal((await server.call("GET", `${ROLES}/dry`)).status, 404);
});

contract(["update clusterroles"], "a change with an older version, or of another uid, is a conflict, and an equal one changes no version", async (server) => {
  const role = await made(server, ROLES, aRole("changed"));
  const path = `${ROLES}/changed`;
  assert.equal((await server.call("PUT", path, role)).body.metadata.resourceVersion, role.metadata.resourceVersion);
  const narrower = await server.call("PUT", path, { ...role, rules: [] });
  assert.equal(narrower.status, 200);
  assert.notEqual(narrower.body.metadata.resourceVersion, role.metadata.resourceVersion);
  assert.deepEqual(said(await server.call("PUT", path, { ...role, rules: [] })), { status: 409, reason: "Conflict" });
  const { resourceVersion: _, ...metadata } = narrower.body.metadata;
  assert.deepEqual(said(await server.call("PUT", path, { ...role, metadata: { ...metadata, uid: "00000000-0000-0000-0000-000000000000" } })), {
    status: 409,
    reason: "Conflict",
  });
});

contract(
  ["update clusterroles", "update serviceaccounts"],
  "a change of a role that is gone makes it anew unless it says the uid; of an account it is 404",
  async (server) => {
    const role = await made(server, ROLES, aRole("gone"));
    assert.equal((await server.call("DELETE", `${ROLES}/gone`)).status, 200);
    assert.deepEqual(said(await server.call("PUT", `${ROLES}/gone`, role)), { status: 409, reason: "Conflict" });
    const { uid: _, ...metadata } = role.metadata;
    assert.equal((await server.call("PUT", `${ROLES}/gone`, { ...role, metadata })).status, 201);
    assert.equal((await server.call("PUT", `${HOME}/serviceaccounts/gone`, anAccount("gone"))).status, 404);
  },
);

contract(["delete clusterroles"], "a delete holds to its uid and version, and of what is gone is 404", async (server) => {
  const role = await made(server, ROLES, aRole("deleted"));
  const { uid, resourceVersion } = role.metadata;
  const remove = (preconditions: object) => server.call("DELETE", `${ROLES}/deleted`, { apiVersion: "v1", kind: "DeleteOptions", preconditions });
  assert.deepEqual(said(await remove({ uid: "00000000-0000-0000-0000-000000000000" })), { status: 409, reason: "Conflict" });
  assert.equal((await server.call("PUT", `${ROLES}/deleted`, { ...role, rules: [] })).status, 200);
  assert.deepEqual(said(await remove({ uid, resourceVersion })), { status: 409, reason: "Conflict" });
  assert.equal((await remove({ uid })).status, 200);
  assert.equal((await remove({ uid })).status, 404);
});

contract(
  ["create clusterrolebindings", "get clusterrolebindings", "update clusterrolebindings", "delete clusterrolebindings"],
  "the roleRef of a binding cannot be changed, its subjects can",
  async (server) => {
    const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "view" };
    const binding = await made(server, BINDINGS, { metadata: { name: "fixed" }, roleRef, subjects: [] });
    assert.equal((await server.call("PUT", `${BINDINGS}/fixed`, { ...binding, roleRef: { ...roleRef, name: "edit" } })).status, 422);
    const subjects = [{ kind: "ServiceAccount", name: "one", namespace: "home" }];
    assert.deepEqual((await server.call("PUT", `${BINDINGS}/fixed`, { ...binding, subjects })).body.subjects, subjects);
    assert.equal((await server.call("GET", `${BINDINGS}/fixed`)).status, 200);
    assert.equal((await server.call("DELETE", `${BINDINGS}/fixed`)).status, 200);
  },
);

contract(
  [
    "list clusterroles labelSelector",
    "list clusterroles labelSelector continue",
    "list clusterroles",
    "list clusterrolebindings",
    "list clusterrolebindings labelSelector",
    "list serviceaccounts",
    "list serviceaccounts labelSelector",
    "list rolebindings",
  ],
  "a list is read in pages of one snapshot, and a label selects",
  async (server) => {
    const labels = { "test.understudy.io/page": "yes" };
    for (const name of ["page-1", "page-2", "page-3"]) await made(server, ROLES, aRole(name, { labels }));
    const selected = `${ROLES}?limit=2&labelSelector=${encodeURIComponent("test.understudy.io/page=yes")}`;
    const first = (await server.call("GET", selected)).body;
    assert.equal(first.kind, "ClusterRoleList");
    assert.deepEqual([first.items.length, first.items[0].kind], [2, undefined], "items of a list say no kind");
    await server.call("DELETE", `${ROLES}/page-3`);
    const second = (await server.call("GET", `${selected}&continue=${encodeURIComponent(first.metadata.continue)}`)).body;
    assert.deepEqual(
      second.items.map((item: Seen) => item.metadata.name),
      ["page-3"],
      "it was there when the list began",
    );
    assert.ok(!second.metadata.continue);
    assert.equal(second.metadata.resourceVersion, first.metadata.resourceVersion);
    for (const path of [
      ROLES,
      BINDINGS,
      `${BINDINGS}?labelSelector=a%3Db`,
      `${HOME}/serviceaccounts`,
      `${HOME}/serviceaccounts?labelSelector=a%3Db`,
      `${RBAC}/rolebindings`,
    ])
      assert.equal((await server.call("GET", path)).status, 200, path);
  },
);

contract(
  ["list secrets labelSelector", "list secrets metadata", "list secrets metadata labelSelector", "list secrets metadata fieldSelector"],
  "a list of Secrets may come without their contents, and their type selects",
  async (server) => {
    await made(server, `${HOME}/secrets`, { metadata: { name: "opaque", labels: { a: "b" } }, type: "Opaque", data: { key: "dmFsdWU=" } });
    const list = async (query: string, accept: string) => (await server.call("GET", `${HOME}/secrets${query}`, undefined, { accept })).body;
    const whole = await list("?labelSelector=a%3Db", "application/json");
    assert.equal(whole.items[0].data.key, "dmFsdWU=");
    for (const query of ["?labelSelector=a%3Db", "?fieldSelector=type%3DOpaque", ""]) {
      const { kind, items } = await list(query, METADATA_LIST);
      const found = items.find((item: Seen) => item.metadata.name === "opaque");
      assert.deepEqual([kind, Object.keys(found).sort()], ["PartialObjectMetadataList", ["apiVersion", "kind", "metadata"].filter((key) => key in found)]);
      assert.ok(!JSON.stringify(items).includes("dmFsdWU="));
    }
    const tokens = await list("?fieldSelector=type%3Dkubernetes.io%2Fservice-account-token", METADATA_LIST);
    assert.ok((tokens.items ?? []).every((item: Seen) => item.metadata.name !== "opaque"));
  },
);

contract(
  [
    "watch clusterroles labelSelector",
    "watch clusterrolebindings labelSelector",
    "watch serviceaccounts labelSelector",
    "watch secrets metadata",
    "watch secrets metadata labelSelector",
  ],
  "a watch goes on from a version, in order; what loses the label is deleted to it; and a bookmark comes before it ends",
  async (server) => {
    const labelSelector = "test.understudy.io/watch=yes";
    const labels = { "test.understudy.io/watch": "yes" };
    const { metadata } = (await server.call("GET", `${ROLES}?limit=1`)).body;
    await using watch = await watchOf(server, ROLES, {
      labelSelector,
      resourceVersion: metadata.resourceVersion,
      allowWatchBookmarks: "true",
      timeoutSeconds: "4",
    });
    assert.equal(watch.status, 200);
    await made(server, ROLES, aRole("unwatched"));
    const role = await made(server, ROLES, aRole("watched", { labels }));
    const changed = (await server.call("PUT", `${ROLES}/watched`, { ...role, rules: [] })).body;
    await server.call("PUT", `${ROLES}/watched`, { ...changed, metadata: { ...changed.metadata, labels: {} } });
    for (const type of ["ADDED", "MODIFIED", "DELETED"]) {
      const line = await watch.next();
      assert.deepEqual([line?.type, line?.object.metadata.name], [type, "watched"]);
    }
    // One or more, and then the time is over.
    const rest = await watch.rest();
    assert.ok(rest.length > 0 && rest.every(({ type, object }) => type === "BOOKMARK" && object.metadata.resourceVersion), JSON.stringify(rest));
    const query = { labelSelector, resourceVersion: metadata.resourceVersion };
    await using again = await watchOf(server, ROLES, query, METADATA);
    const line = await again.next();
    assert.deepEqual(
      [line?.type, line?.object.kind, line?.object.rules],
      ["ADDED", "PartialObjectMetadata", undefined],
      "what happened before it began is told",
    );
  },
);

contract(
  ["GET /version", "list users", "list userattributes", "list globalrolebindings", "list clusterroletemplatebindings", "list projectroletemplatebindings"],
  "Rancher's kinds are there on a management cluster, and a version",
  async (server) => {
    assert.match((await server.call("GET", "/version")).body.gitVersion, /^v1\.\d+/);
    for (const kind of ["users", "userattributes", "globalrolebindings", "clusterroletemplatebindings", "projectroletemplatebindings"])
      assert.deepEqual((await server.call("GET", `/apis/management.cattle.io/v3/${kind}?limit=500`)).body.items, [], kind);
  },
);

contract(
  ["watch users", "watch userattributes", "watch globalrolebindings", "watch clusterroletemplatebindings", "watch projectroletemplatebindings"],
  "a watch of all namespaces hears of each",
  async (server) => {
    const all = "/apis/management.cattle.io/v3/clusterroletemplatebindings";
    const { metadata } = (await server.call("GET", all)).body;
    await using watch = await watchOf(server, all, { resourceVersion: metadata.resourceVersion });
    await made(server, "/apis/management.cattle.io/v3/namespaces/home/clusterroletemplatebindings", {
      apiVersion: "management.cattle.io/v3",
      kind: "ClusterRoleTemplateBinding",
      metadata: { name: "heard" },
      clusterName: "home",
    });
    const line = await watch.next();
    assert.deepEqual([line?.type, line?.object.metadata.namespace, line?.object.clusterName], ["ADDED", "home", "home"]);
  },
);

contract(
  ["list clusterroles fieldSelector", "list clusterrolebindings fieldSelector", "list serviceaccounts fieldSelector"],
  "a list of one name holds that object alone, or nothing",
  async (server) => {
    const subjects = [{ kind: "Group", apiGroup: "rbac.authorization.k8s.io", name: "nobody" }];
    const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "one-name" };
    for (const [collection, rest] of [
      [ROLES, { rules: [] }],
      [BINDINGS, { roleRef, subjects }],
      [`${HOME}/serviceaccounts`, {}],
    ] as const) {
      for (const name of ["one-name", "one-name-more"]) await made(server, collection, { metadata: { name }, ...rest });
      const named = async (name: string): Promise<Seen[]> => (await server.call("GET", `${collection}?fieldSelector=metadata.name%3D${name}`)).body.items ?? [];
      assert.deepEqual(
        (await named("one-name")).map(({ metadata }) => metadata.name),
        ["one-name"],
      );
      assert.deepEqual(await named("nobody"), []);
    }
  },
);

contract(
  ["list namespaces metadata fieldSelector", "watch namespaces metadata fieldSelector"],
  "one object is followed by its name alone, until it has gone",
  async (server) => {
    const collection = "/api/v1/namespaces";
    await made(server, collection, { metadata: { name: "followed" } });
    await made(server, collection, { metadata: { name: "not-followed" } });
    const fieldSelector = "metadata.name=followed";
    const { body } = await server.call("GET", `${collection}?fieldSelector=${encodeURIComponent(fieldSelector)}`, undefined, { accept: METADATA_LIST });
    assert.deepEqual(
      body.items.map(({ metadata }: Seen) => metadata.name),
      ["followed"],
    );
    await using watch = await watchOf(server, collection, { fieldSelector, resourceVersion: body.metadata.resourceVersion }, METADATA);
    for (const name of ["not-followed", "followed"]) assert.equal((await server.call("DELETE", `${collection}/${name}`)).status, 200);
    const marked = await watch.next();
    assert.deepEqual([marked?.type, marked?.object.metadata.name, marked?.object.metadata.deletionTimestamp !== undefined], ["MODIFIED", "followed", true]);
    await watch.until(({ type }) => type === "DELETED");
  },
);

contract(["watch clusterroles labelSelector"], "a watch from a version that nobody remembers says 410", async (server) => {
  await using watch = await watchOf(server, ROLES, { resourceVersion: "1" });
  if (watch.status === 410) return;
  const line = await watch.next();
  // A real server may still know it: then it tells of what came after.
  assert.ok(line?.type === "ERROR" ? line.object.code === 410 : line?.type === "ADDED", JSON.stringify(line));
});

export const onObjects: readonly Contract[] = contracts;

// kubectl on a simulated cluster, as somebody who looks at the demo and breaks things types it.
import assert from "node:assert/strict";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type Server, startSim } from "../support/contract.ts";
import { type Account, type Ran, startKubectl } from "../support/kubectl.ts";

const stack = new AsyncDisposableStack();
let server: Server;
let admin: Account;
before(async () => {
  const folder = stack.adopt(await mkdtemp(join(tmpdir(), "understudy-kubectl-")), (path) => rm(path, { recursive: true, force: true }));
  server = stack.use(await startSim({ name: "c-amber" }));
  admin = { folder, url: server.url, ca: server.ca, token: server.adminToken };
});
after(() => stack.disposeAsync());

async function kubectl(...of: Parameters<typeof startKubectl>): Promise<Ran> {
  const { out, ended } = await startKubectl(...of);
  return { code: await ended, ...out };
}
async function done(args: readonly string[], input = "", settings: Readonly<Record<string, string>> = {}): Promise<string> {
  const { code, stdout, stderr }: Ran = await kubectl(admin, args, input, settings);
  assert.equal(code, 0, `kubectl ${args.join(" ")}: ${stderr}`);
  return stdout;
}
const ROLE = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: tried, labels: { a: b } }
rules: [{ verbs: [get], apiGroups: [""], resources: [pods] }]
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: tried, namespace: default }
`;

test("what is made from a file is got, listed by its label, edited, and deleted", async () => {
  assert.equal(await done(["create", "-f", "-"], ROLE), "clusterrole.rbac.authorization.k8s.io/tried created\nserviceaccount/tried created\n");
  assert.match((await kubectl(admin, ["create", "-f", "-"], ROLE)).stderr, /AlreadyExists/);
  assert.match(await done(["get", "clusterroles", "-l", "a=b"]), /^NAME +AGE\ntried +\d+s\n$/);
  assert.match(await done(["get", "sa", "tried", "-o", "yaml"]), /^kind: ServiceAccount$/m);
  const editor = join(admin.folder, "editor");
  await writeFile(editor, `#!/bin/sh\nsed -i 's/- pods/- secrets/' "$1"\n`);
  await chmod(editor, 0o755);
  assert.equal(await done(["edit", "clusterrole", "tried"], "", { KUBE_EDITOR: editor }), "clusterrole.rbac.authorization.k8s.io/tried edited\n");
  assert.equal(await done(["get", "clusterrole", "tried", "-o", "jsonpath={.rules[0].resources[0]}"]), "secrets");
  await done(["label", "clusterrole", "tried", "a-"]);
  assert.equal(await done(["get", "clusterroles", "-l", "a=b", "-o", "name"]), "");
  assert.match(await done(["delete", "clusterrole", "tried"]), /deleted/);
  assert.match(await done(["delete", "sa", "tried", "-n", "default"]), /deleted/);
  assert.match((await kubectl(admin, ["get", "clusterrole", "tried"])).stderr, /NotFound/);
});

test("kubectl learns who it is, and which kinds there are", async () => {
  assert.match(await done(["auth", "whoami"]), /system:masters/);
  assert.match(await done(["api-resources"]), /^clusterrolebindings +rbac\.authorization\.k8s\.io\/v1 +false +ClusterRoleBinding$/m);
  assert.match((await kubectl({ ...admin, token: "nobody" }, ["get", "secrets"])).stderr, /Unauthorized|must be logged in/);
});

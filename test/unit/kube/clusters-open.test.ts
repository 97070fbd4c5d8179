// Which sources of kubeconfigs the settings name, and what is said when they cannot be used.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openClusters } from "../../../shared/kube/clusters-open.ts";
import { configFrom } from "../../../shared/run/config.ts";

const folder = await mkdtemp(join(tmpdir(), "understudy-open-"));
after(() => rm(folder, { recursive: true }));
const broken = join(folder, "broken.yaml");
await writeFile(broken, "[c4nary]");

const problemsOf = (environment: Readonly<Record<string, string>>): string => {
  const read = configFrom(environment);
  return "problems" in read ? read.problems.join("; ") : "";
};
const open = (environment: Readonly<Record<string, string>>) => {
  const read = configFrom(environment);
  assert.ok("config" in read);
  return openClusters(read.config, "test");
};

test("Secrets need the management kubeconfig whatever the source, because that is the cluster they are on", () => {
  const secrets = { UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE: "fleet" };
  for (const source of [{}, { UNDERSTUDY_SOURCE: "logins" }])
    assert.match(
      problemsOf({ ...secrets, ...source }),
      /^UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE: it needs UNDERSTUDY_MANAGEMENT_KUBECONFIG, whatever the source$/,
    );
  assert.equal(problemsOf({ ...secrets, UNDERSTUDY_SOURCE: "logins", UNDERSTUDY_MANAGEMENT_KUBECONFIG: broken }), "");
});

for (const namespace of ["fleet-", "-fleet", "fleet.one", "a/b", "..", "x".repeat(64), "fleet?limit=1"]) {
  test(`${namespace.slice(0, 12)} is no namespace, because it would be another path of the API`, () =>
    assert.match(
      problemsOf({ UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE: namespace, UNDERSTUDY_MANAGEMENT_KUBECONFIG: broken }),
      /^UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE: up to 63 [^;]+$/,
    ));
}

test("without a folder and without Secrets one line names both settings, because either will do", async () => {
  await assert.rejects(open({}), /^Error: UNDERSTUDY_CLUSTERS_DIR: set it to .*, or UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE to [^\n]*$/);
});

test("a management kubeconfig that cannot be used is fatal for whoever reads Secrets with it, and named without what it holds", async () => {
  for (const [path, problem] of [
    [broken, /: it cannot be read as a kubeconfig/],
    [join(folder, "nowhere.yaml"), /ENOENT/],
  ] as const)
    await assert.rejects(open({ UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE: "fleet", UNDERSTUDY_MANAGEMENT_KUBECONFIG: path }), ({ message }: Error) => {
      assert.ok(message.startsWith(`UNDERSTUDY_MANAGEMENT_KUBECONFIG (${path})`), message);
      assert.match(message, problem);
      return !message.includes("c4nary");
    });
});

test("a folder that cannot be read is fatal, beside Secrets too, because without it their clusters would be somebody else's", async () => {
  await assert.rejects(open({ UNDERSTUDY_CLUSTERS_DIR: join(folder, "nowhere") }), /^Error: UNDERSTUDY_CLUSTERS_DIR: .*nowhere cannot be read \(ENOENT\)$/);
});

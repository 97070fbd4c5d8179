// A folder of kubeconfigs: one client an id, whatever else lies there.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { FolderSource } from "../../../shared/kube/clusters-folder.ts";
import { Clusters } from "../../../shared/kube/clusters.ts";

const kubeconfig = (host: string): string =>
  JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "main",
    clusters: [{ name: "c", cluster: { server: `https://${host}:6443`, "certificate-authority-data": Buffer.from("ca").toString("base64") } }],
    users: [{ name: "u", user: { token: "t0ken" } }],
    contexts: [{ name: "main", context: { cluster: "c", user: "u" } }],
  });

/** A folder with kubeconfigs of these hosts, and the clusters that were read from it once. */
async function folderOf(context: TestContext, files: Readonly<Record<string, string>>) {
  const folder = await mkdtemp(join(tmpdir(), "understudy-clusters-"));
  context.after(() => rm(folder, { recursive: true }));
  const put = (file: string, text: string) => writeFile(join(folder, file), text);
  for (const [file, host] of Object.entries(files)) await put(file, kubeconfig(host));
  const clusters = await new Clusters([new FolderSource(folder)], { allow: [], userAgent: "test" }).load();
  context.after(() => clusters[Symbol.asyncDispose]());
  const heard: string[] = [];
  clusters.listen({
    onAppeared: ({ cluster }) => void heard.push(`appeared ${cluster}`),
    onChanged: ({ cluster }) => void heard.push(`changed ${cluster}`),
    onGone: (cluster) => void heard.push(`gone ${cluster}`),
    onProblem: (file) => void heard.push(`problem ${file}`),
  });
  return { clusters, heard, put, remove: (file: string) => rm(join(folder, file)) };
}

test("the second of two files for one cluster is a problem and never its client, because they would take turns at every look", async (context) => {
  const { clusters, heard } = await folderOf(context, { "c-one": "first", "c-one.yaml": "second" });
  const client = clusters.get("c-one");
  assert.equal(client?.server, "https://first:6443");
  assert.deepEqual([...clusters.problems()], [["c-one.yaml", "c-one is of cluster c-one too, and comes first; remove one"]]);
  await clusters.load();
  assert.equal(clusters.get("c-one"), client);
  assert.deepEqual(heard, ["appeared c-one", "problem c-one.yaml"], "it is said once, and nothing else changes");
});

test("the problem of a second file ends with either of the two, because the one that is left is plain", async (context) => {
  for (const [gone, left, changes] of [
    ["c-one.yaml", "first", []],
    ["c-one", "second", ["changed c-one"]],
  ] as const) {
    const { clusters, heard, remove } = await folderOf(context, { "c-one": "first", "c-one.yaml": "second" });
    heard.length = 0;
    await remove(gone);
    await clusters.load();
    assert.deepEqual([clusters.get("c-one")?.server, [...clusters.problems()], heard], [`https://${left}:6443`, [], changes]);
  }
});

test("a broken file that is put back as it was is no problem any more, because its client never went", async (context) => {
  const { clusters, put } = await folderOf(context, { "c-one.yaml": "first" });
  const client = clusters.get("c-one");
  await put("c-one.yaml", "no kubeconfig");
  await clusters.load();
  assert.deepEqual([[...clusters.problems().keys()], clusters.get("c-one")], [["c-one.yaml"], client]);
  await put("c-one.yaml", kubeconfig("first"));
  await clusters.load();
  assert.deepEqual([[...clusters.problems()], clusters.get("c-one")], [[], client]);
});

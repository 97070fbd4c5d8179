// Secrets of the management cluster with a kubeconfig each: what is taken, what is refused and by which words, and that nothing but a whole list or an event takes one away.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { KubernetesObject, V1Secret } from "@kubernetes/client-node";
import { ClusterClient, type List, type WatchEvent } from "../../../shared/kube/client.ts";
import { FolderSource } from "../../../shared/kube/clusters-folder.ts";
import { SecretsSource } from "../../../shared/kube/clusters-secrets.ts";
import { Clusters } from "../../../shared/kube/clusters.ts";
import { ApiError } from "../../../shared/kube/errors.ts";
import { waitUntil } from "../../support/wait-until.ts";

const PLACE = "Secret fleet/c-one, key kubeconfig";
const SOURCE = "UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE (fleet)";

function kubeconfig(host: string, { cluster = {}, user = { token: "t0ken" } }: { cluster?: object; user?: object } = {}): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "main",
    clusters: [{ name: "c", cluster: { server: `https://${host}:6443`, "certificate-authority-data": Buffer.from("ca").toString("base64"), ...cluster } }],
    users: [{ name: "u", user }],
    contexts: [{ name: "main", context: { cluster: "c", user: "u" } }],
  });
}
const secret = (name: string, text: string | undefined, key = "kubeconfig"): V1Secret => ({
  metadata: { name, resourceVersion: "2" },
  ...(text === undefined ? {} : { data: { [key]: Buffer.from(text).toString("base64") } }),
});
const refusal = (status: number, reason: string): ApiError =>
  new ApiError({ cluster: "management", method: "GET", path: "/api/v1/namespaces/fleet/secrets" }, { status, reason });

/** A management cluster in memory: what a list answers, or throws; events that its watch is handed; errors that end a watch. */
class Management extends ClusterClient {
  answers: () => readonly V1Secret[] = () => [];
  readonly asked: string[] = [];
  readonly #events: (WatchEvent | ApiError)[] = [];
  #wake: () => void = () => undefined;

  constructor() {
    super("management", { server: "https://127.0.0.1:1", tls: {}, proxyUrl: undefined, authorize: async () => ({}) }, "test");
  }
  override async list<T extends KubernetesObject>(path: string, query: Readonly<Record<string, string | number | undefined>> = {}): Promise<List<T>> {
    this.asked.push(`list ${path} ${JSON.stringify(query)}`);
    return { items: [...this.answers()] as KubernetesObject[] as T[], resourceVersion: "7" };
  }
  override async *watch(_path: string, resourceVersion: string, _options: unknown, signal: AbortSignal): AsyncGenerator<WatchEvent> {
    this.asked.push(`watch ${resourceVersion}`);
    signal.addEventListener("abort", () => this.#wake());
    while (!signal.aborted) {
      const event = this.#events.shift();
      if (event instanceof ApiError) throw event;
      if (event) yield event;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
  say(event: WatchEvent["type"] | ApiError, object?: V1Secret): void {
    this.#events.push(event instanceof ApiError ? event : { type: event, object: object as KubernetesObject });
    this.#wake();
  }
}

/** Secrets of the namespace `fleet`, loaded once, beside a folder with these files if there are any. */
async function secretsOf(context: TestContext, list: () => readonly V1Secret[], files?: Readonly<Record<string, string>>) {
  const management = new Management();
  management.answers = list;
  const folder = await mkdtemp(join(tmpdir(), "understudy-secrets-"));
  context.after(() => rm(folder, { recursive: true }));
  for (const [file, host] of Object.entries(files ?? {})) await writeFile(join(folder, file), kubeconfig(host));
  const sources = [...(files ? [new FolderSource(folder)] : []), new SecretsSource(management, "fleet")];
  const clusters = await new Clusters(sources, { allow: [], userAgent: "test" }).load();
  context.after(() => clusters[Symbol.asyncDispose]());
  const heard: string[] = [];
  clusters.listen({
    onAppeared: ({ cluster, server }) => void heard.push(`appeared ${cluster} ${new URL(server).hostname}`),
    onChanged: ({ cluster, server }) => void heard.push(`changed ${cluster} ${new URL(server).hostname}`),
    onGone: (cluster) => void heard.push(`gone ${cluster}`),
    onProblem: (place, problem) => void heard.push(`${place}: ${problem}`),
  });
  return {
    management,
    clusters,
    heard,
    hears: (line: string | RegExp) =>
      waitUntil(`somebody hears ${String(line)}: ${heard.join("; ")}`, () => heard.some((one) => (typeof line === "string" ? one === line : line.test(one)))),
    removeFile: (file: string) => rm(join(folder, file)),
  };
}

test("the convention of SIG multicluster-runtime is followed: the label, the key and the name", async (context) => {
  const { management, clusters } = await secretsOf(context, () => [secret("c-one", kubeconfig("one")), secret("c-two", kubeconfig("two"))]);
  assert.deepEqual(management.asked, ['list /api/v1/namespaces/fleet/secrets {"labelSelector":"sigs.k8s.io/multicluster-runtime-kubeconfig=true"}']);
  assert.deepEqual([clusters.ids(), clusters.get("c-two")?.server, [...clusters.problems()]], [["c-one", "c-two"], "https://two:6443", []]);
});

const more = [
  ["exec", /an exec plugin/, { user: { exec: { apiVersion: "client.authentication.k8s.io/v1", command: "c4nary" } } }],
  ["authProvider", /an authProvider/, { user: { "auth-provider": { name: "c4nary", config: {} } } }],
  ["files", /a file path \(.*tokenFile\)/, { user: { tokenFile: "/c4nary" } }],
  ["insecure", /insecure-skip-tls-verify/, { cluster: { "insecure-skip-tls-verify": true, "certificate-authority-data": undefined } }],
  ["proxy", /proxy-url/, { cluster: { "proxy-url": "http://c4nary:3128" } }],
  ["http", /a server that is not https:/, { cluster: { server: "http://c4nary:8080" } }],
] as const;
for (const [allowance, what, parts] of more) {
  test(`a kubeconfig in a Secret may use ${allowance} only where a setting allows it, because who may write Secrets must not run programs or read files here`, async (context) => {
    const { clusters } = await secretsOf(context, () => [secret("c-one", kubeconfig("one", parts))]);
    const [[place, problem] = ["", ""], ...others] = clusters.problems();
    assert.deepEqual([clusters.ids(), place, others], [[], PLACE, []]);
    assert.match(problem, new RegExp(`^${what.source}.* is refused \\(UNDERSTUDY_KUBECONFIG_ALLOW=${allowance} would allow it\\)$`));
    assert.ok(!problem.includes("c4nary"));
  });
}

const unusable: readonly (readonly [what: string, secret: V1Secret, place: string, problem: RegExp])[] = [
  ["without data", secret("c-one", undefined), PLACE, /^the Secret has no such key, or nothing in it$/],
  ["with its kubeconfig under another key", secret("c-one", kubeconfig("one"), "value"), PLACE, /^the Secret has no such key/],
  ["with an empty key", secret("c-one", ""), PLACE, /^the Secret has no such key/],
  ["with what is no kubeconfig", secret("c-one", "{ c4nary"), PLACE, /^it cannot be read as a kubeconfig: it is not YAML$/],
  ["whose name is no cluster id", secret("x".repeat(64), kubeconfig("one")), `Secret fleet/${"x".repeat(64)}, key kubeconfig`, /^its name is no cluster id/],
];
for (const [what, one, place, problem] of unusable) {
  test(`a Secret ${what} is one problem line and no cluster`, async (context) => {
    const { clusters, heard } = await secretsOf(context, () => [one]);
    assert.deepEqual([clusters.ids(), [...clusters.problems().keys()], heard.length], [[], [place], 1]);
    assert.match(clusters.problems().get(place)!, problem);
  });
}

test("a Secret that appears, changes, breaks and goes while running does what a file does", async (context) => {
  const { management, clusters, heard, hears } = await secretsOf(context, () => []);
  clusters.follow();
  management.say("ADDED", secret("c-one", kubeconfig("one")));
  await hears("appeared c-one one");
  management.say("MODIFIED", secret("c-one", kubeconfig("next")));
  await hears("changed c-one next");
  const client = clusters.get("c-one");
  management.say("MODIFIED", secret("c-one", undefined));
  await hears(/^Secret fleet\/c-one, key kubeconfig: the Secret has no such key/);
  assert.equal(clusters.get("c-one"), client, "the old client goes on");
  management.say("MODIFIED", secret("c-one", kubeconfig("next")));
  management.say("DELETED", secret("c-one", kubeconfig("next")));
  await hears("gone c-one");
  assert.deepEqual([clusters.ids(), [...clusters.problems()], heard.length], [[], [], 4]);
  assert.deepEqual(management.asked.slice(1), ["watch 7"], "the first list is not asked for twice");
});

test("a watch or a list that fails takes no cluster away, and is said once; the next whole list decides", async (context) => {
  let answer = (): readonly V1Secret[] => [secret("c-one", kubeconfig("one")), secret("c-two", kubeconfig("two"))];
  const { management, clusters, heard, hears } = await secretsOf(context, () => answer());
  clusters.follow();
  answer = () => {
    throw refusal(500, "InternalError");
  };
  heard.length = 0;
  management.say(refusal(410, "Expired"));
  await waitUntil("it was listed again and again", () => management.asked.filter((call) => call.startsWith("list")).length > 2);
  assert.deepEqual([clusters.ids(), heard], [["c-one", "c-two"], [`${SOURCE}: GET /api/v1/namespaces/fleet/secrets on cluster management: 500 InternalError`]]);
  answer = () => [secret("c-two", kubeconfig("two"))];
  await hears("gone c-one");
  assert.deepEqual([clusters.ids(), [...clusters.problems()], heard.length], [["c-two"], [], 2]);
});

const startless: readonly (readonly [what: string, error: Error, says: RegExp])[] = [
  ["is away", refusal(0, "ECONNREFUSED"), /: no answer ECONNREFUSED$/],
  [
    "refuses",
    refusal(403, "Forbidden"),
    /^grant the account of UNDERSTUDY_MANAGEMENT_KUBECONFIG list and watch on secrets in namespace fleet of the management cluster$/,
  ],
  ["is something else", new SyntaxError("Unexpected token '<', \"<p>c4nary\" is not valid JSON"), /^what answers there is no Kubernetes API server/],
];
for (const [what, error, says] of startless) {
  test(`a management cluster that ${what} at the start stops nobody from starting: it is said, and followed until it lists`, async (context) => {
    let answer = (): readonly V1Secret[] => {
      throw error;
    };
    const { clusters, hears, heard } = await secretsOf(context, () => answer(), { "c-two.yaml": "two" });
    assert.deepEqual([clusters.ids(), [...clusters.problems().keys()]], [["c-two"], [SOURCE]]);
    assert.match(clusters.problems().get(SOURCE)!, says);
    assert.ok(!heard.join().includes("c4nary"));
    answer = () => [secret("c-one", kubeconfig("one"))];
    clusters.follow();
    await hears("appeared c-one one");
    assert.deepEqual([clusters.ids(), [...clusters.problems()]], [["c-one", "c-two"], []]);
  });
}

test("where a file and a Secret are of one cluster the file is used and the Secret is a problem, said once, and takes over when the file goes", async (context) => {
  const secrets = [secret("c-one", kubeconfig("secret"))];
  const { management, clusters, heard, hears, removeFile } = await secretsOf(context, () => secrets, { "c-one.yaml": "file" });
  const said = `${PLACE}: c-one.yaml is of cluster c-one too, and comes first; remove one`;
  assert.deepEqual(heard, ["appeared c-one file", said]);
  clusters.follow();
  management.say("MODIFIED", secret("c-one", kubeconfig("other")));
  management.say("ADDED", secret("c-two", kubeconfig("two")));
  await hears("appeared c-two two");
  assert.deepEqual([clusters.get("c-one")?.server, heard.filter((line) => line === said).length], ["https://file:6443", 1]);
  await removeFile("c-one.yaml");
  await hears("changed c-one other");
  assert.deepEqual([clusters.get("c-one")?.server, [...clusters.problems()]], ["https://other:6443", []]);
  assert.ok(!heard.includes("gone c-one"), "nobody waits in between");
});

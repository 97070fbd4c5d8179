// `cleanup --stale-secrets` as a person runs it, with the account of `bootstrap` behind its fence, on a real API server: only what an account does not name goes, and nothing without --yes.
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { spawn } from "node:child_process";
import { after, before, beforeEach, test } from "node:test";
import { type ApiServer, startApiServer } from "../apiserver/start.ts";
import { bootstrapped, manifestOf } from "../support/bootstrapped.ts";
import { type FaultProxy, startFaultProxy } from "../support/fault-proxy.ts";
import { CLI } from "../support/house.ts";
import { NAMESPACE, actAs, callsSince, tokenOf, writesOf } from "../support/impersonator.ts";
import { collect } from "../support/kubectl.ts";
import { makeRanchers, ranchersObjects } from "../support/rancher-impersonator.ts";
import type { Body } from "../support/vandal.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const DEADLINE = { deadlineMs: 60_000 };
const SECRETS = `/api/v1/namespaces/${NAMESPACE}/secrets`;
const REF = "rancher.io/service-account.secret-ref";
const nameOf = (user: string): string => `cattle-impersonation-${user}`;

const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());
let server: ApiServer;
let proxy: FaultProxy;
let env: Record<string, string>;
before(async () => {
  server = await startApiServer({ name: "cleanup" });
  cleanup.defer(() => server.stop());
  const { kubeconfig } = await bootstrapped(server, await manifestOf());
  proxy = await startFaultProxy({ url: server.url, ca: server.ca, tls: server.serving });
  cleanup.defer(() => proxy.stop());
  const clusters = join(server.dir, "clusters");
  await mkdir(clusters);
  await writeFile(join(clusters, `${CLUSTER}.yaml`), kubeconfig.replaceAll(server.url, proxy.url));
  env = { PATH: process.env["PATH"]!, UNDERSTUDY_CLUSTERS_DIR: clusters };
});
beforeEach(() => proxy.setRule(undefined));

interface Row {
  readonly cluster: string;
  readonly stale: number | null;
  readonly orphans: number | null;
  readonly deleted: number;
  readonly left: readonly { readonly kind: string; readonly name: string; readonly reason: string }[];
  readonly reason: string;
}
function start(...args: readonly string[]) {
  const child = spawn(process.execPath, [CLI, "cleanup", ...args], { env, cwd: server.dir, stdio: ["ignore", "pipe", "pipe"] });
  const out = collect(child);
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  return { child, ended: ended.then((code) => ({ code, ...out })) };
}
async function rowOf({ ended }: ReturnType<typeof start>): Promise<Row & { readonly code: number | null }> {
  const { code, stdout, stderr } = await ended;
  assert.deepEqual([stdout.slice(0, 1), stderr], ["{", ""]);
  return { code, ...(JSON.parse(stdout) as { clusters: Row[] }).clusters[0]! };
}
const clean = (...args: readonly string[]) => rowOf(start("--cluster", CLUSTER, "--output", "json", ...args));
const DELETE = ["--stale-secrets", "--yes", "--rate", "999"];

/** Duplicates as Rancher made them: of one account, each with a token of its own. */
async function duplicate(user: string, count: number, name = (i: number): string => `${nameOf(user)}-token-d${i}`): Promise<void> {
  const { body: account } = await server.call("GET", `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/${nameOf(user)}`);
  const secret = ranchersObjects(user).secret(account);
  const make = async (i: number) =>
    assert.equal((await server.call("POST", SECRETS, { ...secret, metadata: { ...secret.metadata, name: name(i) } })).status, 201);
  for (let from = 0; from < count; from += 50) await Promise.all(Array.from({ length: Math.min(50, count - from) }, (_, i) => make(from + i)));
}
async function secretsOf(user: string): Promise<Body[]> {
  const { body } = await server.call("GET", `${SECRETS}?limit=0`);
  return body.items.filter(({ metadata }: Body) => metadata.annotations?.["kubernetes.io/service-account.name"] === nameOf(user));
}
const namesOf = async (user: string): Promise<string[]> => (await secretsOf(user)).map(({ metadata }) => String(metadata.name)).sort();
const named = (user: string): string => `${nameOf(user)}-token-x7k2p`;
const actsAs = async (token: string, user: string): Promise<number> => (await actAs(server, token, { user })).status;
const annotate = async (user: string, annotations: Readonly<Record<string, string>>) =>
  assert.equal(
    (
      await server.call(
        "PATCH",
        `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/${nameOf(user)}`,
        { metadata: { annotations } },
        { "content-type": "application/merge-patch+json" },
      )
    ).status,
    200,
  );

test("a dry run counts and writes nothing; an interrupted run says how far it came, and the next one goes on; the named token works throughout", async () => {
  await makeRanchers(server, "u-rex");
  const token = await tokenOf(server, "u-rex");
  await waitUntil("the named token works", async () => (await actsAs(token, "u-rex")) === 201, DEADLINE);
  await duplicate("u-rex", 300);
  const { position } = await callsSince(server, 0);
  const dry = await clean();
  assert.deepEqual([dry.code, dry.stale, dry.orphans, dry.deleted, dry.left], [0, 300, 0, 0, []]);
  assert.deepEqual(writesOf((await callsSince(server, position)).calls), []);

  const running = start("--cluster", CLUSTER, "--output", "json", "--stale-secrets", "--yes", "--rate", "100");
  await waitUntil("some have gone", async () => (await secretsOf("u-rex")).length <= 280, DEADLINE);
  running.child.kill("SIGINT");
  const stopped = await rowOf(running);
  assert.equal(stopped.code, 1);
  assert.match(stopped.reason, /^stopped before its end; run it again to go on$/);
  assert.ok(stopped.deleted >= 20 && stopped.deleted < 300, `${stopped.deleted} deleted`);
  assert.equal((await secretsOf("u-rex")).length, 301 - stopped.deleted);

  const rest = await clean(...DELETE);
  assert.deepEqual([rest.code, rest.stale, rest.orphans, rest.deleted], [0, 300 - stopped.deleted, null, 300 - stopped.deleted]);
  assert.deepEqual(await namesOf("u-rex"), [named("u-rex")]);
  assert.equal(await actsAs(token, "u-rex"), 201);
  assert.deepEqual([(await clean()).stale, (await clean(...DELETE)).deleted], [0, 0]);
});

test("an account that names no Secret, or one that is missing, and accounts and Secrets of others are left alone, because any guess might end the token in use", async () => {
  await makeRanchers(server, "u-old", { ref: false });
  await makeRanchers(server, "u-lost");
  await annotate("u-lost", { [REF]: `${NAMESPACE}/${nameOf("u-lost")}-token-gone` });
  await makeRanchers(server, "u-theirs");
  await annotate("u-theirs", { "understudy.io/install": "another", "understudy.io/user": "u-theirs" });
  await makeRanchers(server, "u-hand");
  for (const user of ["u-old", "u-lost", "u-theirs"]) await duplicate(user, 2);
  await duplicate("u-hand", 1, () => "made-by-hand");
  const stood = await Promise.all(["u-old", "u-lost", "u-theirs", "u-hand"].map(namesOf));
  const { code, stale, deleted, left } = await clean(...DELETE);
  assert.deepEqual([code, stale, deleted], [0, 0, 0]);
  assert.deepEqual(left.map(({ kind, name, reason }) => `${kind} ${name}: ${reason}`).sort(), [
    `ServiceAccount ${nameOf("u-lost")}: the token Secret that it names is not there, so that nobody can know which one is in use`,
    `ServiceAccount ${nameOf("u-old")}: it names none of its 3 token Secrets, so that nobody can know which one is in use`,
    `ServiceAccount ${nameOf("u-theirs")}: the account belongs to somebody else`,
  ]);
  assert.deepEqual(await Promise.all(["u-old", "u-lost", "u-theirs", "u-hand"].map(namesOf)), stood);
});

test("a Secret that its account has come to name since the lists is not touched, because the account is asked again right before", async () => {
  await makeRanchers(server, "u-moved");
  await duplicate("u-moved", 2);
  const chosen = `${nameOf("u-moved")}-token-d0`;
  const listed = Promise.withResolvers<void>();
  const moved = Promise.withResolvers<void>();
  proxy.setRule(({ method, path }) => {
    if (method !== "GET" || !path.endsWith(`/serviceaccounts/${nameOf("u-moved")}`)) return undefined;
    listed.resolve();
    return { hold: moved.promise };
  });
  const running = clean(...DELETE);
  await listed.promise;
  await annotate("u-moved", { [REF]: `${NAMESPACE}/${chosen}` });
  moved.resolve();
  const { stale, deleted } = await running;
  assert.deepEqual([stale, deleted], [2, 1]);
  assert.deepEqual(await namesOf("u-moved"), [chosen, named("u-moved")].sort());
});

test("a Secret that was made anew under its name is not touched, because a delete carries the uid that was listed", async () => {
  await makeRanchers(server, "u-anew");
  await duplicate("u-anew", 1);
  const name = `${nameOf("u-anew")}-token-d0`;
  const sent = Promise.withResolvers<void>();
  const remade = Promise.withResolvers<void>();
  proxy.setRule(({ method }) => {
    if (method !== "DELETE") return undefined;
    sent.resolve();
    return { hold: remade.promise };
  });
  const running = clean(...DELETE);
  await sent.promise;
  assert.equal((await server.call("DELETE", `${SECRETS}/${name}`)).status, 200);
  await duplicate("u-anew", 1);
  remade.resolve();
  // The one that u-moved named before is stale as well, and goes.
  const { code, stale, deleted } = await running;
  assert.deepEqual([code, deleted], [0, stale! - 1]);
  assert.deepEqual(await namesOf("u-anew"), [name, named("u-anew")].sort());
});

test("a server that asks for a pause gets it, and then what it refused, because 429 is no failure", async () => {
  await makeRanchers(server, "u-busy");
  await duplicate("u-busy", 5);
  const refused = new Set<string>();
  proxy.clear();
  proxy.setRule(({ method, path }) => {
    if (method !== "DELETE" || refused.size === 2 || refused.has(path)) return undefined;
    refused.add(path);
    return { answer: 429, headers: { "retry-after": "1" } };
  });
  const { code, deleted } = await clean(...DELETE);
  // One of the test before is stale still, and goes as well.
  assert.deepEqual([code, deleted >= 5, await namesOf("u-busy")], [0, true, [named("u-busy")]]);
  assert.equal(refused.size, 2);
  for (const path of refused) assert.equal(proxy.seen.filter((call) => call.method === "DELETE" && call.path === path).length, 2);
});

test("what does not go together is refused before anything is asked: 2", async () => {
  for (const args of [["--yes"], ["--allow", CLUSTER, "--yes"], ["--rate", "0"], ["--cluster", "c-none"]]) {
    const { code, stdout } = await start(...args).ended;
    assert.deepEqual([code, stdout], [2, ""], args.join(" "));
  }
});

// `make demo`: people, bindings and logins on three real API servers that live as long as it runs. The one file of the product that imports from test/.
import { readFileSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import closeWithGrace from "close-with-grace";
import { withoutSecrets } from "../../shared/run/log.ts";
import { type ApiServer, assets, startApiServer } from "../../test/apiserver/start.ts";
import { DEV_FOLDER } from "../settings.ts";
import { Tally, play } from "./acts.ts";
import { refuseSecond } from "./dev-file.ts";
import { runDev } from "./dev.ts";
import { SAMPLE, apiVersionOf, collectionOf } from "./sample.ts";
import { sentence, whenSettled } from "./settled.ts";

const STOP_MS = 28_000;
const SETTLE_MS_MAX = 60_000;
const CLUSTERS = ["c-amber", "c-birch"] as const;
const CLUSTERS_FOLDER = join(DEV_FOLDER, "clusters");
const MANAGEMENT = join(DEV_FOLDER, "management.yaml");
const say = (line: string): void => void process.stdout.write(`${line}\n`);

interface Servers {
  readonly management: ApiServer;
  readonly downstream: readonly ApiServer[];
}

/** Sets up, plays, and stays until Ctrl-C unless `once`. Returns whether every answer was the promised one. */
async function demo(running: AsyncDisposableStack, once: boolean): Promise<boolean> {
  refuseSecond();
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
  const servers = await startServers(running);
  await writeKubeconfigs(servers, running);
  await createSample(servers.management);
  const environment = {
    ...(await listeners()),
    LOG_LEVEL: process.env["LOG_LEVEL"],
    UNDERSTUDY_CLUSTERS_DIR: CLUSTERS_FOLDER,
    UNDERSTUDY_MANAGEMENT_KUBECONFIG: MANAGEMENT,
  };
  const began = performance.now();
  const dev = running.use(await runDev({ environment, version, output: "text" }));
  const { ledger, clusters, addresses, config } = dev;
  const tally = new Tally(say);
  await play(
    {
      management: servers.management.call,
      amber: servers.downstream[0]!.call,
      clusters,
      ledger,
      hook: addresses.hook,
      secret: config.hookSecrets[0]!,
      began,
      say,
    },
    tally,
  );
  const { summary } = await whenSettled(ledger, clusters, { began, waitMs: SETTLE_MS_MAX });
  say(`\n${sentence(summary)}; ${tally.kept} of ${tally.asked} answers were the promised ones`);
  if (!once) await whereToLook(addresses.dashboard);
  return tally.kept === tally.asked && summary.ready === summary.subjects;
}

async function startServers(running: AsyncDisposableStack): Promise<Servers> {
  say(`starting real Kubernetes API servers: management, ${CLUSTERS.join(", ")} (etcd, kube-apiserver and kube-controller-manager each)`);
  const began = performance.now();
  const start = async (name: string, crds: boolean): Promise<ApiServer> => {
    const server = await startApiServer({ name, crds });
    running.defer(() => server.stop());
    return server;
  };
  // All of them, so that each that did start is stopped when one did not.
  const [management, ...downstream] = (await Promise.allSettled([start("management", true), ...CLUSTERS.map((name) => start(name, false))])).map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
  say(`they answer after ${((performance.now() - began) / 1000).toFixed(1)} s\n`);
  return { management: management!, downstream };
}

/** Understudy gets its least rights on each downstream cluster; the administrators' are for looking with kubectl. */
async function writeKubeconfigs({ management, downstream }: Servers, running: AsyncDisposableStack): Promise<void> {
  await rm(CLUSTERS_FOLDER, { recursive: true, force: true });
  await mkdir(CLUSTERS_FOLDER, { recursive: true, mode: 0o700 });
  const files: [string, string][] = [[MANAGEMENT, management.kubeconfig]];
  for (const server of downstream) {
    files.push(
      [join(CLUSTERS_FOLDER, `${server.name}.yaml`), await server.workerKubeconfig()],
      [join(DEV_FOLDER, `admin-${server.name}.yaml`), server.kubeconfig],
    );
  }
  running.defer(async () => {
    for (const [path] of files) await rm(path, { force: true });
    await rm(CLUSTERS_FOLDER, { recursive: true, force: true });
  });
  for (const [path, text] of files) await writeFile(path, text, { mode: 0o600 });
}

async function createSample(management: ApiServer): Promise<void> {
  for (const object of SAMPLE) {
    const { status, body } = await management.call("POST", collectionOf(object), { apiVersion: apiVersionOf(object), ...object });
    if (status !== 201) throw new Error(`create ${object.kind} ${object.metadata.name}: ${status} ${String(body.message)}`);
  }
  const counts = Map.groupBy(SAMPLE, ({ kind }) => kind);
  say(`created on the management cluster: ${[...counts].map(([kind, { length }]) => `${length} ${kind}`).join(", ")}\n`);
}

/** The usual ports, or any where one is taken. Settings of whoever runs this are left alone: the demo must not work on their clusters. */
async function listeners(): Promise<Record<string, string>> {
  const usual = { UNDERSTUDY_HOOK_LISTEN: 8400, UNDERSTUDY_DASHBOARD_LISTEN: 8401, UNDERSTUDY_OPS_LISTEN: 8402 };
  const entries = Object.entries(usual).map(async ([name, port]) => [name, `127.0.0.1:${(await isFree(port)) ? port : 0}`] as const);
  return Object.fromEntries(await Promise.all(entries));
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}

async function whereToLook(dashboard: string): Promise<void> {
  const [kubectl, management] = [join(await assets(), "kubectl"), MANAGEMENT];
  for (const line of [
    "\nEverything keeps running; changes are printed as they happen. In another terminal, in this folder:",
    `  ${dashboard}   (the page; /queues: the queues)`,
    "  npx understudy status",
    "  npx understudy verify --cluster c-amber --user u-ada",
    `  ${kubectl} --kubeconfig ${join(DEV_FOLDER, "admin-c-amber.yaml")} get clusterroles -l authz.cluster.cattle.io/impersonator=true`,
    `  ${kubectl} --kubeconfig ${management} delete clusterroletemplatebindings -n c-birch crtb-cleo   (and watch her go here)`,
    "Ctrl-C stops everything.\n",
  ])
    say(line);
}

const running = new AsyncDisposableStack();
// Not on `beforeExit`: it would make every exit code 0.
closeWithGrace({ delay: STOP_MS, logger: false, skip: ["beforeExit"] }, async ({ err }) => {
  if (err) process.stderr.write(`demo: ${withoutSecrets(err.message)}\n`);
  await running.disposeAsync();
});
try {
  const once = process.argv.includes("--once");
  const kept = await demo(running, once);
  if (once) {
    await running.disposeAsync();
    process.exitCode = kept ? 0 : 1;
  }
} catch (error) {
  // Whatever was under way when a signal came fails; the signal's own handler ends the process.
  if (!running.disposed) {
    process.stderr.write(`demo: ${withoutSecrets(error instanceof Error ? error.message : String(error))}\n`);
    await running.disposeAsync();
    process.exitCode = 1;
  }
}

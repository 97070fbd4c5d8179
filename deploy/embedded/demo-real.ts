// `make demo-real`: the demo on real API servers that live as long as it runs. The one file of the product that imports from test/.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import closeWithGrace from "close-with-grace";
import { withoutSecrets } from "../../shared/run/log.ts";
import { type ApiServer, assets, startApiServer } from "../../test/apiserver/start.ts";
import { playDemo } from "./demo.ts";
import { refuseSecond } from "./dev-file.ts";
import { freePorts } from "./dev-simulated.ts";
import type { Fleet, Origin } from "./fleet.ts";
import { openFleet } from "./fleet.ts";
import { SAMPLE } from "./sample.ts";

const STOP_MS = 28_000;
const CLUSTERS = ["c-amber", "c-birch", "c-cedar"] as const;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** Sets up, plays, and stays until Ctrl-C unless `once`. Returns whether every answer was the promised one. */
async function demo(running: AsyncDisposableStack, once: boolean): Promise<boolean> {
  refuseSecond();
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
  const fleet = await startFleet(running);
  // Settings of whoever runs this are left alone: the demo must not work on their clusters.
  const environment = { ...(await freePorts()), LOG_LEVEL: process.env["LOG_LEVEL"] };
  const kubectl = join(await assets(), "kubectl");
  const { kept, next } = await playDemo({ fleet, sample: SAMPLE, environment, version, simulated: false, kubectl, say }, running);
  if (!once) for (const line of next) say(line);
  return kept;
}

async function startFleet(running: AsyncDisposableStack): Promise<Fleet> {
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
  const ofAdmin = (server: ApiServer): Origin => ({ ...server, kubeconfig: async (url) => server.kubeconfig.replace(server.url, url) });
  const ofWorker = (server: ApiServer): Origin => ({ ...server, kubeconfig: (url) => server.workerKubeconfig(url) });
  return openFleet(ofAdmin(management!), downstream.map(ofWorker), running);
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

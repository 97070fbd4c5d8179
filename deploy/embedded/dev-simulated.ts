// `dev` without settings: the demo on simulated clusters, which also is what `dev` is when there is nothing to run on.
import { createServer } from "node:net";
import { refuseSecond } from "./dev-file.ts";
import type { DevOptions } from "./dev.ts";
import { type Environment, withAnyPort } from "./dev-settings.ts";
import { allReady, playDemo } from "./demo.ts";
import { clusterOf } from "./cast.ts";
import { SAMPLE, type SampleObject } from "./sample.ts";
import { readSample } from "./sample-file.ts";
import { startSimFleet } from "./sim-fleet.ts";

const CLUSTERS = ["c-amber", "c-birch", "c-cedar"] as const;

/** Plays, and stays until a signal; with `once` ends and sets the exit code. @throws UsageError for a sample that cannot be read. */
export async function startSimulated({ environment, version, once, output, sample: file, onStop }: DevOptions): Promise<void> {
  refuseSecond();
  const sample = file === undefined ? SAMPLE : readSample(file);
  await using started = new AsyncDisposableStack();
  const say = output === "json" ? () => undefined : (line: string): void => void process.stdout.write(`${line}\n`);
  const tokenMode = environment["UNDERSTUDY_TOKEN_MODE"] === "request" ? "request" : "secret";
  const fleet = await startSimFleet(clustersIn(sample), tokenMode, started);
  const listeners = once ? withAnyPort(environment) : { ...(await freePorts()), ...environment };
  const { dev, summary, behind, kept, next } = await playDemo(
    { fleet, sample, environment: listeners, version, simulated: true, kubectl: "kubectl", say },
    started,
  );
  if (output === "json")
    process.stdout.write(`${JSON.stringify(once ? summary : { pid: process.pid, clusters: dev.clusters, addresses: dev.addresses }, undefined, 2)}\n`);
  for (const { cluster, user, state, reason } of behind) process.stderr.write(`understudy: ${cluster}/${user} is ${state}${reason && `: ${reason}`}\n`);
  if (once) {
    process.exitCode = kept && allReady(summary) ? 0 : 1;
    return;
  }
  for (const line of next) say(line);
  onStop(started.move(), dev.log);
}

/** Three, and each that a binding names. */
const clustersIn = (sample: readonly SampleObject[]): string[] => [...new Set([...CLUSTERS, ...sample.flatMap((object) => clusterOf(object) ?? [])])];

/** The usual ports, or any where one is taken. */
export async function freePorts(): Promise<Environment> {
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

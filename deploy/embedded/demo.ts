// The demo: `dev` on a fleet of its own, simulated or real, with people and bindings, and a story that is told as it happens.
import { performance } from "node:perf_hooks";
import { nameOf } from "../../shared/names.ts";
import { play } from "./acts.ts";
import { type Cast, castFrom } from "./cast.ts";
import { runDev } from "./dev.ts";
import type { Dev, Environment } from "./dev-settings.ts";
import { FLEET_SETTINGS, type Fleet, createSample, kubeconfigPath } from "./fleet.ts";
import type { SampleObject } from "./sample.ts";
import { Tally } from "./stage.ts";
import { type Settled, type Summary, sentence, whenSettled } from "./settled.ts";

const SETTLE_MS_MAX = 60_000;

export interface DemoOptions {
  readonly fleet: Fleet;
  readonly sample: readonly SampleObject[];
  readonly environment: Environment;
  readonly version: string;
  readonly simulated: boolean;
  /** `kubectl`, or where it is. */
  readonly kubectl: string;
  readonly say: (line: string) => void;
}
export interface Played extends Settled {
  readonly dev: Dev;
  /** Every answer was the promised one, and everybody who should be is ready. */
  readonly kept: boolean;
  /** What there is to do now. */
  readonly next: readonly string[];
}

/** Brings the sample in, starts everything, and plays. All of it ends with `running`. */
export async function playDemo({ fleet, sample, environment, version, simulated, kubectl, say }: DemoOptions, running: AsyncDisposableStack): Promise<Played> {
  await createSample(fleet, sample);
  const began = performance.now();
  const dev = running.use(await runDev({ environment: { ...environment, ...FLEET_SETTINGS }, version, output: "text", simulated, say }));
  const cast = castFrom(sample, dev.config.globalRoles);
  const tally = new Tally(say);
  const { ledger, addresses, config } = dev;
  await play({ fleet, cast, ledger, hook: addresses.hook, secret: config.hookSecrets[0]!, began, say }, tally);
  const settled = await whenSettled(
    ledger,
    fleet.downstream.map(({ name }) => name),
    { began, waitMs: SETTLE_MS_MAX },
  );
  say(`\n${sentence(settled.summary)}; ${tally.kept} of ${tally.asked} answers were the promised ones`);
  const kept = tally.kept === tally.asked && allReady(settled.summary);
  return { ...settled, dev, kept, next: nextSteps(dev, cast, kubectl) };
}

export const allReady = ({ ready, subjects }: Summary): boolean => ready === subjects;

/** One line each to look, to ask, to break and to log in. */
function nextSteps({ addresses, clusters, config }: Dev, { proof, drift, login }: Cast, kubectl: string): string[] {
  const asked = proof ?? { cluster: clusters[0] ?? "", user: "u-ada" };
  const broken = drift ?? asked;
  const said = JSON.stringify({ user: (login ?? asked).user, provider: "github", groups: ["github_org://1815", "github_team://1"] });
  return [
    "\nEverything keeps running; changes are printed as they happen. In another terminal, in this folder:",
    `  look    ${addresses.dashboard}`,
    `  ask     npx understudy explain --cluster ${asked.cluster} --user ${asked.user}`,
    `  break   ${kubectl} --kubeconfig ${kubeconfigPath(broken.cluster)} delete clusterrole ${nameOf(broken.user)}`,
    `  log in  curl -s -X POST '${addresses.hook}/v1/logins?wait=5' -H 'authorization: Bearer ${config.hookSecrets[0]}' -d '${said}'`,
    "Ctrl-C stops everything.\n",
  ];
}

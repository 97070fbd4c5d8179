// Starts simulated clusters: one like a Rancher management server's, and the downstream ones, where Understudy has the account and the rights that `bootstrap` prints.
import type { V1Secret } from "@kubernetes/client-node";
import type { TokenMode } from "../../shared/decide/objects.ts";
import { tokenIn } from "../../shared/kube/token.ts";
import { WORKER, account, namespaces } from "../bootstrap/rbac.ts";
import type { Ask } from "./answers.ts";
import { until } from "./answers.ts";
import type { Fleet, Origin } from "./fleet.ts";
import { kubeconfigText, openFleet } from "./fleet.ts";
import { KUBERNETES, prefixOf } from "./sim/resources.ts";
import { SimCluster } from "./sim/server.ts";

/** All of it ends with `running`. */
export async function startSimFleet(names: readonly string[], tokenMode: TokenMode, running: AsyncDisposableStack): Promise<Fleet> {
  const start = async (name: string, rancher: boolean): Promise<Origin> => {
    const sim = running.use(await SimCluster.start({ name, rancher }));
    const { url, ca, adminToken } = sim;
    const tokenFor = rancher ? async () => adminToken : (ask: Ask) => workerToken(ask, tokenMode);
    return { name, url, ca, adminToken, kubeconfig: async (through, ask) => kubeconfigText(sim, through, await tokenFor(ask)) };
  };
  const [management, ...downstream] = await Promise.all([start("management", true), ...names.map((name) => start(name, false))]);
  return openFleet(management, downstream, running);
}

/** Applies what `bootstrap` prints, but for the fence: there are no admission policies here. */
async function workerToken(ask: Ask, tokenMode: TokenMode): Promise<string> {
  for (const { object } of [...namespaces(), ...account(tokenMode)]) {
    const resource = KUBERNETES.find(({ kind }) => kind === object.kind)!;
    const scope = object.metadata?.namespace === undefined ? "" : `/namespaces/${object.metadata.namespace}`;
    const { status } = await ask("POST", `${prefixOf(resource)}${scope}/${resource.plural}`, object);
    if (status !== 201) throw new Error(`create ${object.kind} ${object.metadata?.name}: ${status}`);
  }
  const path = `/api/v1/namespaces/${WORKER.namespace}/secrets/${WORKER.name}`;
  const secret = await until(
    async () => (await ask("GET", path)).body as V1Secret,
    (seen) => tokenIn(seen) !== undefined,
  );
  const token = tokenIn(secret);
  if (token === undefined) throw new Error(`Secret ${WORKER.name} was not filled`);
  return token;
}

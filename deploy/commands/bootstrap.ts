// `bootstrap`: prints what an administrator applies to a cluster once, as YAML. Calls no cluster and no Redis: the same settings print the same.
import { stringify } from "yaml";
import type { Config } from "../../shared/run/config.ts";
import { workerFence } from "../bootstrap/fence.ts";
import { guards } from "../bootstrap/guards.ts";
import type { Part } from "../bootstrap/rbac.ts";
import { WORKER, account, namespaces } from "../bootstrap/rbac.ts";
import { clusterFrom } from "./ids.ts";
import type { Answer } from "./output.ts";

/** What API servers call themselves: kubeadm's and upstream's, and with them those of k3s and RKE2. */
const AUDIENCES = ["https://kubernetes.default.svc.cluster.local", "https://kubernetes.default.svc", "k3s", "rke2"];

interface Options {
  readonly cluster?: string;
  readonly audience?: readonly string[];
  readonly kubeconfig?: boolean;
}

/** @throws UsageError for an id that no cluster can have. */
export async function bootstrap(config: Config, options: Options, version: string): Promise<Answer> {
  const cluster = clusterFrom(options);
  if (options.kubeconfig) return { json: { script: KUBECONFIG_SCRIPT }, text: KUBECONFIG_SCRIPT, exitCode: 0 };
  const { audience = [] } = options;
  // The fence before the account that it holds back.
  const parts = [...namespaces(), ...workerFence({ ...config, audiences: [...audience, ...AUDIENCES] }), ...guards(), ...account(config.tokenMode)];
  const yaml = [headOf(config, cluster, version), ...parts.map(documentOf)].join("---\n");
  return { json: { apiVersion: "v1", kind: "List", items: parts.map(({ object }) => object) }, text: yaml.trimEnd(), exitCode: 0 };
}

/** For a shell where kubectl is the administrator's: prints a kubeconfig, once the token controller has filled the Secret. */
const KUBECONFIG_SCRIPT = `set -eu
secret() { kubectl get secret ${WORKER.name} -n ${WORKER.namespace} -o jsonpath="{.data.$1}"; }
token=$(secret token)
for _ in $(seq 60); do
  [ -z "$token" ] || break
  sleep 1
  token=$(secret token)
done
[ -n "$token" ] || { echo "the Secret ${WORKER.name} in ${WORKER.namespace} has no token yet: see that kube-controller-manager runs, and try again" >&2; exit 1; }
server=$(kubectl config view --minify -o jsonpath='{.clusters[0].cluster.server}')
ca=$(secret 'ca\\.crt')
token=$(echo "$token" | base64 -d)
cat <<END
apiVersion: v1
kind: Config
current-context: worker
clusters: [{name: it, cluster: {server: "$server", certificate-authority-data: $ca}}]
contexts: [{name: worker, context: {cluster: it, user: worker}}]
users: [{name: worker, user: {token: $token}}]
END`;

/** A comment above each object that needs one; expressions as the lines that they are written in. */
const documentOf = ({ why, object }: Part): string => (why === "" ? "" : `# ${why}\n`) + stringify(object, { lineWidth: 0, blockQuote: "literal" });

function headOf({ profile, source, tokenMode }: Config, cluster: string, version: string): string {
  const lines = [
    `Understudy ${version} on cluster ${cluster}: profile ${profile}, source ${source}, tokens by ${tokenMode}.`,
    "An administrator of that cluster (Kubernetes 1.30 or newer) applies it:",
    `  npx understudy bootstrap --cluster ${cluster} | kubectl apply -f -`,
    "Applied again it changes nothing. Apply it again after a new version, and with other settings.",
    "",
    "Then the kubeconfig of its account, for UNDERSTUDY_CLUSTERS_DIR (without `| sh` it shows the commands):",
    `  npx understudy bootstrap --cluster ${cluster} --kubeconfig | sh > ${cluster}.yaml`,
    "and what it may do, and whether the fence is on:  npx understudy check",
  ];
  return lines.map((line) => `# ${line}`.trimEnd() + "\n").join("");
}

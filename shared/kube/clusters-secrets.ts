// Kubeconfigs from Secrets of the management cluster, by the convention of SIG multicluster-runtime's kubeconfig provider: a label, the key
// `kubeconfig`, and the Secret's name as the cluster's id. Only a whole list or a watch event takes one away; a lost connection never does.
import type { V1Secret } from "@kubernetes/client-node";
import { withoutSecrets } from "../run/log.ts";
import type { ClusterClient, List } from "./client.ts";
import type { ClusterSource, Offer, Tell } from "./clusters.ts";
import { ApiError, isStatus } from "./errors.ts";
import { follow } from "./watch.ts";

const LABELLED = { labelSelector: "sigs.k8s.io/multicluster-runtime-kubeconfig=true" };
const KEY = "kubeconfig";
/** A process starts without a management cluster that is away: the watch brings what it has once it is back. */
const LOAD_MS = 5_000;

/** The client is its own from now on, and closed with it. */
export class SecretsSource implements ClusterSource {
  readonly name: string;
  readonly #client: ClusterClient;
  readonly #namespace: string;
  readonly #path: string;
  #offers = new Map<string, Offer>();
  #from: string | undefined;
  readonly #end = new AbortController();
  #following: Promise<void> = Promise.resolve();

  constructor(client: ClusterClient, namespace: string) {
    this.name = secretsName(namespace);
    this.#client = client;
    this.#namespace = namespace;
    this.#path = `/api/v1/namespaces/${namespace}/secrets`;
  }

  async load(tell: Tell): Promise<void> {
    let list: List<V1Secret>;
    try {
      list = await this.#client.list(this.#path, LABELLED, undefined, AbortSignal.timeout(LOAD_MS));
    } catch (error) {
      return tell.trouble(this.#whyNot(error));
    }
    await this.#onList(list, tell);
    this.#from = list.resourceVersion;
  }

  follow(tell: Tell): void {
    const stream = {
      path: this.#path,
      query: LABELLED,
      ...(this.#from === undefined ? {} : { from: this.#from }),
      onList: (list: List<V1Secret>) => this.#onList(list, tell),
      onEvent: (type: string, secret: V1Secret) => this.#onEvent(type, secret, tell),
      onAlive: () => tell.trouble(undefined),
      // Versions grow too old in the best of days.
      onRetry: (error: unknown) => void (isStatus(error, 410) || tell.trouble(this.#whyNot(error))),
    };
    this.#following = follow<V1Secret>(this.#client, stream, this.#end.signal);
  }

  #onList({ items }: List<V1Secret>, tell: Tell): Promise<void> {
    this.#offers = new Map(items.map((secret) => this.#offerOf(secret)));
    return tell.all(this.#offers);
  }
  #onEvent(type: string, secret: V1Secret, tell: Tell): Promise<void> {
    const [place, offer] = this.#offerOf(secret);
    if (type === "DELETED") this.#offers.delete(place);
    else this.#offers.set(place, offer);
    return tell.all(this.#offers);
  }

  /** Its place names the key, so that whoever reads of it knows where to look. */
  #offerOf({ metadata, data }: V1Secret): [string, Offer] {
    const cluster = metadata?.name ?? "";
    const base64 = data?.[KEY];
    const place = `Secret ${this.#namespace}/${cluster}, key ${KEY}`;
    return [
      place,
      { cluster, ...(base64 ? { text: Buffer.from(base64, "base64").toString("utf8") } : { problem: "the Secret has no such key, or nothing in it" }) },
    ];
  }

  /** The next move, and never the answer: that may hold anything. */
  #whyNot(error: unknown): string {
    if (isStatus(error, 403)) return grantFor(this.#namespace);
    if (error instanceof ApiError) return error.message;
    if (error instanceof SyntaxError) return "what answers there is no Kubernetes API server; look at the server in UNDERSTUDY_MANAGEMENT_KUBECONFIG";
    return `the kubeconfig of UNDERSTUDY_MANAGEMENT_KUBECONFIG gives no credentials (${withoutSecrets(error instanceof Error ? error.message : String(error))})`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.#following;
    await this.#client.close();
  }
}

/** The source itself, where it is the problem. */
export const secretsName = (namespace: string): string => `UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE (${namespace})`;

/** What to do where a right is missing. */
export const grantFor = (namespace: string): string =>
  `grant the account of UNDERSTUDY_MANAGEMENT_KUBECONFIG list and watch on secrets in namespace ${namespace} of the management cluster`;

// A house whose clusters stand behind fault proxies, and traps there that stop one call of one user: how a worker is paused or killed at an exact
// call, from outside the product.
import type { ApiServer } from "../apiserver/start.ts";
import { nameOf } from "../../shared/names.ts";
import { type FaultProxy, type RequestSeen, type Verdict, startFaultProxy } from "./fault-proxy.ts";
import { House, type HouseOptions, type Process } from "./house.ts";
import { waitUntil } from "./wait-until.ts";

/** `POST ClusterRole`, `GET Secret`, `LIST Secret`, `POST Review`, … */
export type CallName = `${"GET" | "LIST" | "POST" | "PUT" | "DELETE"} ${"ClusterRole" | "ClusterRoleBinding" | "ServiceAccount" | "Secret" | "Review"}`;

export interface Trap {
  /** Waits until such a call is held, and says which process sent it (User-Agent). */
  caught(deadlineMs?: number): Promise<string>;
  /** Lets it go on; it is forwarded even when its sender is dead. */
  release(): void;
}
interface Rule {
  readonly user: string;
  readonly call: CallName | undefined;
  readonly from: ((agent: string) => boolean) | undefined;
  left: number;
  act(request: RequestSeen): Verdict;
}
/** A call that a worker made for a user. */
export interface Passed {
  readonly user: string;
  readonly call: CallName;
  readonly agent: string;
  readonly body: string;
  /** ms, monotonic */
  readonly at: number;
}

/** The traps of one cluster. */
export class Traps {
  readonly proxy: FaultProxy;
  /** Every call for a user that came, in order, held ones included. */
  readonly calls: Passed[] = [];
  readonly #rules: Rule[] = [];
  readonly #users = new Map<string, string>();
  #everything: ((request: RequestSeen) => Verdict) | undefined;

  private constructor(proxy: FaultProxy) {
    this.proxy = proxy;
    proxy.setRule((request) => this.#judge(request));
  }
  static async before(server: ApiServer): Promise<Traps> {
    return new Traps(await startFaultProxy({ url: server.url, ca: server.ca, tls: server.serving }));
  }

  /** Holds the next such call: `before` it is forwarded, or `after`, when the server has done it and only the answer is kept back. */
  hold(user: string, call: CallName, when: "before" | "after" = "before", from?: Rule["from"]): Trap {
    const released = Promise.withResolvers<void>();
    let agent: string | undefined;
    this.#add(user, call, 1, from, (request) => {
      agent = request.userAgent;
      return when === "before" ? { hold: released.promise } : { forwardThen: released.promise };
    });
    return {
      caught: (deadlineMs = 30_000) => waitUntil(`${call} of ${user} is held`, () => agent, { deadlineMs }),
      release: released.resolve,
    };
  }

  /** Gives this verdict to the next `times` such calls; without `call` to all calls of the user. Returns how to end it. */
  give(user: string, call: CallName | undefined, verdict: (request: RequestSeen) => Verdict, times = Number.POSITIVE_INFINITY): () => void {
    return this.#add(user, call, times, undefined, verdict);
  }

  /** Gives this verdict to every request that no other rule is for, watches and lists of everything too; undefined = none any more. */
  giveAll(verdict: ((request: RequestSeen) => Verdict) | undefined): void {
    this.#everything = verdict;
  }

  /** The calls for one user, in order. */
  of(user: string): Passed[] {
    return this.calls.filter((passed) => passed.user === user);
  }

  #add(user: string, call: CallName | undefined, times: number, from: Rule["from"], act: Rule["act"]): () => void {
    this.#users.set(nameOf(user), user);
    const rule: Rule = { user, call, from, left: times, act };
    this.#rules.push(rule);
    return () => void (rule.left = 0);
  }

  #judge(request: RequestSeen): Verdict {
    const named = namedCall(request);
    if (!named) return this.#everything?.(request);
    const user = this.#users.get(named.name) ?? named.name.replace(/^cattle-impersonation-/, "");
    const { call } = named;
    const { userAgent: agent, body } = request;
    this.calls.push({ user, call, agent, body, at: performance.now() });
    const rule = this.#rules.find((one) => one.left > 0 && one.user === user && (one.call === undefined || one.call === call) && (one.from?.(agent) ?? true));
    if (!rule) return this.#everything?.(request);
    rule.left -= 1;
    return rule.act(request);
  }
}

const KINDS: Readonly<Record<string, string>> = {
  clusterroles: "ClusterRole",
  clusterrolebindings: "ClusterRoleBinding",
  serviceaccounts: "ServiceAccount",
  secrets: "Secret",
  selfsubjectreviews: "Review",
};

/** Which call of which subject a request is; undefined for lists and watches of all of them. */
function namedCall({ method, path, url, body, impersonateUser }: RequestSeen): { name: string; call: CallName } | undefined {
  const [, resource = "", object] = /\/(\w+)(?:\/([^/]+))?$/.exec(path.replace(/^(\/api\/v1|\/apis\/[^/]+\/v1)(\/namespaces\/[^/]+)?/, "")) ?? [];
  const kind = KINDS[resource];
  if (kind === undefined) return undefined;
  if (kind === "Review") return { name: nameOf(impersonateUser ?? ""), call: "POST Review" };
  const withoutNonce = (name: string): string => name.replace(/-token-[0-9a-f]{10}$/, "");
  if (object !== undefined) return { name: withoutNonce(object), call: `${method} ${kind}` as CallName };
  if (method === "POST") return { name: withoutNonce((JSON.parse(body) as { metadata: { name: string } }).metadata.name), call: `POST ${kind}` as CallName };
  const selected = /service-account\.name=([^&,]+)/.exec(decodeURIComponent(url))?.[1];
  return selected === undefined ? undefined : { name: selected, call: `LIST ${kind}` as CallName };
}

export interface TrappedHouse extends AsyncDisposable {
  readonly house: House;
  /** The proxy that producers reach the management cluster through. */
  readonly management: Traps | undefined;
  at(cluster: string): Traps;
}

export interface TrappedHouseOptions extends HouseOptions {
  /** What a cluster's proxy does from the first request on. */
  readonly before?: (traps: Traps, cluster: string) => void;
  /** The clusters whose first resync is waited for, so that it wakes nobody later; default: all. */
  readonly resynced?: readonly string[];
}

export async function openTrappedHouse(options: TrappedHouseOptions = {}): Promise<TrappedHouse> {
  await using opened = new AsyncDisposableStack();
  const traps = new Map<string, Traps>();
  const through = async (server: ApiServer): Promise<Traps> => {
    const made = await Traps.before(server);
    opened.defer(() => made.proxy.stop());
    traps.set(server.name, made);
    options.before?.(made, server.name);
    return made;
  };
  const house = opened.use(
    await House.open({
      ...options,
      kubeconfig: async (server) => server.workerKubeconfig((await through(server)).proxy.url),
      managementKubeconfig: async (server) => server.kubeconfig.replace(server.url, (await through(server)).proxy.url),
    }),
  );
  if (options.producers !== 0) await firstResync(house, options.resynced ?? [...house.clusters.keys()]);
  const all = opened.move();
  return { house, management: traps.get("management"), at: (cluster) => traps.get(cluster)!, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** The worker or producer that has this User-Agent. */
export function processOf(house: House, agent: string): Process {
  const found = house.processes.find(({ started }) => agent.endsWith(` ${started["id"]}`));
  if (!found) throw new Error(`no process of this house calls itself ${agent}`);
  return found;
}

/** Waits until one of the producers has resynced each of these clusters. */
export async function firstResync(house: House, clusters: readonly string[]): Promise<void> {
  const lines = () => house.processes.flatMap((process) => process.lines);
  const isDone = (cluster: string): boolean => lines().some((line) => line["msg"] === "cluster resynced" && line["cluster"] === cluster);
  await waitUntil("the first resync is over", () => clusters.every(isDone));
}

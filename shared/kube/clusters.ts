// Cluster id → client, from the kubeconfigs that the sources have, followed while running. A broken one keeps the old client and says so.
import type { Allowance } from "../run/config.ts";
import { ClusterId } from "../subject.ts";
import { ClusterClient } from "./client.ts";
import { accessFrom } from "./kubeconfig.ts";

export interface ClusterEvents {
  onAppeared?(client: ClusterClient): void;
  /** Its credentials changed: the old client is closed, this is the new one. */
  onChanged?(client: ClusterClient): void;
  onGone?(cluster: string): void;
  /** A kubeconfig that cannot be used, or a source that cannot be read; an earlier client stays. `file`: which, for people. */
  onProblem?(file: string, problem: string): void;
}

/** A kubeconfig that a source has: its text, or why that cannot be had. */
export type Offer = { readonly cluster: string } & ({ readonly text: string } | { readonly problem: string });
/** Place → offer; in their order, where two are of one cluster. */
export type Offers = ReadonlyMap<string, Offer>;

/** How a source tells what it has. */
export interface Tell {
  /** The whole of it: what is not among it any more is gone. Returns when the connections that this ends are closed. */
  all(offers: Offers): Promise<void>;
  /** It cannot be read, and why; undefined = it can again. Changes nobody's client. */
  trouble(problem: string | undefined): void;
}
/** Where kubeconfigs come from. */
export interface ClusterSource extends AsyncDisposable {
  /** For people, where the source itself is the problem. */
  readonly name: string;
  /** Looks once. @throws when it is set up wrongly; trouble that may pass is told instead. */
  load(tell: Tell): Promise<void>;
  /** Tells every change until it is disposed of. */
  follow(tell: Tell): void;
}

/** A client lives as long as the text of its kubeconfig. Where two kubeconfigs are of one cluster, the first source's first one is used. */
export class Clusters implements AsyncDisposable {
  readonly #sources: readonly ClusterSource[];
  readonly #allow: readonly Allowance[];
  readonly #userAgent: string;
  readonly #offers = new Map<ClusterSource, Offers>();
  readonly #troubles = new Map<string, string>();
  readonly #clients = new Map<string, { client: ClusterClient; text: string }>();
  readonly #listeners: ClusterEvents[] = [];
  #unusable = new Map<string, string>();
  #problems: ReadonlyMap<string, string> = new Map();

  constructor(sources: readonly ClusterSource[], options: { readonly allow: readonly Allowance[]; readonly userAgent: string }) {
    this.#sources = sources;
    this.#allow = options.allow;
    this.#userAgent = options.userAgent;
  }

  /** Listeners hear of what is there already, too. */
  listen(events: ClusterEvents): void {
    this.#listeners.push(events);
    for (const { client } of this.#clients.values()) events.onAppeared?.(client);
    for (const [place, problem] of this.#problems) events.onProblem?.(place, problem);
  }

  get(cluster: string): ClusterClient | undefined {
    return this.#clients.get(cluster)?.client;
  }
  ids(): string[] {
    return [...this.#clients.keys()].sort();
  }
  /** Each source was read as a whole at least once: before that, a cluster that is not known may be configured all the same. */
  get complete(): boolean {
    return this.#sources.every((source) => this.#offers.has(source));
  }
  /** File, Secret or source → what is wrong with it. */
  problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  /** Looks into each source once. @throws when one is set up wrongly. */
  async load(): Promise<this> {
    for (const source of this.#sources) await source.load(this.#tell(source));
    return this;
  }

  /** Follows the sources until it is disposed of. */
  follow(): void {
    for (const source of this.#sources) source.follow(this.#tell(source));
  }

  #tell(source: ClusterSource): Tell {
    return {
      all: (offers) => {
        this.#troubles.delete(source.name);
        this.#offers.set(source, offers);
        return this.#settle();
      },
      trouble: (problem) => {
        if (problem === undefined) this.#troubles.delete(source.name);
        else this.#troubles.set(source.name, problem);
        this.#say();
      },
    };
  }

  /** From all that the sources have to who is served, in one go. What is replaced or gone is closed last, so that its listeners can still ask it. */
  async #settle(): Promise<void> {
    const holders = new Map<string, string>();
    const closing: ClusterClient[] = [];
    this.#unusable = new Map();
    for (const source of this.#sources)
      for (const [place, offer] of this.#offers.get(source) ?? []) {
        const problem = this.#use(place, offer, holders, closing);
        if (problem !== undefined) this.#unusable.set(place, problem);
      }
    for (const [cluster, { client }] of this.#clients) {
      if (holders.has(cluster)) continue;
      this.#clients.delete(cluster);
      for (const listener of this.#listeners) listener.onGone?.(cluster);
      closing.push(client);
    }
    this.#say();
    await Promise.all(closing.map((client) => client.close()));
  }

  /** Returns why it cannot be used. One that is broken holds its cluster all the same: the old client goes on. */
  #use(place: string, offer: Offer, holders: Map<string, string>, closing: ClusterClient[]): string | undefined {
    const { cluster } = offer;
    if (!ClusterId.safeParse(cluster).success) return "its name is no cluster id: up to 63 lower case letters, digits, - or .";
    const holder = holders.get(cluster);
    // Taking turns would change its client at every look.
    if (holder !== undefined) return `${holder} is of cluster ${cluster} too, and comes first; remove one`;
    holders.set(cluster, place);
    if ("problem" in offer) return offer.problem;
    const old = this.#clients.get(cluster);
    if (old?.text === offer.text) return undefined;
    let client: ClusterClient;
    try {
      client = new ClusterClient(cluster, accessFrom(offer.text, this.#allow), this.#userAgent);
    } catch (error) {
      return reasonOf(error);
    }
    this.#clients.set(cluster, { client, text: offer.text });
    for (const listener of this.#listeners) {
      if (old) listener.onChanged?.(client);
      else listener.onAppeared?.(client);
    }
    if (old) closing.push(old.client);
    return undefined;
  }

  /** Each problem is said once, not at every look. */
  #say(): void {
    const earlier = this.#problems;
    this.#problems = new Map([...this.#troubles, ...this.#unusable]);
    for (const [place, problem] of this.#problems)
      if (earlier.get(place) !== problem) for (const listener of this.#listeners) listener.onProblem?.(place, problem);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#sources.map((source) => source[Symbol.asyncDispose]()));
    await Promise.all([...this.#clients.values()].map(({ client }) => client.close()));
    this.#clients.clear();
  }
}

/** The code of a system error, whose message has little more; else the message. */
export const reasonOf = (error: unknown): string => (error instanceof Error ? ((error as { code?: string }).code ?? error.message) : "unreadable");

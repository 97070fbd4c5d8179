// Cluster id → client, from a folder of kubeconfigs, followed while running: a file that appears, changes or goes. An unreadable one keeps the old client and says so.
import { createHash } from "node:crypto";
import { watch as watchFolder } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { extname, join } from "node:path";
import type { Allowance } from "../run/config.ts";
import { ClusterId } from "../subject.ts";
import { ClusterClient } from "./client.ts";
import { accessFrom } from "./kubeconfig.ts";

export interface ClusterEvents {
  onAppeared?(client: ClusterClient): void;
  /** Its credentials changed: the old client is closed, this is the new one. */
  onChanged?(client: ClusterClient): void;
  onGone?(cluster: string): void;
  /** A file that cannot be used; an earlier client of that cluster stays. */
  onProblem?(file: string, problem: string): void;
}

const EXTENSIONS = new Set(["", ".yaml", ".yml", ".json", ".kubeconfig", ".conf"]);
/** Mounted Secrets and network folders do not always tell: look anyway. */
const LOOK_MS = 5_000;

/** A client lives as long as the text of its kubeconfig. */
export class Clusters implements AsyncDisposable {
  readonly #folder: string;
  readonly #allow: readonly Allowance[];
  readonly #userAgent: string;
  readonly #clients = new Map<string, { client: ClusterClient; hash: string }>();
  readonly #listeners: ClusterEvents[] = [];
  readonly #problems = new Map<string, string>();
  #look: Promise<void> = Promise.resolve();
  #stop: () => void = () => undefined;

  constructor(folder: string, options: { readonly allow: readonly Allowance[]; readonly userAgent: string }) {
    this.#folder = folder;
    this.#allow = options.allow;
    this.#userAgent = options.userAgent;
  }

  /** Listeners hear of what is there already, too. */
  listen(events: ClusterEvents): void {
    this.#listeners.push(events);
    for (const { client } of this.#clients.values()) events.onAppeared?.(client);
    for (const [file, problem] of this.#problems) events.onProblem?.(file, problem);
  }

  get(cluster: string): ClusterClient | undefined {
    return this.#clients.get(cluster)?.client;
  }
  ids(): string[] {
    return [...this.#clients.keys()].sort();
  }
  /** File → what is wrong with it. */
  problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  /** Reads the folder once. @throws when the folder itself cannot be read. */
  async load(): Promise<this> {
    try {
      await this.#read();
    } catch (error) {
      throw new Error(`UNDERSTUDY_CLUSTERS_DIR: ${this.#folder} cannot be read (${(error as { code?: string }).code ?? "error"})`, { cause: error });
    }
    return this;
  }

  /** Follows the folder until it is disposed of. */
  follow(): void {
    const again = (): void => {
      this.#look = this.#look
        .then(() => this.#read())
        .catch((error: unknown) => this.#problem(this.#folder, error instanceof Error ? ((error as { code?: string }).code ?? error.message) : "unreadable"));
    };
    const watcher = watchFolder(this.#folder, again);
    watcher.on("error", again);
    const timer = setInterval(again, LOOK_MS);
    this.#stop = () => {
      watcher.close();
      clearInterval(timer);
    };
  }

  /** One look at the folder. What is gone is closed last, so that its listeners can still ask it. */
  async #read(): Promise<void> {
    const files = (await readdir(this.#folder)).filter((file) => !file.startsWith(".") && EXTENSIONS.has(extname(file))).sort();
    const present = new Set<string>();
    for (const file of files) {
      const cluster = file.slice(0, file.length - extname(file).length);
      // Taking turns would change its client at every look.
      if (present.has(cluster)) this.#problem(file, `another file is of cluster ${cluster} too; remove one`);
      else await this.#readFile(file, cluster);
      present.add(cluster);
    }
    for (const file of this.#problems.keys()) if (!files.includes(file)) this.#problems.delete(file);
    for (const [cluster, { client }] of this.#clients) {
      if (present.has(cluster)) continue;
      this.#clients.delete(cluster);
      for (const listener of this.#listeners) listener.onGone?.(cluster);
      await client.close();
    }
  }

  /** A broken file changes nothing: the old client goes on. */
  async #readFile(file: string, cluster: string): Promise<void> {
    try {
      if (!ClusterId.safeParse(cluster).success) throw new Error("its name is no cluster id: up to 63 lower case letters, digits, - or .");
      const text = await readFile(join(this.#folder, file), "utf8");
      const hash = createHash("sha256").update(text).digest("hex");
      const old = this.#clients.get(cluster);
      if (old?.hash === hash) return void this.#problems.delete(file);
      const client = new ClusterClient(cluster, accessFrom(text, this.#allow), this.#userAgent);
      this.#clients.set(cluster, { client, hash });
      this.#problems.delete(file);
      for (const listener of this.#listeners) {
        if (old) listener.onChanged?.(client);
        else listener.onAppeared?.(client);
      }
      await old?.client.close();
    } catch (error) {
      this.#problem(file, error instanceof Error ? ((error as { code?: string }).code ?? error.message) : "unreadable");
    }
  }

  /** Said once, not at every look. */
  #problem(file: string, problem: string): void {
    if (this.#problems.get(file) === problem) return;
    this.#problems.set(file, problem);
    for (const listener of this.#listeners) listener.onProblem?.(file, problem);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    await this.#look;
    await Promise.all([...this.#clients.values()].map(({ client }) => client.close()));
    this.#clients.clear();
  }
}

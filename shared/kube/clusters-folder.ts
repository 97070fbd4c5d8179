// Kubeconfigs from a folder: the file name without its extension is the cluster's id. A look takes the whole folder.
import { watch as watchFolder } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { extname, join } from "node:path";
import type { ClusterSource, Offer, Tell } from "./clusters.ts";
import { reasonOf } from "./clusters.ts";

const EXTENSIONS = new Set(["", ".yaml", ".yml", ".json", ".kubeconfig", ".conf"]);
/** Mounted Secrets and network folders do not always tell: look anyway. */
const LOOK_MS = 5_000;

/** Followed by the folder's own events, and a look every few seconds. */
export class FolderSource implements ClusterSource {
  /** Its path. */
  readonly name: string;
  #look: Promise<void> = Promise.resolve();
  #stop: () => void = () => undefined;

  constructor(folder: string) {
    this.name = folder;
  }

  /** @throws when the folder itself cannot be read. */
  async load(tell: Tell): Promise<void> {
    try {
      await this.#read(tell);
    } catch (error) {
      throw new Error(`UNDERSTUDY_CLUSTERS_DIR: ${this.name} cannot be read (${(error as { code?: string }).code ?? "error"})`, { cause: error });
    }
  }

  /** One look after the other: an older one must not have the last word. */
  follow(tell: Tell): void {
    const again = (): void => {
      this.#look = this.#look.then(() => this.#read(tell)).catch((error: unknown) => tell.trouble(reasonOf(error)));
    };
    const watcher = watchFolder(this.name, again);
    watcher.on("error", again);
    const timer = setInterval(again, LOOK_MS);
    this.#stop = () => {
      watcher.close();
      clearInterval(timer);
    };
  }

  async #read(tell: Tell): Promise<void> {
    const files = (await readdir(this.name)).filter((file) => !file.startsWith(".") && EXTENSIONS.has(extname(file))).sort();
    const offers = new Map<string, Offer>();
    for (const file of files) offers.set(file, await this.#readFile(file));
    await tell.all(offers);
  }

  async #readFile(file: string): Promise<Offer> {
    const cluster = file.slice(0, file.length - extname(file).length);
    try {
      return { cluster, text: await readFile(join(this.name, file), "utf8") };
    } catch (error) {
      return { cluster, problem: reasonOf(error) };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    await this.#look;
  }
}

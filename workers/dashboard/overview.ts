// The whole ledger, counted again and again in the background, so that no request reads more records than its page shows. What it holds may be as old as it says.
import type { Ledger } from "../../shared/ledger/ledger.ts";
import type { Glance } from "../../shared/ledger/glance.ts";
import { glances, groupsOf } from "../../shared/ledger/glance.ts";
import { every, settledWithin } from "../../shared/kube/watch.ts";
import type { Log } from "../../shared/run/log.ts";
import type { Count } from "./count.ts";
import { Counting } from "./count.ts";
import { People } from "./people.ts";

const EVERY_MS = 5_000;
/** After a count that took long there is none for ten times as long: Redis has other work. A single slow one is made good soon. */
const REST = 10;
const REST_MS_MAX = 30_000;
/** Younger is good enough for a page; a page waits so long at most for what is younger. */
const YOUNG_MS = 1_000;
const PATIENCE_MS = 300;

/** Counts until it is closed. */
export class Overview implements AsyncDisposable {
  readonly people = new People();
  readonly #ledger: Ledger;
  readonly #stop = new AbortController();
  readonly #counted: Promise<void>;
  #count: Count | undefined;
  #counting: Promise<void> | undefined;
  /** When the last count ended, and how long it took (ms). */
  #ended = 0;
  #tookMs = 0;

  constructor(ledger: Ledger, log: Log) {
    this.#ledger = ledger;
    const onError = (err: unknown): void => log.redisTrouble({ err });
    this.#counted = every(EVERY_MS, async () => (this.#isDue() ? this.#countOnce() : undefined), onError, this.#stop.signal);
  }

  /** The last count; undefined until the first one has ended. A small ledger is counted for whoever asks. */
  async latest(): Promise<Count | undefined> {
    const isOld = this.#count === undefined || performance.now() - this.#ended > YOUNG_MS;
    // An error of it is the next count's to report: what was counted before is shown, with its time.
    if (isOld && this.#tookMs < PATIENCE_MS) await settledWithin(this.#countOnce(), PATIENCE_MS);
    return this.#count;
  }

  #isDue(): boolean {
    return performance.now() - this.#ended >= Math.min(REST * this.#tookMs, REST_MS_MAX);
  }

  /** One at a time, for all who wait for it. */
  async #countOnce(): Promise<void> {
    this.#counting ??= this.#countAll().finally(() => (this.#counting = undefined));
    return this.#counting;
  }

  async #countAll(): Promise<void> {
    const began = performance.now();
    const [{ run }, now, clusters] = await Promise.all([this.#ledger.mark(), this.#ledger.now(), this.#ledger.clusters()]);
    const counting = new Counting(now, run, this.#count?.rows);
    for (const cluster of clusters) {
      counting.open(cluster);
      for await (const page of glances(this.#ledger, cluster)) {
        if (this.#stop.signal.aborted) return;
        for (const glance of page) counting.add(glance);
        await this.#learnGroups(page);
      }
    }
    this.people.forgetAllBut(counting.users);
    this.#count = counting.end();
    this.#ended = performance.now();
    this.#tookMs = this.#ended - began;
  }

  async #learnGroups(page: readonly Glance[]): Promise<void> {
    const news = page.filter(({ subject, factsN }) => this.people.isOlder(subject.user, factsN));
    const groups = await groupsOf(
      this.#ledger,
      news.map(({ subject }) => subject),
    );
    news.forEach(({ subject, factsN }, i) => this.people.learn(subject.user, factsN, groups[i]!));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled([this.#counted, this.#counting]);
  }
}

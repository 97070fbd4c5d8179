// One open stream of server-sent events to one client: its frames, what it knows already, and whether it reads. What is sent is revocation-streams.ts's.
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { Revocation } from "../shared/ledger/revocations.ts";
import { isLater } from "../shared/ledger/revocations.ts";

/** So much may wait for a client that does not read. */
const UNREAD_BYTES_MAX = 1024 * 1024;
const UNREAD_FRAMES_MAX = 10_000;
const DRAIN_MS_MAX = 10_000;

/** One event. `reset`: nobody knows what was missed, so everything has to be cut. */
interface Frame {
  readonly id: string;
  readonly reset: boolean;
  readonly text: string;
}

/** https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream */
export const revokedFrame = ({ id, cluster, user, generation, kind }: Revocation): Frame => ({
  id,
  reset: false,
  text: `id: ${id}\nevent: revoked\ndata: ${JSON.stringify({ cluster, user, generation, kind })}\n\n`,
});
export const resetFrame = (id: string): Frame => ({ id, reset: true, text: `id: ${id}\nevent: reset\ndata: {}\n\n` });
/** An id without data is no event, yet the client says it when it comes again. */
export const helloText = (id: string | undefined): string => `retry: 1000\n${id === undefined ? "" : `id: ${id}\n`}\n`;

/** One client. What is told while it is still catching up waits for its turn. */
export class Stream {
  readonly response: ServerResponse;
  #after: string;
  #waiting: Frame[] | undefined = [];

  constructor(response: ServerResponse, after: string) {
    this.response = response;
    this.#after = after;
  }

  get after(): string {
    return this.#after;
  }

  /** False: it does not read. */
  tell(frame: Frame): boolean {
    if (!this.#waiting) return this.tellNow(frame);
    return this.#waiting.push(frame) <= UNREAD_FRAMES_MAX;
  }
  /** False: it does not read. What it knows already is left out. */
  tellNow({ id, reset, text }: Frame): boolean {
    if (!reset && !isLater(id, this.#after)) return true;
    this.#after = id;
    return this.write(text);
  }
  caughtUp(): boolean {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    return waiting.every((frame) => this.tellNow(frame));
  }
  beat(): boolean {
    return this.#waiting !== undefined || this.write(": still here\n\n");
  }
  write(text: string): boolean {
    this.response.write(text);
    return this.response.writableLength <= UNREAD_BYTES_MAX;
  }
  /** False: it did not read in time, or is gone. */
  async drained(): Promise<boolean> {
    if (!this.response.writableNeedDrain) return !this.response.destroyed;
    const gone = new AbortController();
    this.response.once("close", () => gone.abort());
    return once(this.response, "drain", { signal: AbortSignal.any([gone.signal, AbortSignal.timeout(DRAIN_MS_MAX)]) }).then(
      () => true,
      () => false, // nothing but the signal ends it early
    );
  }
}

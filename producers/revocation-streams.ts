// The open streams of GET /v1/revocations: one reader of Redis feeds them all. A stream says what it missed or that it cannot know, never nothing.
import type { ServerResponse } from "node:http";
import type { Redis } from "ioredis";
import { pause } from "../shared/kube/watch.ts";
import type { Revocation } from "../shared/ledger/revocations.ts";
import { STREAM_START, readRevocations, revocationsEnd, revocationsSince } from "../shared/ledger/revocations.ts";
import type { Log } from "../shared/run/log.ts";
import { Stream, helloText, resetFrame, revokedFrame } from "./event-stream.ts";
import { inTime } from "./patience.ts";

const HEARTBEAT_MS = 15_000;
/** Reading begins again after so long at the latest, so that a stream that was emptied is noticed. */
export const BLOCK_MS = 2_000;
const RETRY_MS = 250;
const PAGE = 200;

export interface StreamParts {
  /** For the read that blocks, and for nothing else; ended with the streams. */
  readonly redis: Redis;
  /** For what a client missed. */
  readonly quick: Redis;
  readonly tag: string;
  readonly log: Log;
  readonly heartbeatMs?: number;
}

/** All open streams of a process. */
export class RevocationStreams {
  readonly #parts: StreamParts;
  readonly #streams = new Set<Stream>();
  readonly #stop = new AbortController();
  #position = STREAM_START;
  #reading: Promise<void> = Promise.resolve();
  #heartbeat: NodeJS.Timeout | undefined;

  constructor(parts: StreamParts) {
    this.#parts = parts;
  }

  /** From here on nothing is missed. @throws when Redis does not answer. */
  async start(): Promise<this> {
    this.#position = await revocationsEnd(this.#parts.redis, this.#parts.tag);
    this.#reading = this.#read();
    this.#heartbeat = setInterval(() => this.#each((stream) => stream.beat()), this.#parts.heartbeatMs ?? HEARTBEAT_MS);
    return this;
  }

  /**
   * Opens a stream, and returns once it has been told what it missed. `take` gives the answer to write to.
   * @throws when Redis does not answer, or the streams have ended; nothing was taken then.
   */
  async open(lastEventId: string | undefined, take: () => ServerResponse): Promise<void> {
    const missed = lastEventId === undefined ? [] : await inTime(this.#missed(lastEventId));
    if (this.#stop.signal.aborted) throw new Error("the process stops");
    const response = take();
    if (response.destroyed) return;
    // Between the look and here events may have passed: whoever comes again looks once more, now that what comes next waits for it.
    const stream = new Stream(response, lastEventId === undefined || missed === "unknown" ? this.#position : lastEventId);
    this.#streams.add(stream);
    response.once("close", () => this.#streams.delete(stream));
    response.writeHead(200, {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
      "x-accel-buffering": "no",
      connection: "close",
    });
    stream.write(helloText(lastEventId === undefined ? this.#position : undefined));
    if (missed === "unknown") stream.tellNow(resetFrame(stream.after));
    const current = lastEventId === undefined || missed === "unknown" || (await this.#catchUp(stream));
    if (!(current && stream.caughtUp())) this.#cut(stream);
  }

  /** Page by page, at the pace at which the client reads. False: it does not read, or Redis does not answer; it comes again. */
  async #catchUp(stream: Stream): Promise<boolean> {
    const from = this.#position;
    try {
      for (;;) {
        const page = await inTime(this.#missed(stream.after));
        if (page === "unknown") return stream.tellNow(resetFrame(from));
        for (const revocation of page) stream.tellNow(revokedFrame(revocation));
        if (page.length < PAGE) return true;
        if (!(await stream.drained())) return false;
      }
    } catch (err) {
      this.#parts.log.redisTrouble({ err });
      return false;
    }
  }

  /** The place before every entry proves nothing: another Redis begins there too. */
  async #missed(after: string): Promise<Revocation[] | "unknown"> {
    if (!/^\d{1,20}-\d{1,20}$/.test(after) || after === STREAM_START) return "unknown";
    return revocationsSince(this.#parts.quick, this.#parts.tag, after, PAGE);
  }

  /** Streams stay open while Redis is away, and go on where they were; a Redis that has lost that place resets them. */
  async #read(): Promise<void> {
    const { redis, tag, log } = this.#parts;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const found = await readRevocations(redis, tag, this.#position, BLOCK_MS);
        const frames = found === "unknown" ? [resetFrame(await revocationsEnd(redis, tag))] : found.map(revokedFrame);
        for (const frame of frames) {
          this.#position = frame.id;
          this.#each((stream) => stream.tell(frame));
        }
      } catch (err) {
        if (signal.aborted) return;
        log.redisTrouble({ err });
        // A connection that gave no answer in time may never give one.
        if (redis.status === "ready") redis.disconnect(true);
        await pause(RETRY_MS, signal);
      }
    }
  }

  /** A client that does not read is cut off: its memory would be ours. It comes again with what it has read. */
  #each(tell: (stream: Stream) => boolean): void {
    for (const stream of this.#streams) if (!tell(stream)) this.#cut(stream);
  }
  #cut(stream: Stream): void {
    this.#streams.delete(stream);
    this.#parts.log.streamCut({ unread: stream.response.writableLength });
    stream.response.destroy();
  }

  /** Ends the reader and every stream. */
  async end(): Promise<void> {
    this.#stop.abort();
    clearInterval(this.#heartbeat);
    this.#parts.redis.disconnect();
    for (const { response } of this.#streams) {
      if (response.writableLength === 0) response.end();
      else response.destroy();
    }
    await this.#reading;
  }
}

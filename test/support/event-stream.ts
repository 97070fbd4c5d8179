// A client of server-sent events, as a test wants one: every event so far, and the connection in its hand. https://html.spec.whatwg.org/multipage/server-sent-events.html
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { request } from "node:http";
import { waitUntil } from "./wait-until.ts";

export interface SentEvent {
  readonly id: string;
  readonly event: string;
  readonly data: unknown;
}
export interface EventStream {
  readonly response: IncomingMessage;
  /** What came so far, as it came. */
  text(): string;
  /** Whole events so far; an id alone is none. */
  events(): SentEvent[];
  /** The id that this client would say when it comes again. */
  lastId(): string | undefined;
  ended(): boolean;
  close(): void;
}

/** Opens a stream, whatever its status; what it says first is there. */
export async function openStream(url: string, headers: Readonly<Record<string, string>>): Promise<EventStream> {
  const asked = request(url, { headers: { ...headers }, agent: false });
  asked.end();
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  let text = "";
  let ended = false;
  response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  response.once("close", () => (ended = true));
  // A stream that is cut off has ended like any other.
  response.on("error", () => (ended = true));
  await waitUntil("the first words", () => text.includes("\n\n") || ended || response.statusCode !== 200, { everyMs: 5 });
  const blocks = (): Map<string, string>[] =>
    text
      .split("\n\n")
      .slice(0, -1)
      .map((block) => new Map(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)] as const)));
  return {
    response,
    text: () => text,
    events: () =>
      blocks()
        .filter((block) => block.has("data"))
        .map((block) => ({ id: block.get("id") ?? "", event: block.get("event") ?? "", data: JSON.parse(block.get("data")!) as unknown })),
    lastId: () =>
      blocks()
        .findLast((block) => block.has("id"))
        ?.get("id"),
    ended: () => ended,
    close: () => response.destroy(),
  };
}

// What kubectl would never send: requests to a proxy with headers in any order and number, upgraded connections, and raw bytes.
import { once } from "node:events";
import type { ClientRequest, IncomingMessage } from "node:http";
import { request } from "node:https";
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { type TLSSocket, connect } from "node:tls";
import { waitUntil } from "./wait-until.ts";

export interface Target {
  readonly port: number;
}
export interface Ask {
  readonly method?: string;
  /** Names and values in turn. */
  readonly headers?: readonly string[];
  readonly body?: string;
}
export interface Answered {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}
interface StatusBody {
  readonly kind: string;
  readonly status: string;
  readonly reason?: string;
  readonly message: string;
  readonly code: number;
}
export const statusIn = ({ body }: Answered): StatusBody => JSON.parse(body) as StatusBody;

function send({ port }: Target, ca: string, path: string, token: string, { method = "GET", headers = [], body = "" }: Ask): ClientRequest {
  const length = body === "" && method === "GET" ? [] : ["Content-Length", String(Buffer.byteLength(body))];
  const all = ["Host", `127.0.0.1:${port}`, "Authorization", `Bearer ${token}`, ...length, ...headers];
  // As a URL the path would be put in order.
  const outgoing = request({ host: "127.0.0.1", port, path, method, headers: all, ca, agent: false });
  outgoing.end(body);
  return outgoing;
}

/** A client of one proxy, that trusts its certificate. */
export class ProxyClient {
  readonly #target: Target;
  readonly #ca: string;
  constructor(target: Target, ca: string) {
    this.#target = target;
    this.#ca = ca;
  }

  async ask(path: string, token: string, options: Ask = {}): Promise<Answered> {
    const [message] = (await once(send(this.#target, this.#ca, path, token, options), "response")) as [IncomingMessage];
    return { status: message.statusCode!, headers: message.headers, body: await text(message) };
  }
  /** An answer that goes on; `heard` grows. */
  async open(path: string, token: string, options: Ask = {}): Promise<OpenAnswer> {
    const outgoing = send(this.#target, this.#ca, path, token, options);
    const [message] = (await once(outgoing, "response")) as [IncomingMessage];
    return new OpenAnswer(message);
  }
  /** An upgraded connection, or the answer instead of it. */
  async upgrade(path: string, token: string, protocol: string, options: Ask = {}): Promise<Upgraded | Answered> {
    const headers = ["Connection", "Upgrade", "Upgrade", protocol, ...(options.headers ?? [])];
    const outgoing = send(this.#target, this.#ca, path, token, { ...options, headers });
    const answered = once(outgoing, "response") as Promise<[IncomingMessage]>;
    const upgraded = once(outgoing, "upgrade") as Promise<[IncomingMessage, Duplex, Buffer]>;
    const [message, socket, head] = await Promise.race([answered.then(([one]) => [one] as [IncomingMessage]), upgraded]);
    if (!socket) return { status: message.statusCode!, headers: message.headers, body: await text(message) };
    socket.unshift(head);
    return new Upgraded(message, socket);
  }
  /** Bytes as they are; returns what came back until the proxy closed. */
  async raw(bytes: string): Promise<string> {
    const socket: TLSSocket = connect({ host: "127.0.0.1", port: this.#target.port, ca: this.#ca });
    await once(socket, "secureConnect");
    socket.write(bytes, "latin1");
    return text(socket);
  }
}

export class OpenAnswer {
  readonly message: IncomingMessage;
  heard = "";
  ended = false;
  constructor(message: IncomingMessage) {
    this.message = message;
    message.setEncoding("utf8").on("data", (chunk: string) => (this.heard += chunk));
    message.once("close", () => (this.ended = true)).on("error", () => message.destroy()); // cut in the middle is what the tests wait for
  }
  async hears(expected: string): Promise<void> {
    await waitUntil(`the stream says ${expected}`, () => this.heard.includes(expected));
  }
  async end(): Promise<void> {
    await waitUntil("the stream ends", () => this.ended);
  }
}

export class Upgraded {
  readonly message: IncomingMessage;
  readonly socket: Duplex;
  heard = "";
  ended = false;
  constructor(message: IncomingMessage, socket: Duplex) {
    this.message = message;
    this.socket = socket;
    socket.setEncoding("utf8").on("data", (chunk: string) => (this.heard += chunk));
    socket.once("close", () => (this.ended = true)).on("error", () => socket.destroy());
  }
  async says(said: string): Promise<void> {
    this.socket.write(said);
    await waitUntil(`the other side says ${said.slice(0, 20)}`, () => this.heard.endsWith(said));
  }
  async end(): Promise<void> {
    await waitUntil("the connection ends", () => this.ended);
  }
}

// Stand-ins on both sides of a proxy, for what real parts show only by chance: an Understudy that says what a test wants, and a cluster that notes what
// reaches it, answers as told, and echoes upgraded connections.
import { once } from "node:events";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import type { Duplex } from "node:stream";
import { json, text } from "node:stream/consumers";

export interface Said {
  readonly status: number;
  readonly body: object;
  readonly headers?: Readonly<Record<string, string>>;
}
interface Follower {
  readonly lastEventId: string | undefined;
  readonly response: ServerResponse;
}
/** Says 200 to every login and gives a credential for `user` alone, unless told otherwise. */
export class UnderstudyStandIn implements AsyncDisposable {
  readonly logins: Record<string, unknown>[] = [];
  readonly authorizations: (string | undefined)[] = [];
  readonly followers: Follower[] = [];
  /** Of each answer to a login: what is said, after this. */
  login: () => Promise<Said> = async () => ({ status: 200, body: { state: "ready" } });
  credential: (user: string) => Promise<Said>;
  /** Of GET /v1/revocations. */
  follow = 200;
  readonly #server: Server;

  constructor(cluster: { readonly url: string; readonly ca: string }) {
    this.credential = async (user) => ({ status: 200, body: aCredential(cluster, user) });
    this.#server = createServer((request, response) => void this.#answer(request, response).catch((error: Error) => response.destroy(error)));
  }
  async listen(port = 0): Promise<this> {
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
    return this;
  }
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.authorizations.push(request.headers.authorization);
    if (request.url === "/v1/revocations") return this.#openStream(request, response);
    const body = (await json(request)) as { user: string };
    if (request.url === "/v1/logins?wait=5") this.logins.push(body);
    const { status, body: said, headers } = await (request.url === "/v1/logins?wait=5" ? this.login() : this.credential(body.user));
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(said));
  }
  #openStream(request: IncomingMessage, response: ServerResponse): void {
    if (this.follow !== 200) return void response.writeHead(this.follow).end("{}");
    const follower = { lastEventId: request.headers["last-event-id"] as string | undefined, response };
    this.followers.push(follower);
    response.once("close", () => this.followers.splice(this.followers.indexOf(follower), 1));
    response.writeHead(200, { "content-type": "text/event-stream" }).write("retry: 1000\nid: 1-0\n\n");
  }
  /** To all who follow. */
  tell(frame: string): void {
    for (const { response } of this.followers) response.write(frame);
  }
  revoke(user: string, id: string, kind = "removed"): void {
    this.tell(`id: ${id}\nevent: revoked\ndata: ${JSON.stringify({ cluster: "c-one", user, generation: 2, kind })}\n\n`);
  }
  cutFollowers(): void {
    for (const { response } of this.followers) response.destroy();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    (this.#server as ReturnType<typeof createServer>).closeAllConnections();
  }
}

export function aCredential(
  { url, ca }: { readonly url: string; readonly ca: string },
  user: string,
  more: readonly (readonly [string, string])[] = [],
): object {
  const headers = [["Impersonate-User", user], ...more];
  return { server: url, certificateAuthorityData: Buffer.from(ca).toString("base64"), token: `token-of-${user}`, expiresAt: null, headers };
}

/** A request as it came in; names in lower case, values as UTF-8, in their order. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: readonly (readonly [string, string])[];
  body: string;
}
export const valuesOf = ({ headers }: Seen, name: string): string[] => headers.filter(([other]) => other === name).map(([, value]) => value);

/** Answers 200 `{}`, and upgrades whoever asks for it, unless told otherwise. */
export class ClusterStandIn implements AsyncDisposable {
  readonly ca: string;
  readonly seen: Seen[] = [];
  readonly sockets = new Set<Duplex>();
  answer: (request: IncomingMessage, response: ServerResponse) => void = (_request, response) => void response.end("{}");
  upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void = echo;
  readonly #server: ReturnType<typeof createTlsServer>;

  constructor(tls: { readonly cert: string; readonly key: string }) {
    this.ca = tls.cert;
    this.#server = createTlsServer(tls, (request, response) => void this.#serve(request, response).catch((error: Error) => response.destroy(error)));
    this.#server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      this.seen.push(describe(request));
      this.sockets.add(socket);
      socket.once("close", () => this.sockets.delete(socket)).on("error", () => socket.destroy());
      this.upgrade(request, socket, head);
    });
  }
  async listen(): Promise<this> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return this;
  }
  get url(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }
  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = describe(request);
    this.seen.push(seen);
    seen.body = await text(request);
    this.answer(request, response);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    for (const socket of this.sockets) socket.destroy();
  }
}

function describe({ method = "", url = "", rawHeaders }: IncomingMessage): Seen {
  const pairs = rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [[name.toLowerCase(), Buffer.from(rawHeaders[i + 1]!, "latin1").toString()] as const] : []));
  return { method, url, headers: pairs, body: "" };
}

/** Says all that it hears, from the first byte on. */
export function echo(request: IncomingMessage, socket: Duplex, head: Buffer): void {
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${request.headers.upgrade}\r\nX-Kept: yes\r\n\r\nhello `);
  socket.write(head);
  socket.pipe(socket);
}

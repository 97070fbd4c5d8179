// A proxy in front of a real API server that answers, holds, cuts or passes single requests as a rule says.
// Watches stream through unbuffered. It knows nothing of Kubernetes but the shape of a Status and the watch parameter.
import { Agent as PlainAgent, createServer, type IncomingMessage, request as plainRequest, type ServerResponse } from "node:http";
import { Agent, createServer as createTlsServer, request as tlsRequest } from "node:https";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { TLSSocket } from "node:tls";

export interface RequestSeen {
  readonly method: string;
  /** Without the query; `url` has it. */
  readonly path: string;
  readonly url: string;
  readonly userAgent: string;
  readonly authorization: string;
  readonly impersonateUser?: string;
  readonly body: string;
}

export type Verdict =
  | undefined
  | { readonly answer: number; readonly body?: string; readonly headers?: Record<string, string> }
  /** Then forwards, even when the client has gone: a late write of a dead worker is what this is for. */
  | { readonly hold: Promise<void> }
  /** The server does it; then the connection is cut, this status answered, or the true answer given after the wait. */
  | { readonly forwardThen: "reset" | number | Promise<void> }
  | { readonly reset: true };

export type Rule = (request: RequestSeen) => Verdict;

export interface FaultProxy {
  readonly url: string;
  /** Each request passes through the rule; without a rule all are forwarded. */
  setRule(rule: Rule | undefined): void;
  readonly seen: RequestSeen[];
  clear(): void;
  /** Cuts all connections that are open now, watches among them; new ones are accepted. */
  cut(): void;
  stop(): Promise<void>;
}

export interface Target {
  readonly url: string;
  readonly ca?: string;
  /** Listens with TLS, as kubectl needs it: it sends no token over plain HTTP. Without it the proxy's url is http://. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

export async function startFaultProxy(target: Target): Promise<FaultProxy> {
  const upstream = openUpstream(target);
  const seen: RequestSeen[] = [];
  let rule: Rule | undefined;
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    void serve(request, response).catch(() => response.destroy());
  };
  // A client that has rested must not write into a connection which closes at that moment: no test is about that.
  const options = { keepAliveTimeout: 60_000, ...target.tls };
  const server = target.tls === undefined ? createServer(options, listener) : createTlsServer(options, listener);
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await buffer(request);
    const entry = describe(request, body);
    seen.push(entry);
    let verdict: Verdict;
    try {
      verdict = rule?.(entry);
    } catch (error) {
      return answer(response, 500, {}, `the rule of the test threw: ${String(error)}`);
    }
    await act(verdict, () => upstream.forward(request, body), response);
  };
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `${target.tls === undefined ? "http" : "https"}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    setRule: (next) => {
      rule = next;
    },
    seen,
    clear: () => void seen.splice(0),
    cut: () => server.closeAllConnections(),
    stop: async () => {
      upstream.close();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function act(verdict: Verdict, forward: () => Promise<IncomingMessage>, response: ServerResponse): Promise<void> {
  if (verdict === undefined) return pass(await forward(), response);
  if ("reset" in verdict) return reset(response);
  if ("answer" in verdict) return answer(response, verdict.answer, verdict.headers, verdict.body);
  if ("hold" in verdict) {
    await verdict.hold;
    return pass(await forward(), response);
  }
  const upstream = await forward();
  if (verdict.forwardThen instanceof Promise) {
    await verdict.forwardThen;
    return pass(upstream, response);
  }
  upstream.resume();
  return verdict.forwardThen === "reset" ? reset(response) : answer(response, verdict.forwardThen);
}

async function pass(upstream: IncomingMessage, response: ServerResponse): Promise<void> {
  // The client may have left while the request was held; then there is nobody to tell.
  if (response.destroyed) return void upstream.destroy();
  response.writeHead(upstream.statusCode ?? 502, withoutHopHeaders(upstream.rawHeaders));
  // A watch without events yet has to show its status at once.
  response.flushHeaders();
  await pipeline(upstream, response);
}

function reset(response: ServerResponse): void {
  // Node can send a TCP reset on a plain socket only; a TLS one just ends in the middle.
  if (response.socket instanceof TLSSocket) response.socket.destroy();
  else response.socket?.resetAndDestroy();
}

function answer(response: ServerResponse, status: number, headers: Record<string, string> = {}, body?: string): void {
  const text = body ?? JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", code: status });
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(text);
}

interface Upstream {
  forward(request: IncomingMessage, body: Buffer): Promise<IncomingMessage>;
  close(): void;
}

function openUpstream({ url, ca }: Target): Upstream {
  const secure = url.startsWith("https:");
  const agent = secure ? new Agent({ keepAlive: true, ca }) : new PlainAgent({ keepAlive: true });
  let closed = false;
  const forward = (request: IncomingMessage, body: Buffer): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      if (closed) return reject(new Error("the proxy has been stopped"));
      const headers = withoutHopHeaders(request.rawHeaders);
      headers.push("host", new URL(url).host);
      if (body.length > 0) headers.push("content-length", String(body.length));
      const send = secure ? tlsRequest : plainRequest;
      // An array of names and values keeps repeated headers repeated.
      const outgoing = send(new URL(request.url ?? "/", url), { method: request.method ?? "GET", headers, agent }, resolve);
      outgoing.once("error", reject);
      outgoing.end(body);
    });
  return {
    forward,
    close: () => {
      closed = true;
      agent.destroy();
    },
  };
}

const hopHeaders = new Set(["connection", "keep-alive", "transfer-encoding", "content-length", "host", "te", "upgrade"]);

function withoutHopHeaders(raw: readonly string[]): string[] {
  return raw.filter((_, i) => !hopHeaders.has((raw[i - (i % 2)] ?? "").toLowerCase()));
}

function describe(request: IncomingMessage, body: Buffer): RequestSeen {
  const url = request.url ?? "/";
  const user = request.headers["impersonate-user"];
  return {
    method: request.method ?? "GET",
    path: url.split("?", 1)[0] ?? url,
    url,
    userAgent: request.headers["user-agent"] ?? "",
    authorization: request.headers.authorization ?? "",
    // Node reads header bytes as Latin-1; Kubernetes means UTF-8.
    ...(user === undefined ? {} : { impersonateUser: Buffer.from(String(user), "latin1").toString() }),
    body: body.toString(),
  };
}

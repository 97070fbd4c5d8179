// Fastify with our limits, problem+json errors (RFC 9457), and the operators' listener with /livez, /readyz and /metrics.
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { FastifyError, FastifyInstance, FastifyReply } from "fastify";
import fastify from "fastify";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { Listen } from "./setting-values.ts";

const BODY_BYTES_MAX = 1024 * 1024;
/** So much of a body that is refused is still read. */
const UNREAD_BYTES_MAX = 16 * BODY_BYTES_MAX;

/** An HTTP server that coerces nothing, drops nothing, and shows no error's insides. */
export function openHttp(log: Log): FastifyInstance {
  const app = fastify({
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: 20_000,
    logger: false,
    exposeHeadRoutes: false,
    routerOptions: { ignoreTrailingSlash: false },
    frameworkErrors: (_error, _request, reply) => void problem(reply as unknown as FastifyReply, 400, "path: write each part percent-encoded in UTF-8"),
  });
  // Browsers and proxies open connections ahead on which they ask nothing; a closing server would wait for them.
  const silent = new Set<Socket>();
  app.server.on("connection", (socket) => {
    silent.add(socket);
    socket.once("close", () => silent.delete(socket));
  });
  app.server.on("request", ({ socket }) => silent.delete(socket));
  let closing = false;
  app.addHook("preClose", async () => {
    closing = true;
    silent.forEach((socket) => socket.destroy());
  });
  // Whoever is answered while it closes would keep the connection, and a closing server would wait for that too.
  app.addHook("onSend", async (_request, reply) => void (closing && reply.header("connection", "close")));
  app.setErrorHandler(async (error: FastifyError, request, reply) => {
    const status = error.statusCode ?? 500;
    if (status >= 500) log.requestFailed({ err: error, method: request.method, route: request.routeOptions.url });
    if (error.code !== "FST_ERR_CTP_BODY_TOO_LARGE") return problem(reply, status, status >= 500 ? "it is in the log" : error.message);
    await readOn(request.raw);
    return problem(reply, status, `body: at most ${BODY_BYTES_MAX} bytes`);
  });
  app.setNotFoundHandler((request, reply) => problem(reply, 404, `no ${request.method} here`));
  return app;
}

/** The connection closes after this answer: with bytes of the request unread it would be reset, and the client would see that instead. The limit of a request's time holds. */
async function readOn(body: IncomingMessage): Promise<void> {
  let bytes = 0;
  try {
    for await (const chunk of body.iterator({ destroyOnReturn: false })) {
      bytes += (chunk as Buffer).length;
      if (bytes > UNREAD_BYTES_MAX) return;
    }
  } catch {
    // The client has gone, and waits for no answer.
  }
}

const TITLES: Record<number, string> = {
  400: "The request is wrong",
  401: "Authentication is missing or wrong",
  403: "Not entitled",
  404: "Not found",
  405: "Method not allowed",
  409: "Conflict",
  413: "Too large",
  415: "Not JSON",
  421: "Wrong host",
  422: "Identity refused",
  429: "Too many requests",
  500: "Internal error",
  503: "Not available now",
};

/** RFC 9457. */
export function problem(reply: FastifyReply, status: number, detail: string, retryAfterSeconds?: number): FastifyReply {
  if (retryAfterSeconds !== undefined) reply.header("retry-after", retryAfterSeconds);
  return reply
    .code(status)
    .type("application/problem+json")
    .send(JSON.stringify({ type: "about:blank", title: TITLES[status] ?? "Refused", status, detail }));
}

/** Opens the listener. Returns the address that people can use; a port of 0 was picked. */
export async function listen(app: FastifyInstance, { host, port }: Listen): Promise<string> {
  return app.listen({ host, port });
}

/** `ready` says why not, or undefined. /livez never asks Redis: a restart would not bring it back. */
export function openOps(log: Log, metrics: Metrics, ready: () => Promise<string | undefined>): FastifyInstance {
  const app = openHttp(log);
  app.get("/livez", async () => "ok\n");
  app.get("/readyz", async (_request, reply) => {
    const why = await ready();
    return reply
      .code(why === undefined ? 200 : 503)
      .type("text/plain")
      .send(why === undefined ? "ok\n" : `${why}\n`);
  });
  app.get("/metrics", async (_request, reply) => reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()));
  return app;
}

export const isLoopback = (host: string): boolean => host === "localhost" || host === "::1" || host.startsWith("127.");

/** The one value of a header; undefined where there is none, or more than one. */
export const single = (headers: IncomingMessage["headersDistinct"], name: string): string | undefined =>
  headers[name]?.length === 1 ? headers[name][0] : undefined;

/** Node reads header values as latin1. */
export function utf8(latin1: string): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.from(latin1, "latin1"));
  } catch {
    return undefined;
  }
}

// The dashboard process: the page and, under /queues, bull-board, for people to look at. Changes nothing: a write is refused before bull-board hears of it.
import { createHash, timingSafeEqual } from "node:crypto";
import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { FastifyAdapter } from "@bull-board/fastify";
import basicAuth from "@fastify/basic-auth";
import helmet from "@fastify/helmet";
import type { FastifyInstance, FastifyPluginCallback, FastifyReply, FastifyRequest } from "fastify";
import { QUEUES } from "../../shared/jobs.ts";
import type { Config } from "../../shared/run/config.ts";
import { isLoopback, listen, openHttp, problem } from "../../shared/run/http.ts";
import type { Log } from "../../shared/run/log.ts";
import type { Store } from "../../shared/run/redis.ts";
import { openStore } from "../../shared/run/redis.ts";
import { pages } from "./pages.ts";
import { ABOUT } from "./queue-lines.ts";

const BOARD = "/queues";
const REDIS_TIMEOUT_MS = 5_000;

/** Starts the dashboard and returns how to stop it. @throws Error when it would be open to everybody, or Redis cannot be used. */
export async function startDashboard(config: Config, log: Log, version: string): Promise<AsyncDisposable & { readonly url: string }> {
  const { dashboardListen, dashboardUsers } = config;
  if (dashboardUsers.size === 0 && !isLoopback(dashboardListen.host)) {
    throw new Error(
      `the dashboard would be open to everybody who reaches ${dashboardListen.host}: set UNDERSTUDY_DASHBOARD_USERS, or let UNDERSTUDY_DASHBOARD_LISTEN name 127.0.0.1`,
    );
  }
  await using started = new AsyncDisposableStack();
  const store = started.use(await openStore(config.redisUrl!, config.redisPrefix, REDIS_TIMEOUT_MS, (err) => log.redisTrouble({ err })));
  const app = openHttp(log);
  started.defer(() => app.close());
  await guard(app, dashboardUsers);
  app.get("/readyz", async (_request, reply) => {
    const why = await whyNotReady(store);
    return reply
      .code(why === undefined ? 200 : 503)
      .type("text/plain")
      .send(why === undefined ? "ok\n" : `${why}\n`);
  });
  await app.register(pages(store, config, log));
  await app.register(board(store, log), { prefix: BOARD });
  const url = await listen(app, dashboardListen);
  log.listening({ what: "dashboard", address: url });
  log.started({ what: "dashboard", dashboard: url, version, authentication: dashboardUsers.size > 0 });
  const all = started.move();
  return { url, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

async function whyNotReady({ ledger }: Store): Promise<string | undefined> {
  return ledger.mark().then(
    ({ complete }) => (complete ? undefined : "the import does not stand yet"),
    () => "redis does not answer",
  );
}

/** Who may ask what: before any route, for unknown paths too. */
async function guard(app: FastifyInstance, users: ReadonlyMap<string, string>): Promise<void> {
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        scriptSrc: ["'self'"],
        imgSrc: ["'self'", "data:"],
        connectSrc: ["'self'"],
        baseUri: ["'self'"],
        formAction: ["'none'"],
        frameAncestors: ["'none'"],
        // The page styles its first moment in itself, and its editor adds styles while it runs.
        styleSrc: ["'self'", "'unsafe-inline'"],
      },
    },
    xFrameOptions: { action: "deny" },
    // Whether this host name is always https is for the proxy in front to say.
    strictTransportSecurity: false,
  });
  await app.register(basicAuth, {
    authenticate: { realm: "understudy" },
    validate: async (name, password) => (knows(users, name, password) ? undefined : new Error("unknown name or wrong password")),
  });
  app.addHook("onRequest", async (request, reply) => {
    if (users.size === 0 && !isLoopbackHost(request.headers.host))
      return problem(reply, 421, "without UNDERSTUDY_DASHBOARD_USERS the dashboard answers to localhost and 127.0.0.1 only");
    // Probes have no password, and learn nothing but whether it is ready.
    if (users.size > 0 && request.routeOptions.url !== "/readyz" && !(await isAuthenticated(app, request, reply)))
      return problem(reply, 401, "send a name and password of UNDERSTUDY_DASHBOARD_USERS");
    // bull-board itself answers 200 to some writes in its read-only mode.
    if (request.method !== "GET" && request.method !== "HEAD") return problem(reply.header("allow", "GET, HEAD"), 405, "the dashboard is read-only");
    return undefined;
  });
}

/** A page of somebody else's whose name was made to point at this machine (DNS rebinding) sends that name; a name that only begins with 127. is one as well. */
const isLoopbackHost = (host: string | undefined): boolean => /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i.test(host ?? "");

/** Asks the plugin, which sets the challenge; the answer is ours. */
function isAuthenticated(app: FastifyInstance, request: FastifyRequest, reply: FastifyReply): Promise<boolean> {
  return new Promise((resolve) => {
    app.basicAuth.call(app, request, reply, (error?: Error) => resolve(error === undefined));
  });
}

/** Takes as long for an unknown name as for a wrong password. */
function knows(users: ReadonlyMap<string, string>, name: string, password: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  const given = [digest(name), digest(password)] as const;
  const hits = [...users].map(([user, secret]) => [timingSafeEqual(digest(user), given[0]), timingSafeEqual(digest(secret), given[1])]);
  return hits.some(([sameName, samePassword]) => sameName && samePassword);
}

/** bull-board for the three queues. A job's name is its subject, `cluster/user`. */
function board({ queues }: Store, log: Log): FastifyPluginCallback {
  const serverAdapter = new FastifyAdapter().setBasePath(BOARD);
  createBullBoard({
    queues: QUEUES.map((name) => new BullMQAdapter(queues[name], { readOnlyMode: true, description: ABOUT[name] })),
    serverAdapter,
    options: { uiConfig: { boardTitle: "Understudy", hideDocsLink: true } },
  });
  // Its own answer tells the error's text.
  serverAdapter.setErrorHandler((error) => {
    const { statusCode = 500 } = error as { statusCode?: number };
    if (statusCode >= 500) log.requestFailed({ err: error, route: BOARD });
    return { status: statusCode >= 500 ? 500 : 400, body: { error: { key: "ERRORS.INTERNAL_SERVER_ERROR" } } };
  });
  return serverAdapter.registerPlugin();
}

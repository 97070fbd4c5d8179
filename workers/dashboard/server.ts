// The dashboard process, put together: who may ask (access.ts), the page (pages.ts), the queues (board.ts), and what some may do (actions.ts).
import helmet from "@fastify/helmet";
import type { FastifyInstance } from "fastify";
import type { Config } from "../../shared/run/config.ts";
import { listen, openHttp } from "../../shared/run/http.ts";
import type { Log } from "../../shared/run/log.ts";
import type { Store } from "../../shared/run/redis.ts";
import { openStore } from "../../shared/run/redis.ts";
import { assertGuarded, guard } from "./access.ts";
import { actions } from "./actions.ts";
import { BOARD, board } from "./board.ts";
import { pages } from "./pages.ts";

const REDIS_TIMEOUT_MS = 5_000;

/** Starts the dashboard and returns how to stop it. @throws Error when it would be open to everybody, or Redis cannot be used. */
export async function startDashboard(config: Config, log: Log, version: string): Promise<AsyncDisposable & { readonly url: string }> {
  assertGuarded(config);
  await using started = new AsyncDisposableStack();
  const store = started.use(await openStore(config.redisUrl!, config.redisPrefix, REDIS_TIMEOUT_MS, (err) => log.redisTrouble({ err })));
  const app = openHttp(log);
  started.defer(() => app.close());
  await setHeaders(app);
  const personOf = await guard(app, config);
  app.get("/readyz", async (_request, reply) => {
    const why = await whyNotReady(store);
    return reply
      .code(why === undefined ? 200 : 503)
      .type("text/plain")
      .send(why === undefined ? "ok\n" : `${why}\n`);
  });
  await app.register(pages(store, config, log, personOf));
  await app.register(board(store, log), { prefix: BOARD });
  if (config.dashboardWrite.length > 0) await app.register(actions({ ledger: store.ledger, log, personOf }));
  const url = await listen(app, config.dashboardListen);
  log.listening({ what: "dashboard", address: url });
  const authentication = config.dashboardUsers.size > 0 || config.dashboardTrustedHeader !== undefined;
  log.started({ what: "dashboard", dashboard: url, version, authentication, writable: config.dashboardWrite.length > 0 });
  const all = started.move();
  return { url, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

async function whyNotReady({ ledger }: Store): Promise<string | undefined> {
  return ledger.mark().then(
    ({ complete }) => (complete ? undefined : "the import does not stand yet"),
    () => "redis does not answer",
  );
}

/** What browsers may do with the pages. */
async function setHeaders(app: FastifyInstance): Promise<void> {
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        scriptSrc: ["'self'"],
        imgSrc: ["'self'", "data:"],
        connectSrc: ["'self'"],
        baseUri: ["'self'"],
        // The search is a form, too.
        formAction: ["'self'"],
        frameAncestors: ["'none'"],
        // The page styles its first moment in itself, and its editor adds styles while it runs.
        styleSrc: ["'self'", "'unsafe-inline'"],
      },
    },
    // With no-referrer a browser says `Origin: null` of a form, and nobody could tell where it was sent from.
    referrerPolicy: { policy: "same-origin" },
    xFrameOptions: { action: "deny" },
    // Whether this host name is always https is for the proxy in front to say.
    strictTransportSecurity: false,
  });
}

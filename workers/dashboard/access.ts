// Who asks the dashboard, and who of them may write: by names and passwords, by the header of an auth proxy in front, or because they sit at this machine.
// Before any route, for unknown paths too. What a person who may write can do is actions.ts's.
import { createHash, timingSafeEqual } from "node:crypto";
import basicAuth from "@fastify/basic-auth";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Config } from "../../shared/run/config.ts";
import { isLoopback, problem, single, utf8 } from "../../shared/run/http.ts";
import { refusalOf } from "../../shared/subject.ts";
import { isAction } from "./forms.ts";

/** Who asks. */
export interface Person {
  readonly name: string;
  readonly mayWrite: boolean;
}
/** Nobody knows their name. */
const LOCAL = "somebody at the dashboard's own machine";
const READ_ONLY = "GET, HEAD";

/** @throws Error when everybody who reaches the dashboard could use it. */
export function assertGuarded({ dashboardListen: { host }, dashboardUsers, dashboardTrustedHeader }: Config): void {
  if (dashboardUsers.size > 0 || dashboardTrustedHeader !== undefined || isLoopback(host)) return;
  throw new Error(
    `the dashboard would be open to everybody who reaches ${host}: set UNDERSTUDY_DASHBOARD_USERS (or UNDERSTUDY_DASHBOARD_TRUSTED_HEADER behind an auth proxy), or let UNDERSTUDY_DASHBOARD_LISTEN name 127.0.0.1`,
  );
}

/** Lets nobody in who may not be, and nothing but reading outside the actions. Returns who somebody is that was let in. */
export async function guard(app: FastifyInstance, config: Config): Promise<(request: FastifyRequest) => Person> {
  const { dashboardUsers: users, dashboardTrustedHeader: header, dashboardWrite: writers } = config;
  const people = new WeakMap<FastifyRequest, Person>();
  const admit = (request: FastifyRequest, name: string): void => void people.set(request, { name, mayWrite: writers.includes("*") || writers.includes(name) });
  await app.register(basicAuth, {
    authenticate: { realm: "understudy" },
    validate: async (name, password, request) => (knows(users, name, password) ? admit(request, name) : new Error("unknown name or wrong password")),
  });
  /** Why this one is not let in. */
  const refusal = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> => {
    if (header !== undefined) {
      const name = personIn(request, header);
      if (name === undefined) return problem(reply, 401, `the proxy in front has to name one person in ${header}, and to strip what clients send`);
      admit(request, name);
    } else if (users.size > 0) {
      if (!(await isAuthenticated(app, request, reply))) return problem(reply, 401, "send a name and password of UNDERSTUDY_DASHBOARD_USERS");
    } else admit(request, LOCAL);
    return undefined;
  };
  app.addHook("onRequest", async (request, reply) => {
    reply.header("cache-control", "no-store");
    if (header === undefined && users.size === 0 && !isLoopbackHost(request.headers.host))
      return problem(reply, 421, "without UNDERSTUDY_DASHBOARD_USERS the dashboard answers to localhost and 127.0.0.1 only");
    const { method, routeOptions } = request;
    // Probes have no password, and learn nothing but whether it is ready.
    const refused = routeOptions.url === "/readyz" ? undefined : await refusal(request, reply);
    if (refused) return refused;
    // bull-board itself answers 200 to some writes in its read-only mode.
    if (method !== "GET" && method !== "HEAD" && !isAction(routeOptions.url))
      return problem(reply.header("allow", READ_ONLY), 405, writers.length === 0 ? "the dashboard is read-only" : "this part of the dashboard is read-only");
    return undefined;
  });
  return (request) => people.get(request)!;
}

/** A page of somebody else's whose name was made to point at this machine (DNS rebinding) sends that name; a name that only begins with 127. is one as well. */
const isLoopbackHost = (host: string | undefined): boolean => /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i.test(host ?? "");

/** Undefined for a header that comes twice, too: then the client has sent one itself. */
function personIn({ raw }: FastifyRequest, header: string): string | undefined {
  const name = utf8(single(raw.headersDistinct, header) ?? "");
  return refusalOf(name) === undefined ? name : undefined;
}

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

// The login hook: POST /v1/logins, GET /v1/subjects, DELETE /v1/logins. Authentication, HTTP and time limits; what it means is logins.ts's.
import { createHash } from "node:crypto";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Policy } from "../shared/decide/identity.ts";
import { pause } from "../shared/kube/watch.ts";
import { statusOf } from "../shared/ledger/status.ts";
import type { Config } from "../shared/run/config.ts";
import { openHttp, problem } from "../shared/run/http.ts";
import type { Log } from "../shared/run/log.ts";
import type { Metrics } from "../shared/run/metrics.ts";
import type { Authenticated, Caller } from "./authenticate.ts";
import { authenticate } from "./authenticate.ts";
import type { Login } from "./login.ts";
import { readLogin } from "./login.ts";
import type { LoginParts, Refusal } from "./logins.ts";
import { answersFor, dropProvider, endLogins, storeLogin, targetsOf, worstOf } from "./logins.ts";
import { WAIT_REFUSAL, holdSeconds, inTime } from "./patience.ts";

const RETRY_AFTER_SECONDS = 2;

/** `now` (ms) is passed in, so that a test can hold the clock. */
export interface HookParts extends LoginParts {
  readonly config: Config;
  readonly policy: Policy;
  readonly log: Log;
  readonly metrics: Metrics;
  now(): number;
}

/** The routes. Bodies are kept as bytes: a signature is over what was sent, not over what was parsed. */
export function openHook(parts: HookParts): FastifyInstance {
  const app = openHttp(parts.log);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  app.addHook("onResponse", async (request, reply) => {
    if (request.routeOptions.url) parts.metrics.logins.inc({ status: String(reply.statusCode) });
  });
  app.post("/v1/logins", (request, reply) => guarded(parts, request, reply, () => postLogin(parts, request, reply)));
  app.get("/v1/subjects/*", (request, reply) => guarded(parts, request, reply, () => getSubject(parts, request, reply)));
  app.delete("/v1/logins/*", (request, reply) => guarded(parts, request, reply, () => deleteLogin(parts, request, reply)));
  return app;
}

/** Whatever the ledger cannot do now is a 503 that says when to come again; nothing half-done is hidden by it. */
async function guarded(parts: HookParts, request: FastifyRequest, reply: FastifyReply, act: () => Promise<FastifyReply>): Promise<FastifyReply> {
  try {
    return await act();
  } catch (error) {
    parts.log.requestFailed({ err: error, route: request.routeOptions.url });
    return problem(reply, 503, "the ledger does not answer; nothing is lost if you send it again", RETRY_AFTER_SECONDS);
  }
}

/** Authenticate, read, ask who is entitled, store, answer: in this order, so that nothing unsigned is parsed and nothing refused is stored. */
async function postLogin(parts: HookParts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { log, policy } = parts;
  const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
  const caller = authenticate(request.headers, body, parts.config.hookSecrets, parts.now());
  if ("refused" in caller) return unauthenticated(parts, reply, caller.refused);
  const hold = holdSeconds(request.query);
  if (hold === undefined) return problem(reply, 400, WAIT_REFUSAL);
  const reading = readLogin(body, policy);
  if ("status" in reading) {
    log.loginRefused({ status: reading.status, reason: reading.detail });
    return problem(reply, reading.status, reading.detail);
  }
  const { login } = reading;
  const stored = await inTime(storeOnce(parts, login, caller, createHash("sha256").update(body).digest("hex")));
  if (!("targets" in stored)) {
    log.loginRefused({ user: login.user, cluster: login.cluster, status: stored.status, reason: stored.detail });
    return problem(reply, stored.status, stored.detail, stored.status === 503 ? 1 : undefined);
  }
  return answer(parts, reply, { user: login.user, cluster: login.cluster, targets: stored.targets, at: caller.at, holdMs: hold * 1000 });
}

/** Stores what a login says, once for each webhook id. */
async function storeOnce(parts: HookParts, login: Login, { id, at }: Authenticated, bodyHash: string): Promise<{ targets: string[] } | Refusal> {
  const { ledger } = parts;
  const replay = id === undefined ? "new" : await ledger.replay(id, bodyHash);
  if (replay === "other") return { status: 409, detail: "this webhook-id was sent with another body" };
  let stored = false;
  try {
    const found = await targetsOf(parts, login, at);
    if (replay === "same") return found;
    // Not entitled here is no reason to keep a group that the provider has just taken away.
    if ("targets" in found || found.narrows) await storeLogin(parts, login, at, "targets" in found ? found.targets : []);
    stored = "targets" in found;
    if (id !== undefined && stored) await ledger.endReplay(id, bodyHash);
    return found;
  } finally {
    // Refused, or not stored to the end: the same request has to count when it comes again.
    if (id !== undefined && replay === "new" && !stored) await ledger.forgetReplay(id);
  }
}

interface Asked {
  readonly user: string;
  readonly cluster: string | undefined;
  readonly targets: readonly string[];
  readonly at: number;
  readonly holdMs: number;
}
/** Holds the answer for `ready`, as long as the caller asked for. */
async function answer(parts: HookParts, reply: FastifyReply, { user, cluster, targets, at, holdMs }: Asked): Promise<FastifyReply> {
  const deadline = performance.now() + holdMs;
  const gone = new AbortController();
  reply.raw.once("close", () => gone.abort());
  for (let waitMs = 10; ; waitMs = Math.min(waitMs * 1.5, 100)) {
    const answers = await inTime(answersFor(parts, user, targets, at));
    const state = worstOf(answers);
    if (state === "ready" || performance.now() + waitMs > deadline || gone.signal.aborted) {
      parts.log.loginAnswered({ user, cluster, state, clusters: targets.length });
      reply.code(state === "ready" ? 200 : 202);
      if (cluster === undefined) return reply.send({ state, clusters: answers });
      const { reason, verifiedAt } = answers[0]!;
      return reply.send(state === "ready" ? { state, verifiedAt } : { state, reason });
    }
    await pause(waitMs, gone.signal);
  }
}

/** GET /v1/subjects/{cluster}/{user} */
async function getSubject(parts: HookParts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const caller = authenticateTarget(parts, request);
  if ("refused" in caller) return unauthenticated(parts, reply, caller.refused);
  const [cluster, user, ...rest] = segments(request.url, "/v1/subjects/");
  if (!cluster || !user || rest.length > 0) return problem(reply, 400, "GET /v1/subjects/{cluster}/{user}, each percent-encoded");
  const [record, { run }] = await inTime(Promise.all([parts.ledger.record({ cluster, user }), parts.ledger.mark()]));
  return record ? reply.send(statusOf({ cluster, user }, record, run)) : problem(reply, 404, "no such subject");
}

/** DELETE /v1/logins/{user}[/{provider}] */
async function deleteLogin(parts: HookParts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const caller = authenticateTarget(parts, request);
  if ("refused" in caller) return unauthenticated(parts, reply, caller.refused);
  const [user, provider, ...rest] = segments(request.url, "/v1/logins/");
  // A slash or a misspelt query too many must not end more than was meant.
  if (!user || provider === "" || rest.length > 0) return problem(reply, 400, "DELETE /v1/logins/{user}[/{provider}], each percent-encoded");
  const { cluster, ...others } = request.query as { cluster?: string | string[] };
  if (Array.isArray(cluster) || Object.keys(others).length > 0)
    return problem(reply, 400, `${Object.keys(others)[0]?.slice(0, 63) ?? "cluster"}: the query is ?cluster=C, once, or nothing`);
  if (cluster !== undefined && !parts.clusters().includes(cluster)) return problem(reply, 404, `cluster ${cluster.slice(0, 63)} is not configured`);
  // A signature's time is in whole seconds: what came before within that second is meant too.
  const at = caller.id === undefined ? caller.at : Math.min(caller.at + 999, parts.now());
  if (!(await inTime(parts.ledger.mark())).complete) return problem(reply, 503, "the import does not stand yet", 1);
  await inTime(provider === undefined ? endLogins(parts, user, cluster, at) : dropProvider(parts, user, provider, at));
  return reply.code(202).send({ state: "pending", reason: "" });
}

/** GET and DELETE have no body to sign: the method and the target as it was sent stand for it. */
const authenticateTarget = (parts: HookParts, request: FastifyRequest): Caller =>
  authenticate(request.headers, `${request.method} ${request.raw.url}`, parts.config.hookSecrets, parts.now());

function unauthenticated(parts: HookParts, reply: FastifyReply, detail: string): FastifyReply {
  parts.log.loginRefused({ status: 401, reason: detail });
  return problem(reply.header("www-authenticate", "Bearer"), 401, detail);
}

/** Path segments, decoded one by one: a user id may hold a slash. */
function segments(url: string, prefix: string): string[] {
  const path = url.split("?", 1)[0]!.slice(prefix.length);
  try {
    return path.split("/").map(decodeURIComponent);
  } catch {
    return [];
  }
}

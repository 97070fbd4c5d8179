// The credentials listener: POST /v1/credentials, GET /v1/forward-auth, GET /v1/revocations. What it gives away makes its caller a person on a cluster,
// so it stands apart from the hook and has secrets of its own. Authentication, HTTP and time limits; who gets one is credential.ts's.
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { pause } from "../shared/kube/watch.ts";
import type { Config } from "../shared/run/config.ts";
import { openHttp, problem, single } from "../shared/run/http.ts";
import type { Log } from "../shared/run/log.ts";
import type { CREDENTIAL_RESULTS, Metrics } from "../shared/run/metrics.ts";
import type { Subject } from "../shared/subject.ts";
import { ClusterId, ID_LENGTH_MAX } from "../shared/subject.ts";
import { bearerFits, isOneOf } from "./authenticate.ts";
import { readBody } from "./body.ts";
import type { Credential, CredentialParts, Refusal } from "./credential.ts";
import { credentialFor } from "./credential.ts";
import { forwardedFrom } from "./forward-auth.ts";
import { WAIT_REFUSAL, holdSeconds } from "./patience.ts";
import type { RevocationStreams } from "./revocation-streams.ts";

const RETRY_AFTER_SECONDS = 2;

/** `now` (ms) is passed in, so that a test can hold the clock. */
export interface ListenerParts extends CredentialParts {
  readonly config: Pick<Config, "credentialsSecrets" | "forwardAuthUserHeader" | "tokenMode" | "profile">;
  readonly streams: RevocationStreams;
  readonly log: Log;
  readonly metrics: Metrics;
  now(): number;
}

/** The routes. Nothing of them may be kept by anybody on the way. */
export function openCredentials(parts: ListenerParts): FastifyInstance {
  const app = openHttp(parts.log);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  app.addHook("onRequest", async (_request, reply) => void reply.header("cache-control", "no-store"));
  app.addHook("preClose", async () => parts.streams.end());
  app.addHook("onResponse", async (request, reply) => {
    if (request.routeOptions.url && request.routeOptions.url !== "/v1/revocations") parts.metrics.credentials.inc({ result: resultOf(reply.statusCode) });
  });
  app.post("/v1/credentials", (request, reply) => guarded(parts, request, reply, () => postCredentials(parts, request, reply)));
  app.get("/v1/forward-auth", (request, reply) => guarded(parts, request, reply, () => getForwardAuth(parts, request, reply)));
  app.get("/v1/revocations", (request, reply) => guarded(parts, request, reply, () => getRevocations(parts, request, reply)));
  return app;
}

function resultOf(status: number): (typeof CREDENTIAL_RESULTS)[number] {
  if (status === 200) return "given";
  if (status === 401) return "unauthenticated";
  if (status === 403) return "refused";
  if (status === 404) return "unknown";
  return status < 500 ? "wrong" : "unavailable";
}

/** Whatever Redis cannot answer now is a 503 that says when to come again. */
async function guarded(parts: ListenerParts, request: FastifyRequest, reply: FastifyReply, act: () => Promise<FastifyReply>): Promise<FastifyReply> {
  try {
    return await act();
  } catch (error) {
    parts.log.requestFailed({ err: error, route: request.routeOptions.url });
    return problem(reply, 503, "the ledger does not answer", RETRY_AFTER_SECONDS);
  }
}

const Body = z.strictObject({ cluster: ClusterId, user: z.string().min(1).max(ID_LENGTH_MAX) });

/** Authenticate, read, ask, answer: nothing is parsed for somebody unknown. */
async function postCredentials(parts: ListenerParts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  if (!bearerFits(request.headers, parts.config.credentialsSecrets))
    return unauthenticated(parts, reply, "send Authorization: Bearer with one of UNDERSTUDY_CREDENTIALS_SECRETS");
  const read = readBody(Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0), Body);
  if ("problem" in read) return refused(parts, reply, undefined, { status: 400, detail: read.problem });
  return give(parts, request, reply, read.body, ({ client, token, headers }) =>
    reply.send({
      server: client.server,
      certificateAuthorityData: client.ca === undefined ? null : Buffer.from(client.ca).toString("base64"),
      token: token.token,
      expiresAt: token.expiresAt === undefined ? null : new Date(token.expiresAt).toISOString(),
      headers,
    }),
  );
}

/** The same as headers of an empty answer, which proxies copy into the request that they let pass. */
async function getForwardAuth(parts: ListenerParts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { credentialsSecrets, forwardAuthUserHeader } = parts.config;
  const headers = request.raw.headersDistinct;
  const secret = single(headers, "x-understudy-secret");
  if (secret === undefined || !isOneOf(secret, credentialsSecrets))
    return unauthenticated(parts, reply, "send X-Understudy-Secret, once, with one of UNDERSTUDY_CREDENTIALS_SECRETS");
  if (forwardAuthUserHeader === undefined)
    return refused(parts, reply, undefined, { status: 404, detail: "set UNDERSTUDY_FORWARD_AUTH_USER_HEADER to the header that names the person" });
  const subject = forwardedFrom(headers, forwardAuthUserHeader);
  if ("status" in subject) return refused(parts, reply, undefined, subject);
  return give(parts, request, reply, subject, ({ token, headers: pairs }) => {
    reply.header("authorization", `Bearer ${token.token}`);
    for (const [name, same] of Map.groupBy(pairs, ([header]) => header)) {
      // One header line a value, its UTF-8 bytes as they are.
      const values = same.map(([, value]) => Buffer.from(value).toString("latin1"));
      reply.header(name, values.length === 1 ? values[0] : values);
    }
    return reply.send();
  });
}

/** An open stream of who lost what: see revocation-streams.ts. */
async function getRevocations(parts: ListenerParts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  if (!bearerFits(request.headers, parts.config.credentialsSecrets))
    return unauthenticated(parts, reply, "send Authorization: Bearer with one of UNDERSTUDY_CREDENTIALS_SECRETS");
  // Said twice it is no place in the stream, and resets.
  await parts.streams.open(request.raw.headersDistinct["last-event-id"]?.join(), () => {
    reply.hijack();
    return reply.raw;
  });
  return reply;
}

/** Holds the answer for `ready` as long as the caller asked for, then gives or refuses. */
async function give(
  parts: ListenerParts,
  request: FastifyRequest,
  reply: FastifyReply,
  subject: Subject,
  answer: (credential: Credential) => FastifyReply,
): Promise<FastifyReply> {
  const hold = holdSeconds(request.query);
  if (hold === undefined) return refused(parts, reply, subject, { status: 400, detail: WAIT_REFUSAL });
  const deadline = performance.now() + hold * 1000;
  const gone = new AbortController();
  reply.raw.once("close", () => gone.abort());
  for (let waitMs = 10; ; waitMs = Math.min(waitMs * 1.5, 100)) {
    const found = await credentialFor(parts, subject);
    if (!("status" in found)) {
      parts.log.credentialGiven({ ...subject, mode: parts.config.tokenMode });
      parts.metrics.tokenAge.observe(Math.max(0, parts.now() - found.token.issuedAt) / 1000);
      return answer(found);
    }
    if (!found.passes || performance.now() + waitMs > deadline || gone.signal.aborted) return refused(parts, reply, subject, found);
    await pause(waitMs, gone.signal);
  }
}

function unauthenticated(parts: ListenerParts, reply: FastifyReply, detail: string): FastifyReply {
  return refused(parts, reply.header("www-authenticate", "Bearer"), undefined, { status: 401, detail });
}

function refused(parts: ListenerParts, reply: FastifyReply, subject: Subject | undefined, { status, detail, retryAfter }: Refusal): FastifyReply {
  parts.log.credentialRefused({ ...subject, status, reason: detail });
  return problem(reply, status, detail, retryAfter);
}

// A proxy on Understudy, to be read and copied by those who write one: `kubectl` comes with a person's own token, and the proxy goes to the cluster as that
// person, with a credential that can be nobody else. It has no right of its own: whoever steals a credential from it is one person on one cluster.
//   PROXY_PEOPLE   file (YAML or JSON), read at the start: <token>: {user: u-bob, provider: github, groups: [github_org://1], extras: {username: [bob]}}
//   PROXY_HOOK, PROXY_HOOK_SECRET                address of the login hook (http://127.0.0.1:8400), and one of its secrets
//   PROXY_CREDENTIALS, PROXY_CREDENTIALS_SECRET  address of the credentials (http://127.0.0.1:8403), and one of their secrets
//   PROXY_LISTEN, PROXY_CERT, PROXY_KEY          127.0.0.1:8443, and PEM files for TLS: kubectl sends a token nowhere else
//   PROXY_BLIND_MS 30000: nothing heard of revocations for so long, and all streams are cut. Till then they go on, and new ones are served: whoever is
//                  removed meanwhile may read on for that long. What is asked anew is refused by the cluster at once, whatever this proxy has heard.
// A person's kubeconfig has `server: https://<this>/clusters/<cluster>` and the token. No error and no line that is printed holds a token.
import { addAbortListener, once } from "node:events";
import { readFileSync } from "node:fs";
import { type IncomingMessage, ServerResponse, createServer } from "node:http";
import { Agent, createServer as createTlsServer, request as askCluster } from "node:https";
import { createInterface } from "node:readline";
import { type Duplex, Readable, pipeline } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { parse } from "yaml";

const { PROXY_LISTEN = "127.0.0.1:8443", PROXY_PEOPLE, PROXY_CERT, PROXY_KEY, PROXY_BLIND_MS = "30000", ...env } = process.env;
const HOOK = [env["PROXY_HOOK"] ?? "http://127.0.0.1:8400", env["PROXY_HOOK_SECRET"]] as const;
const CREDENTIALS = [env["PROXY_CREDENTIALS"] ?? "http://127.0.0.1:8403", env["PROXY_CREDENTIALS_SECRET"]] as const;
if (!PROXY_PEOPLE || !HOOK[1] || !CREDENTIALS[1] || process.argv.length > 2) {
  console.error(`${readFileSync(import.meta.filename, "utf8").split("\nimport", 1)[0]}\nSet PROXY_PEOPLE and both secrets; there are no arguments.`);
  process.exit(process.argv[2] === "--help" ? 0 : 2);
}
type Credential = { server: string; certificateAuthorityData: string | null; token: string; headers: [string, string][] };
type Session = { said: string; readonly since: number; readonly credential: Promise<Credential>; readonly over: AbortController };
const people = new Map(Object.entries(parse(readFileSync(PROXY_PEOPLE, "utf8"), { prettyErrors: false }) as Record<string, { user: string }>));
const sessions = new Map<string, Session>(); // a minute each; `over` ends all that was begun in that name since the last revocation
const agent = new Agent({ keepAlive: true, timeout: 30_000 }); // an API server lets an idle connection live for longer
const refusal = (code: number, message: string, retryAfter = "1") => Object.assign(new Error(message), { code, retryAfter });
const codeOf = ({ cause, name, code = name }: NodeJS.ErrnoException): string => (cause as { code?: string })?.code ?? (name === "Error" ? code : name);
/** A question to Understudy. Why it refuses a person, the person hears. */
async function ask([address, secret]: typeof HOOK, path: string, question: object): Promise<unknown> {
  const headers = { authorization: `Bearer ${secret}`, "content-type": "application/json" };
  const options = { method: "POST", headers, body: JSON.stringify(question), signal: AbortSignal.timeout(15_000) };
  const answer = await fetch(address + path, options).catch((error: Error) => Response.json({ detail: `no answer (${codeOf(error)})` }, { status: 503 }));
  const json = (await answer.json()) as { detail?: string };
  if (answer.ok) return json;
  throw refusal({ 403: 403, 404: 404, 422: 403 }[answer.status] ?? 503, `Understudy: ${json.detail}`, answer.headers.get("retry-after") ?? "1");
}
/** The login comes first, for it says which groups count: at once where they have changed. However many requests wait, one question is asked. */
async function sessionFor(cluster: string, person: { readonly user: string }): Promise<Session> {
  const [id, said, now] = [`${cluster}/${person.user}`, JSON.stringify(person), performance.now()];
  let session = sessions.get(id);
  const over = session?.over.signal.aborted === false ? session.over : new AbortController();
  if (session?.over !== over || session.said !== said || session.since + 60_000 < now) {
    const login = ask(HOOK, "/v1/logins?wait=5", { ...person, cluster });
    const credential = login.then(() => ask(CREDENTIALS, "/v1/credentials?wait=5", { cluster, user: person.user })) as Promise<Credential>;
    const made = (session = { said, since: now, credential, over });
    credential.catch(() => (made.said = "")); // who waits for it hears why, and who comes next asks again
    sessions.set(id, made);
  }
  await session.credential;
  return over.signal.aborted ? sessionFor(cluster, person) : session;
}
/** Names and values in turn, repeated ones repeated, without those that end at this connection; `Connection` may name more of them. */
function endToEnd({ rawHeaders, headers }: IncomingMessage, own = /^$/): string[] {
  const named = (headers.connection ?? "").toLowerCase().split(/[\s,]+/);
  const ends = (name: string) => /^(connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade)$/.test(name) || own.test(name) || named.includes(name);
  return rawHeaders.filter((_, i) => !ends(rawHeaders[i - (i % 2)]!.toLowerCase()));
}
/** A request, from the client's token to the cluster's answer. Here an OIDC check goes: verify an ID token, and make a person of its claims. */
async function serve(request: IncomingMessage, response: ServerResponse, upgrade?: string): Promise<void> {
  const person = people.get(/^Bearer (\S+)$/i.exec(request.headers.authorization ?? "")?.[1] ?? "");
  if (!person) throw refusal(401, "this proxy does not know your token");
  const [, cluster, path = "/"] = /^\/clusters\/([a-z0-9.-]+)(\/.*)?$/.exec(request.url!) ?? [];
  if (!cluster || /\/(\.|%2e){1,2}([/?]|$)/i.test(path)) throw refusal(404, "this proxy knows /clusters/<cluster>/…, without dots for folders");
  const small = !request.headers["transfer-encoding"] && Number(request.headers["content-length"] ?? 0) <= 65_536;
  const body = upgrade ? Buffer.alloc(0) : small ? Buffer.concat(await request.toArray()) : undefined;
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  for (let attempt = 1; ; attempt++, await pause(100)) {
    const session = await sessionFor(cluster, person);
    const signal = AbortSignal.any([gone.signal, session.over.signal]);
    const { server, token, headers: names, certificateAuthorityData: data } = await session.credential;
    // Without Impersonate-User a request would not fail, but be the service account's own.
    if (names.filter(([name]) => name === "Impersonate-User").join() !== `Impersonate-User,${person.user}`) throw refusal(503, "the credential is not yours");
    // What the client says of who it is goes no further, nor does a token among the protocols of its WebSocket, nor its word on where the body ends.
    const headers = endToEnd(request, /^(host|authorization|impersonate-.*|content-length)$/).map((text) => text.replaceAll(/base64url\.bearer[^,]*,?/g, ""));
    for (const [name, value] of names) headers.push(name, Buffer.from(value).toString("latin1"));
    headers.push("Authorization", `Bearer ${token}`, "Host", new URL(server).host, ...(upgrade ? ["Connection", "Upgrade", "Upgrade", upgrade] : []));
    headers.push(...(body ? ["Content-Length", String(body.length)] : ["Transfer-Encoding", "chunked"]));
    const options = { method: request.method, headers, agent, signal, ca: data ? Buffer.from(data, "base64") : undefined };
    const upstream = askCluster(server, { ...options, path: new URL(server).pathname.replace(/\/$/, "") + path });
    pipeline(body ? [body] : request, upstream, () => undefined); // an end of either is the other's
    const [answer, socket, head] = (await Promise.race([once(upstream, "response"), once(upstream, "upgrade")])) as [IncomingMessage, Duplex?, Buffer?];
    // A 403 without a word of flow control comes from before it, where impersonation is judged: what was used is out of date.
    if (answer.statusCode === 401 || (answer.statusCode === 403 && !answer.headers["x-kubernetes-pf-flowschema-uid"])) session.said = "";
    if (answer.statusCode === 401 && attempt === 1 && body) {
      // Nothing was done, and the same is asked again: once, for one API server may know a token a moment later than another. A 403 is an answer.
      console.log(`retry: ${request.method} as ${cluster}/${person.user} after 401`);
      answer.resume();
      continue;
    }
    const upgraded = socket ? ["Connection", "Upgrade", "Upgrade", answer.headers.upgrade!] : [];
    response.writeHead(answer.statusCode!, [...endToEnd(answer), ...upgraded]).flushHeaders();
    if (!socket) return void pipeline(answer, response, () => undefined);
    addAbortListener(signal, () => socket.destroy());
    socket.on("error", () => socket.destroy()).once("close", () => request.socket.destroySoon());
    socket.unshift(head);
    return void request.socket.pipe(socket).pipe(request.socket);
  }
}
/** As a Kubernetes Status, which kubectl prints. Who was cut off from reading may ask again; what became of a change is not known. */
function fail(response: ServerResponse, error: Error): void {
  if (response.headersSent) return void response.destroy();
  const cut = error.name === "AbortError" && refusal(response.req.method === "GET" ? 503 : 502, "your access has just changed");
  const told = cut || ("retryAfter" in error ? (error as ReturnType<typeof refusal>) : refusal(502, `no answer from the cluster (${codeOf(error)})`));
  const reason = { 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 503: "ServiceUnavailable" }[told.code];
  response.writeHead(told.code, { "content-type": "application/json", ...(told.code === 503 && { "retry-after": told.retryAfter }) });
  response.end(JSON.stringify({ kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message: told.message, reason, code: told.code }));
}
/** Ends what is open when it is revoked. Any sign of life, a comment too, puts off the moment at which everything ends. */
async function follow(): Promise<never> {
  let [id, lastId, reading] = ["", "", new AbortController()];
  const cut = ({ cluster = "", user = "" } = {}): void => sessions.forEach(({ over }, key) => (cluster === "" || key === `${cluster}/${user}`) && over.abort());
  const blind = setInterval(() => [cut(), reading.abort()], Number(PROXY_BLIND_MS));
  for (; ; await pause(500)) {
    try {
      reading = new AbortController();
      const headers = { authorization: `Bearer ${CREDENTIALS[1]}`, "last-event-id": lastId };
      const { ok, status, body } = await fetch(`${CREDENTIALS[0]}/v1/revocations`, { headers, signal: reading.signal });
      if (!ok) throw refusal(status, "no stream");
      for await (const line of createInterface(Readable.fromWeb(body!))) {
        blind.refresh();
        const [, field, value = ""] = /^(id|data): ?(.*)$/.exec(line) ?? [];
        if (field === "data") cut(JSON.parse(value) as { cluster?: string; user?: string }); // `reset` names nobody
        if (field === "id") id = value;
        if (line === "") lastId = id;
      }
    } catch (error) {
      console.error(`revocations: ${codeOf(error as Error)}, trying again`);
    }
  }
}
const options = { shouldUpgradeCallback: ({ headers }: IncomingMessage) => /^(websocket|spdy\/3\.1)$/i.test(headers.upgrade ?? "") };
const server = PROXY_CERT && PROXY_KEY ? createTlsServer({ ...options, cert: readFileSync(PROXY_CERT), key: readFileSync(PROXY_KEY) }) : createServer(options);
server.on("request", (request, response) => void serve(request, response).catch((error: Error) => fail(response, error)));
server.on("upgrade", (request, socket, head) => {
  const response = Object.assign(new ServerResponse(request), { shouldKeepAlive: false });
  response.once("finish", () => socket.end()).assignSocket(request.socket);
  socket.on("error", () => socket.destroy()).unshift(head);
  serve(request, response, request.headers.upgrade).catch((error: Error) => fail(response, error));
});
const [host, port] = PROXY_LISTEN.split(/:(?=\d+$)/);
server.listen(Number(port), host, () => console.log(`proxy listens on ${host}:${(server.address() as { port: number }).port}`));
process.once("SIGTERM", () => [server.close(() => process.exit(0)), setTimeout(() => process.exit(0), 5_000)]); // streams have no end of their own
await follow();

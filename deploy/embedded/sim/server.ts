// A simulated cluster: a Kubernetes API over HTTPS in this process, with no nodes and nothing that runs. It knows the verbs that Understudy uses, and what
// kubectl needs to get, create, edit and delete; test/api/contract.test.ts holds it to what a real API server answers. There are no faults in it.
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type Server, createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { Controllers } from "./controllers.ts";
import { discover } from "./discovery.ts";
import { initialObjects } from "./initial.ts";
import type { Target } from "./path.ts";
import { attributesOf, targetOf, verbOf } from "./path.ts";
import { type User, Tokens } from "./tokens.ts";
import { authorize, impersonated } from "./rbac.ts";
import { Refusal, badRequest, noSuchPath, notAllowed, unauthorized } from "./refusal.ts";
import type { Resource } from "./resources.ts";
import { KUBERNETES, RANCHER } from "./resources.ts";
import { answerReview, answerToken } from "./reviews.ts";
import { bearerIn, impersonationIn, managerIn, viewFor } from "./request.ts";
import { Store } from "./store.ts";
import { type Answer, type Asked, Verbs } from "./verbs.ts";
import { serveWatch } from "./watch.ts";
import { type Serving, certificateFor } from "./tls.ts";

export interface SimOptions {
  readonly name: string;
  /** With Rancher's kinds, as a management cluster has them. */
  readonly rancher?: boolean;
  /** Told of each request once it is answered. */
  readonly onCall?: (call: SimCall) => void;
}
export interface SimCall {
  readonly method: string;
  /** As sent, query included. */
  readonly url: string;
  readonly accept: string;
  readonly userAgent: string;
  readonly status: number;
}

export class SimCluster implements AsyncDisposable {
  readonly name: string;
  /** PEM. */
  readonly ca: string;
  readonly adminToken: string;
  readonly #server: Server;
  readonly #store = new Store();
  readonly #tokens = new Tokens(this.#store);
  readonly #verbs = new Verbs(this.#store);
  readonly #resources: readonly Resource[];
  readonly #controllers: Controllers;
  readonly #onCall: SimOptions["onCall"];

  private constructor({ name, rancher = false, onCall }: SimOptions, tls: Serving) {
    this.name = name;
    this.ca = tls.cert;
    this.adminToken = this.#tokens.adminToken;
    this.#onCall = onCall;
    this.#resources = rancher ? [...KUBERNETES, ...RANCHER] : KUBERNETES;
    this.#controllers = new Controllers(this.#store, this.#tokens, this.ca, this.#resources);
    for (const [resource, object] of initialObjects()) this.#store.create(resource, object, { manager: "simulated" });
    this.#server = createServer({ cert: tls.cert, key: tls.key, keepAliveTimeout: 60_000 }, (request, response) => void this.#serve(request, response));
  }
  /** Listens on a port of loopback. */
  static async start(options: SimOptions): Promise<SimCluster> {
    const tls = await certificateFor(`simulated ${options.name}`);
    const cluster = new SimCluster(options, tls);
    cluster.#server.listen(0, "127.0.0.1");
    await once(cluster.#server, "listening");
    return cluster;
  }
  get url(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#controllers[Symbol.dispose]();
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "" } = request;
    response.once("close", () => {
      const { accept = "", "user-agent": userAgent = "" } = request.headers;
      this.#onCall?.({ method, url, accept, userAgent, status: response.statusCode });
    });
    try {
      const answer = await this.#answer(request, response);
      if (answer) send(response, answer);
    } catch (error) {
      const refusal = error instanceof Refusal ? error : new Refusal(500, "InternalError", error instanceof Error ? error.message : "unknown error");
      send(response, { status: refusal.status, body: refusal.body });
    }
  }

  /** Undefined where it is a watch, which answers for itself. @throws Refusal. */
  async #answer(request: IncomingMessage, response: ServerResponse): Promise<Answer | undefined> {
    const body = await text(request);
    const { pathname, searchParams: query } = new URL(request.url!, "https://simulated");
    const authenticated = this.#tokens.whoHas(bearerIn(request) ?? "");
    if (!authenticated) throw unauthorized();
    const user = impersonated(this.#store, authenticated, impersonationIn(request));
    const target = targetOf(pathname, this.#resources);
    if (!target) return this.#discovery(pathname, user);
    const verb = verbOf(request.method!, target, query);
    if (!verb) throw notAllowed();
    authorize(this.#store, user, attributesOf(verb, target, query));
    const contentType = request.headers["content-type"] ?? "";
    // kubectl asks who it is in protobuf, and nothing in that question counts.
    const read = contentType.includes("protobuf") && target.resource.kind === "SelfSubjectReview" ? undefined : parsed(body, contentType);
    const asked: Asked = { target, query, body: read, contentType, manager: managerIn(request) };
    const shown = viewFor(request.headers.accept ?? "");
    if (verb === "watch") {
      serveWatch(this.#store, asked, response, shown.one);
      return undefined;
    }
    if (verb === "create") return this.#create(asked, target, user);
    if (verb === "deletecollection") throw notAllowed();
    const { status, body: found } = this.#verbs[verb](asked);
    return { status, body: verb === "list" ? shown.list(found) : shown.one(found) };
  }
  #create(asked: Asked, { resource, subresource }: Target, user: User): Answer {
    if (subresource === "token") return answerToken(this.#store, this.#tokens, asked);
    return answerReview(this.#store, resource, user, asked.body) ?? this.#verbs.create(asked);
  }
  #discovery(path: string, user: User): Answer {
    authorize(this.#store, user, { verb: "get", path });
    const body = discover(path, this.#resources);
    if (!body) throw noSuchPath();
    return { status: 200, body };
  }
}

function parsed(body: string, contentType: string): unknown {
  if (contentType.includes("protobuf")) throw new Refusal(415, "UnsupportedMediaType", "a simulated cluster reads JSON only");
  if (body === "") return undefined;
  try {
    return JSON.parse(body) as unknown;
  } catch {
    throw badRequest("the body is not JSON");
  }
}

function send(response: ServerResponse, { status, body }: Answer): void {
  if (response.headersSent) return void response.end();
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

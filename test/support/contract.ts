// One contract, two servers: what a real API server and a simulated one both have to answer. Each test names the calls that it stands for, in the form of
// `callShape`, so that a call of ours that no test names can be found.
import { Agent, request } from "undici";
import { SimCluster, type SimOptions } from "../../deploy/embedded/sim/server.ts";
import { type Call, openCaller } from "../apiserver/call.ts";
import { kubeconfigText } from "../apiserver/files.ts";
import { startApiServer } from "../apiserver/start.ts";

export interface Server extends AsyncDisposable {
  readonly name: string;
  readonly url: string;
  readonly ca: string;
  readonly adminToken: string;
  readonly kubeconfig: string;
  readonly call: Call;
}

export async function startSim(options: SimOptions): Promise<Server> {
  const sim = await SimCluster.start(options);
  const { name, url, ca, adminToken } = sim;
  const caller = openCaller(url, ca, adminToken);
  const stop = async (): Promise<void> => {
    await caller.close();
    await sim[Symbol.asyncDispose]();
  };
  return { name, url, ca, adminToken, kubeconfig: kubeconfigText(url, ca, adminToken), call: caller.call, [Symbol.asyncDispose]: stop };
}
export async function startReal(name: string, rancher: boolean): Promise<Server> {
  const server = await startApiServer({ name, crds: rancher });
  return { ...server, [Symbol.asyncDispose]: () => server.stop() };
}

/** `list secrets metadata fieldSelector`: verb, resource, metadata only or not, and the options that change what is answered. */
export function callShape(method: string, url: string, accept = ""): string {
  const { pathname, searchParams } = new URL(url, "https://cluster");
  const [, , ...rest] = pathname.startsWith("/api/") ? ["", ...pathname.slice(1).split("/")] : pathname.slice(1).split("/");
  // Core: api/v1/…; groups: apis/<group>/<version>/…. A namespace's own path is no scope.
  const parts = rest.slice(1);
  const [plural, name, subresource] = parts[0] === "namespaces" && parts.length > 2 ? parts.slice(2) : parts;
  if (plural === undefined) return `${method} ${pathname}`;
  const watch = searchParams.get("watch") === "true";
  const verb =
    { GET: watch ? "watch" : name === undefined ? "list" : "get", POST: "create", PUT: "update", PATCH: "patch", DELETE: "delete" }[method] ?? method;
  const marks = ["labelSelector", "fieldSelector", "continue", "dryRun"].filter((key) => (searchParams.get(key) ?? "") !== "");
  const metadata = accept.includes("PartialObjectMetadata") ? ["metadata"] : [];
  return [verb, subresource === undefined ? plural : `${plural}/${subresource}`, ...metadata, ...marks].join(" ");
}

/** A watch's lines as they come. */
export async function watchOf(server: Server, path: string, query: Readonly<Record<string, string>>, accept = "application/json"): Promise<WatchLines> {
  const dispatcher = new Agent({ allowH2: false, connect: { ca: server.ca }, bodyTimeout: 120_000 });
  const asked = new URLSearchParams({ watch: "true", ...query });
  const headers = { authorization: `Bearer ${server.adminToken}`, accept };
  const { body, statusCode } = await request(`${server.url}${path}?${asked.toString()}`, { dispatcher, headers });
  return new WatchLines(body, statusCode, dispatcher);
}
interface Line {
  readonly type: string;
  // oxlint-disable-next-line no-explicit-any -- an object as the server sends it: tests say what it has to hold
  readonly object: any;
}
export class WatchLines implements AsyncDisposable {
  readonly status: number;
  readonly #dispatcher: Agent;
  readonly #lines: AsyncGenerator<Line>;
  constructor(body: AsyncIterable<Buffer>, status: number, dispatcher: Agent) {
    this.status = status;
    this.#dispatcher = dispatcher;
    this.#lines = linesOf(body);
  }
  /** Undefined at the end. */
  async next(): Promise<Line | undefined> {
    const { value, done } = await this.#lines.next();
    return done ? undefined : value;
  }
  /** All until the end. */
  async rest(): Promise<Line[]> {
    const lines: Line[] = [];
    for (let line = await this.next(); line; line = await this.next()) lines.push(line);
    return lines;
  }
  /** Up to the first that is meant; the others are thrown away. */
  async until(is: (line: Line) => boolean): Promise<Line> {
    for (;;) {
      const line = await this.next();
      if (!line) throw new Error("the watch ended before that");
      if (is(line)) return line;
    }
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dispatcher.destroy();
  }
}
async function* linesOf(body: AsyncIterable<Buffer>): AsyncGenerator<Line, undefined> {
  let rest = "";
  for await (const chunk of body) {
    rest += chunk.toString();
    const lines = rest.split("\n");
    rest = lines.pop()!;
    for (const line of lines) if (line !== "") yield JSON.parse(line) as Line;
  }
  return undefined;
}

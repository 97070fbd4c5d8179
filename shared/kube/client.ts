// The HTTP side of one cluster: three HTTP/1.1 connection pools for its lifetime, time limits, paged lists, watches. Knows no object but by its path.
// Not client-node's typed API: measured, bare undici makes a GET for 0.55 of its CPU, and three of our calls (metadata-only watches, repeated
// impersonation headers, reading a refusal's status) cannot go through it at all.
import type { KubernetesListObject, KubernetesObject } from "@kubernetes/client-node";
import { Agent, ProxyAgent, request } from "undici";
import type { Dispatcher } from "undici";
import { answerError, networkError } from "./errors.ts";
import type { Access } from "./kubeconfig.ts";

const CALL_MS = 10_000;
/** An API server sends a bookmark two seconds before a watch ends, so that its version moves on where nothing happens; else, on an idle one, the first after two minutes. */
const WATCH_SECONDS = 80;
/** Silence for longer than a watch lasts means that nobody is there. */
const SILENCE_MS = 90_000;
const PAGE = 500;
export const METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
export const METADATA_ONLY_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/** Of one call. `signal` ends it early; a limit of ten seconds holds all the same. */
export interface CallOptions {
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  /** Sent as it is; already JSON. */
  readonly json?: string;
  readonly accept?: string;
  readonly signal?: AbortSignal;
}
/** Of a watch. `onOpen`: the server has taken it, and will send what comes. */
export interface WatchOptions {
  readonly query?: CallOptions["query"];
  readonly accept?: string | undefined;
  readonly onOpen?: (() => void) | undefined;
}
export interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  readonly object: KubernetesObject;
}
export interface List<T> {
  readonly items: T[];
  readonly resourceVersion: string;
}
type Headers = Record<string, string | string[]>;

/** Opened once per kubeconfig and closed with it. Header values are UTF-8 bytes as latin1 strings, as undici wants them. */
export class ClusterClient {
  readonly cluster: string;
  readonly server: string;
  /** PEM of the CA that the kubeconfig names. */
  readonly ca: string | undefined;
  readonly #access: Access;
  readonly #userAgent: string;
  readonly #calls: Dispatcher;
  readonly #watches: Dispatcher;
  readonly #over = new AbortController();
  /** Reviews may get a 401, upon which an API server closes the connection: never one that others use. */
  readonly #proofs: Dispatcher;
  #pages = 0;

  constructor(cluster: string, access: Access, userAgent: string) {
    this.cluster = cluster;
    this.server = access.server;
    this.ca = access.tls.ca;
    this.#access = access;
    this.#userAgent = userAgent;
    const pool = (options: Agent.Options): Dispatcher => {
      const shared = { allowH2: false, connect: { ...access.tls, timeout: 5_000 }, ...options };
      return access.proxyUrl ? new ProxyAgent({ uri: access.proxyUrl, requestTls: access.tls, ...shared }) : new Agent(shared);
    };
    this.#calls = pool({ headersTimeout: CALL_MS, bodyTimeout: CALL_MS });
    this.#watches = pool({ headersTimeout: CALL_MS, bodyTimeout: SILENCE_MS });
    this.#proofs = pool({ headersTimeout: CALL_MS, bodyTimeout: CALL_MS });
  }

  /** One call. @throws ApiError for every status from 300 on, and for no answer. */
  async call<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    const { status, body, headers } = await this.ask(method, path, options);
    if (status >= 300) throw answerError({ cluster: this.cluster, method, path }, status, headers, body);
    return JSON.parse(body) as T;
  }

  /** One call whose refusal is what is asked for: any status is an answer. Its body is for the caller's eyes only. @throws ApiError for no answer. */
  async ask(method: string, path: string, options: CallOptions = {}): Promise<{ status: number; body: string; headers: Record<string, unknown> }> {
    const headers: Headers = { ...(await this.#access.authorize()), accept: options.accept ?? "application/json" };
    return this.#send(this.#calls, method, path, headers, options);
  }

  /** The whole of a list, page by page, as one consistent snapshot. A page that is missing is an error, never a shorter list. */
  async list<T extends KubernetesObject>(path: string, query: CallOptions["query"] = {}, accept?: string, signal?: AbortSignal): Promise<List<T>> {
    const items: T[] = [];
    let token: string | undefined;
    for (;;) {
      const options = { query: { ...query, limit: PAGE, continue: token }, ...(accept ? { accept } : {}), ...(signal ? { signal } : {}) };
      const page = await this.call<KubernetesListObject<T>>("GET", path, options);
      // Items of a list carry no apiVersion and kind of their own.
      items.push(...(page.items ?? []));
      this.#pages += 1;
      token = (page.metadata as { continue?: string } | undefined)?.continue;
      if (!token) return { items, resourceVersion: page.metadata?.resourceVersion ?? "" };
    }
  }

  /** Of all lists so far, for whoever shows how far it is. */
  get pagesRead(): number {
    return this.#pages;
  }

  /** The version that a list would have now, without the list: where a watch can begin. */
  async position(path: string, query: CallOptions["query"] = {}, accept?: string, signal?: AbortSignal): Promise<string> {
    const options = { query: { ...query, limit: 1 }, ...(accept ? { accept } : {}), ...(signal ? { signal } : {}) };
    const { metadata } = await this.call<KubernetesListObject<KubernetesObject>>("GET", path, options);
    return metadata?.resourceVersion ?? "";
  }

  /**
   * Watches from a version on, bookmarks included, until the server ends it or it falls silent.
   * @throws ApiError: 410 = the version is too old, list again; anything else = try again from the last version.
   */
  async *watch(path: string, resourceVersion: string, { query, accept, onOpen }: WatchOptions, signal: AbortSignal): AsyncGenerator<WatchEvent> {
    const headers: Headers = { ...(await this.#access.authorize()), accept: accept ?? "application/json", "user-agent": this.#userAgent };
    const call = { cluster: this.cluster, method: "GET", path };
    const all = { ...query, watch: "true", allowWatchBookmarks: "true", resourceVersion, timeoutSeconds: WATCH_SECONDS };
    try {
      const response = await request(this.server + path + search(all), { method: "GET", headers, dispatcher: this.#watches, signal });
      if (response.statusCode !== 200) throw answerError(call, response.statusCode, response.headers, await response.body.text());
      onOpen?.();
      for await (const line of lines(response.body)) {
        const event = JSON.parse(line) as { type: string; object: KubernetesObject & { code?: number } };
        if (event.type === "ERROR") throw answerError(call, event.object.code ?? 500, {}, JSON.stringify(event.object));
        yield event as WatchEvent;
      }
    } catch (error) {
      // Silence is an end like any other: the next watch goes on from the last version.
      if ((error as { code?: unknown }).code === "UND_ERR_BODY_TIMEOUT") return;
      throw error instanceof Error && error.name === "ApiError" ? error : networkError(call, error);
    }
  }

  /** Asks as an impersonator, with its own token: any status is an answer. Header values may be repeated; they travel as UTF-8. */
  async asImpersonator(
    token: string,
    impersonation: readonly (readonly [string, string])[],
    method: string,
    path: string,
    json?: string,
    signal?: AbortSignal,
  ): Promise<{ status: number; body: string }> {
    const headers: Headers = { authorization: `Bearer ${token}`, accept: "application/json" };
    for (const [name, value] of impersonation) headers[name] = [...[headers[name] ?? []].flat(), Buffer.from(value).toString("latin1")];
    return this.#send(this.#proofs, method, path, headers, { ...(json === undefined ? {} : { json }), ...(signal ? { signal } : {}) });
  }

  async #send(
    dispatcher: Dispatcher,
    method: string,
    path: string,
    headers: Headers,
    options: CallOptions,
  ): Promise<{ status: number; body: string; headers: Record<string, unknown> }> {
    const limit = AbortSignal.timeout(CALL_MS);
    const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
    headers["user-agent"] = this.#userAgent;
    if (options.json !== undefined) headers["content-type"] = "application/json";
    try {
      // reset: false, or undici closes the connection after every DELETE that has a body.
      const response = await request(this.server + path + search(options.query), {
        method: method,
        headers,
        dispatcher,
        signal,
        reset: false,
        ...(options.json === undefined ? {} : { body: options.json }),
      });
      return { status: response.statusCode, body: await response.body.text(), headers: response.headers };
    } catch (error) {
      throw networkError({ cluster: this.cluster, method, path }, error);
    }
  }

  /** Aborted when it is closed: what goes on for as long as there is this client ends with it. */
  get closed(): AbortSignal {
    return this.#over.signal;
  }

  /** Ends every connection. Calls in flight fail. */
  async close(): Promise<void> {
    this.#over.abort();
    await Promise.all([this.#calls.destroy(), this.#watches.destroy(), this.#proofs.destroy()]);
  }
}

function search(query: CallOptions["query"] = {}): string {
  const pairs = Object.entries(query).flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${encodeURIComponent(value)}`]));
  return pairs.length > 0 ? `?${pairs.join("&")}` : "";
}

/** A watch is one JSON object a line; a chunk may end anywhere. */
async function* lines(body: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    let end: number;
    while ((end = rest.indexOf("\n")) >= 0) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 1);
      if (line !== "") yield line;
    }
  }
}

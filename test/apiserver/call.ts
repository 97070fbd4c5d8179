// One HTTP/1.1 client of a test's API server. It reports every status, and throws only when there was no answer.
import { Agent, request } from "undici";

export interface Answer {
  readonly status: number;
  /** Parsed JSON, or the text where it is none. */
  // `any`, because tests look into answers of every kind.
  readonly body: any;
  readonly headers: Record<string, unknown>;
}

export type Headers = Readonly<Record<string, string | string[]>>;

export type Call = (method: string, path: string, body?: unknown, headers?: Headers) => Promise<Answer>;

export interface Caller {
  readonly call: Call;
  close(): Promise<void>;
}

/** A body which is a string is sent as it stands; anything else as JSON. Header values are text, and are sent as UTF-8. */
export function openCaller(url: string, ca: string, token: string): Caller {
  // The API server answers a 401 on HTTP/2 by closing the whole connection, which would hit other calls of the test.
  const dispatcher = new Agent({ allowH2: false, connect: { ca }, headersTimeout: 60_000, bodyTimeout: 60_000 });
  const call: Call = async (method, path, body, headers = {}) => {
    const response = await request(`${url}${path}`, {
      method,
      dispatcher,
      // Without this undici closes the connection after every DELETE with a body.
      reset: false,
      headers: allHeaders({ authorization: `Bearer ${token}`, ...contentType(method, body), ...lowerCased(headers) }),
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    return { status: response.statusCode, body: parsed(await response.body.text()), headers: response.headers };
  };
  return { call, close: () => dispatcher.destroy() };
}

function contentType(method: string, body: unknown): Headers {
  if (body === undefined) return {};
  return { "content-type": method === "PATCH" ? "application/merge-patch+json" : "application/json" };
}

function lowerCased(headers: Headers): Headers {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

function allHeaders(headers: Headers): Record<string, string | string[]> {
  const bytes = (text: string): string => Buffer.from(text).toString("latin1");
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.map(bytes) : bytes(value)]));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

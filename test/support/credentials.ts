// What a proxy does with a credential: one request to the cluster with nothing but what was given, and the question that a proxy asks with headers.
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { request as httpRequest } from "node:http";
import { Agent, request } from "undici";

const REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
/** The answer of POST /v1/credentials. */
export interface Given {
  readonly server: string;
  readonly certificateAuthorityData: string;
  readonly token: string;
  readonly expiresAt: string | null;
  readonly headers: readonly (readonly [string, string])[];
}
/** An answer of GET /v1/forward-auth; each header line by itself, its name in lower case. */
export interface Forwarded {
  readonly status: number;
  readonly raw: readonly (readonly [string, string])[];
  readonly text: string;
}

/** One request with nothing but what was given, by a client that trusts no CA but the one that was given. */
export async function reviewWith({ server, certificateAuthorityData, token, headers }: Given): Promise<{ status: number; user: Record<string, unknown> }> {
  // Over HTTP/2 undici joins repeated headers into one, which is no group of anybody.
  const dispatcher = new Agent({ allowH2: false, connect: { ca: Buffer.from(certificateAuthorityData, "base64").toString() } });
  try {
    const sent: Record<string, string[]> = { authorization: [`Bearer ${token}`], "content-type": ["application/json"] };
    for (const [name, value] of headers) (sent[name] ??= []).push(Buffer.from(value).toString("latin1"));
    const { statusCode, body } = await request(server + REVIEWS, {
      method: "POST",
      dispatcher,
      headers: sent,
      body: JSON.stringify({ apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" }),
    });
    const review = (await body.json()) as { status?: { userInfo?: Record<string, unknown> } };
    return { status: statusCode, user: review.status?.userInfo ?? {} };
  } finally {
    await dispatcher.close();
  }
}

/** GET /v1/forward-auth as a proxy sends it: headers may come twice, in both directions. */
export async function forwardAuth(address: string, headers: readonly string[]): Promise<Forwarded> {
  const asked = httpRequest(`${address}/v1/forward-auth`, { headers: [...headers, "host", "proxy"] });
  asked.end();
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += chunk as string;
  const raw = response.rawHeaders.flatMap((name, i, all) =>
    i % 2 === 0 ? [[name.toLowerCase(), Buffer.from(all[i + 1]!, "latin1").toString()] as [string, string]] : [],
  );
  return { status: response.statusCode!, raw, text };
}

// Kubeconfig text → how to reach one cluster. A kubeconfig is code (exec plugins, file paths), so whatever is more than data is refused unless a setting allows it.
import { readFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import type { RequestOptions } from "node:https";
import { parse } from "yaml";
import { z } from "zod";
import type { Allowance } from "../run/config.ts";

/** How to reach a cluster. `authorize` gives fresh headers: exec plugins and token files renew theirs. */
export interface Access {
  readonly server: string;
  readonly tls: { ca?: string; cert?: string; key?: string; servername?: string; rejectUnauthorized?: boolean };
  readonly proxyUrl: string | undefined;
  authorize(): Promise<Record<string, string>>;
}

const RENEW_MS = 30_000;
const text = z.string().optional();
const Cluster = z.strictObject({
  server: z.string().refine((server) => URL.canParse(server) && new URL(server).hostname !== "", "it is no address"),
  "certificate-authority-data": text,
  "tls-server-name": text,
  "disable-compression": z.boolean().optional(),
  extensions: z.unknown().optional(),
  "certificate-authority": text,
  "insecure-skip-tls-verify": z.boolean().optional(),
  "proxy-url": text,
});
const User = z.strictObject({
  token: text,
  "client-certificate-data": text,
  "client-key-data": text,
  username: text,
  password: text,
  extensions: z.unknown().optional(),
  tokenFile: text,
  "token-file": text,
  "client-certificate": text,
  "client-key": text,
  exec: z.looseObject({}).optional(),
  "auth-provider": z.looseObject({}).optional(),
});
const Document = z.looseObject({
  "current-context": z.string().default(""),
  contexts: z.array(z.looseObject({ name: z.string(), context: z.looseObject({ cluster: z.string(), user: z.string() }) })),
  clusters: z.array(z.looseObject({ name: z.string(), cluster: z.unknown() })),
  users: z.array(z.looseObject({ name: z.string(), user: z.unknown() })),
});
interface Parts {
  readonly cluster: z.infer<typeof Cluster>;
  readonly user: z.infer<typeof User>;
}

/** @throws Error naming each thing that is wrong, or not allowed, and the setting that would allow it. */
export function accessFrom(source: string, allow: readonly Allowance[]): Access {
  const parts = currentParts(source);
  const problems = refusals(parts).filter(({ allowance }) => !allow.includes(allowance));
  if (problems.length > 0)
    throw new Error(problems.map(({ what, allowance }) => `${what} is refused (UNDERSTUDY_KUBECONFIG_ALLOW=${allowance} would allow it)`).join("; "));
  const { cluster, user } = parts;
  const tls = {
    ca: pem(cluster["certificate-authority-data"], cluster["certificate-authority"]),
    cert: pem(user["client-certificate-data"], user["client-certificate"]),
    key: pem(user["client-key-data"], user["client-key"]),
    servername: cluster["tls-server-name"],
    rejectUnauthorized: cluster["insecure-skip-tls-verify"] ? false : undefined,
  };
  return {
    server: cluster.server.replace(/\/+$/, ""),
    tls: Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined)),
    proxyUrl: cluster["proxy-url"],
    authorize: authorizer(parts),
  };
}

/** The cluster and user of the current context, with no key that we do not know: one more spelling of a file path must not slip through. */
function currentParts(source: string): Parts {
  let read: unknown;
  try {
    read = parse(source);
  } catch {
    throw new Error("it cannot be read as a kubeconfig: it is not YAML");
  }
  const document = Document.safeParse(read);
  if (!document.success) throw new Error(`it cannot be read as a kubeconfig: ${places(document.error)}`);
  const { contexts, clusters, users, "current-context": current } = document.data;
  const context = contexts.find(({ name }) => name === current)?.context;
  const named = clusters.find(({ name }) => name === context?.cluster);
  if (!context || !named) throw new Error(`its current-context ${JSON.stringify(current)} names no cluster`);
  const person = users.find(({ name }) => name === context.user);
  if (!person) throw new Error(`its current-context ${JSON.stringify(current)} names no user`);
  const cluster = Cluster.safeParse(named.cluster);
  if (!cluster.success) throw new Error(`it cannot be read as a kubeconfig: cluster ${places(cluster.error)}`);
  const user = User.safeParse(person.user ?? {});
  if (!user.success) throw new Error(`it cannot be read as a kubeconfig: user ${places(user.error)}`);
  return { cluster: cluster.data, user: user.data };
}

/** Places and rules, never values: a kubeconfig is full of secrets. */
const places = (error: z.ZodError): string =>
  error.issues
    .map(({ path, message, code }) => `${path.join(".") || "document"}: ${code === "unrecognized_keys" ? message.replace(/"[^"]{40,}"/g, '"…"') : message}`)
    .join("; ");

/** Everything in a kubeconfig that runs a program, reads a file, or trusts more than the CA it brings. */
function refusals({ cluster, user }: Parts): { what: string; allowance: Allowance }[] {
  const found: { what: string; allowance: Allowance }[] = [];
  const add = (condition: unknown, what: string, allowance: Allowance): void => void (condition && found.push({ what, allowance }));
  add(user.exec, "an exec plugin", "exec");
  add(user["auth-provider"], "an authProvider", "authProvider");
  const files = cluster["certificate-authority"] ?? user["client-certificate"] ?? user["client-key"] ?? tokenFileOf(user);
  add(files !== undefined, "a file path (certificate-authority, client-certificate, client-key or tokenFile)", "files");
  add(cluster["insecure-skip-tls-verify"], "insecure-skip-tls-verify", "insecure");
  add(cluster["proxy-url"], "proxy-url", "proxy");
  add(!cluster.server.startsWith("https://"), "a server that is not https://", "http");
  return found;
}

function pem(base64: string | undefined, file: string | undefined): string | undefined {
  if (base64) return Buffer.from(base64, "base64").toString("utf8");
  return file ? readFileSync(file, "utf8") : undefined;
}

/** kubectl's spelling, and client-node's. */
const tokenFileOf = (user: Parts["user"]): string | undefined => user.tokenFile ?? user["token-file"];

/** Static credentials once; what a plugin or a file gives, again every half minute. */
function authorizer(parts: Parts): () => Promise<Record<string, string>> {
  const { user } = parts;
  const file = tokenFileOf(user);
  const authorization = user.token
    ? `Bearer ${user.token}`
    : user.username
      ? `Basic ${Buffer.from(`${user.username}:${user.password ?? ""}`).toString("base64")}`
      : undefined;
  const fixed: Record<string, string> = authorization ? { authorization } : {};
  if (!(user.exec ?? user["auth-provider"] ?? file)) return async () => fixed;
  let known: { headers: Record<string, string>; at: number } | undefined;
  return async () => {
    if (known && performance.now() - known.at < RENEW_MS) return known.headers;
    known = { headers: file ? { authorization: `Bearer ${(await readFile(file, "utf8")).trim()}` } : await pluginHeaders(parts), at: performance.now() };
    return known.headers;
  };
}

/** client-node knows the plugins: loaded only where one is used (0.5 s of CPU), and given only what was checked here, not the text. */
async function pluginHeaders({ cluster, user }: Parts): Promise<Record<string, string>> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  const only = { cluster: { ...cluster, server: cluster.server.replace(/^http:/, "https:") }, user };
  config.loadFromString(
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "only",
      contexts: [{ name: "only", context: { cluster: "only", user: "only" } }],
      clusters: [{ name: "only", cluster: only.cluster }],
      users: [{ name: "only", user: only.user }],
    }),
  );
  const options: RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  return Object.fromEntries(Object.entries((options.headers ?? {}) as Record<string, unknown>).map(([key, value]) => [key.toLowerCase(), String(value)]));
}

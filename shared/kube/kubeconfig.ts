// Kubeconfig text → how to reach one cluster. A kubeconfig is code (exec plugins, file paths), so whatever is more than data is refused unless a setting allows it.
import { KubeConfig } from "@kubernetes/client-node";
import { readFileSync } from "node:fs";
import type { RequestOptions } from "node:https";
import type { Allowance } from "../run/config.ts";

/** How to reach a cluster. `authorize` gives fresh headers: exec plugins and token files renew theirs. */
export interface Access {
  readonly server: string;
  readonly tls: { ca?: string; cert?: string; key?: string; servername?: string; rejectUnauthorized?: boolean };
  readonly proxyUrl: string | undefined;
  authorize(): Promise<Record<string, string>>;
}

const RENEW_MS = 30_000;

/** @throws Error naming each thing that is wrong, or not allowed, and the setting that would allow it. */
export function accessFrom(text: string, allow: readonly Allowance[]): Access {
  const config = new KubeConfig();
  try {
    config.loadFromString(text);
  } catch (error) {
    throw new Error(`it cannot be read as a kubeconfig (${error instanceof Error ? error.name : "error"})`, { cause: error });
  }
  const cluster = config.getCurrentCluster();
  const user = config.getCurrentUser();
  if (!cluster) throw new Error(`its current-context ${JSON.stringify(config.getCurrentContext() ?? "")} names no cluster`);
  if (!user) throw new Error(`its current-context ${JSON.stringify(config.getCurrentContext() ?? "")} names no user`);
  const problems = refusals(config, text).filter(({ allowance }) => !allow.includes(allowance));
  if (problems.length > 0)
    throw new Error(problems.map(({ what, allowance }) => `${what} is refused (UNDERSTUDY_KUBECONFIG_ALLOW=${allowance} would allow it)`).join("; "));
  const tls = Object.fromEntries(
    Object.entries({
      ca: pem(cluster.caData, cluster.caFile),
      cert: pem(user.certData, user.certFile),
      key: pem(user.keyData, user.keyFile),
      servername: cluster.tlsServerName,
      rejectUnauthorized: cluster.skipTLSVerify ? false : undefined,
    }).filter(([, value]) => value !== undefined),
  );
  return { server: cluster.server.replace(/\/+$/, ""), tls, proxyUrl: cluster.proxyUrl, authorize: authorizer(config) };
}

function pem(base64: string | undefined, file: string | undefined): string | undefined {
  if (base64) return Buffer.from(base64, "base64").toString("utf8");
  return file ? readFileSync(file, "utf8") : undefined;
}

/** Everything in a kubeconfig that runs a program, reads a file, or trusts more than the CA it brings. */
function refusals(config: KubeConfig, text: string): { what: string; allowance: Allowance }[] {
  const cluster = config.getCurrentCluster()!;
  const user = config.getCurrentUser()!;
  const found: { what: string; allowance: Allowance }[] = [];
  const add = (condition: unknown, what: string, allowance: Allowance): void => void (condition && found.push({ what, allowance }));
  add(user.exec, "an exec plugin", "exec");
  add(user.authProvider, "an authProvider", "authProvider");
  add(
    cluster.caFile || user.certFile || user.keyFile || /^\s*-?\s*"?tokenFile"?\s*:/m.test(text),
    "a file path (certificate-authority, client-certificate, client-key or tokenFile)",
    "files",
  );
  add(cluster.skipTLSVerify, "insecure-skip-tls-verify", "insecure");
  add(cluster.proxyUrl, "proxy-url", "proxy");
  add(!cluster.server.startsWith("https://"), "a server that is not https://", "http");
  return found;
}

function authorizer(config: KubeConfig): () => Promise<Record<string, string>> {
  const user = config.getCurrentUser()!;
  const renewed = Boolean(user.exec || user.authProvider);
  let known: { headers: Record<string, string>; at: number } | undefined;
  return async () => {
    if (known && (!renewed || performance.now() - known.at < RENEW_MS)) return known.headers;
    const options: RequestOptions = {};
    await config.applyToHTTPSOptions(options);
    const headers = Object.fromEntries(
      Object.entries((options.headers ?? {}) as Record<string, unknown>).map(([key, value]) => [key.toLowerCase(), String(value)]),
    );
    if (options.auth) headers["authorization"] = `Basic ${Buffer.from(options.auth).toString("base64")}`;
    known = { headers, at: performance.now() };
    return headers;
  };
}

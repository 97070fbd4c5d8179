// A house whose processes reach each downstream cluster through a proxy that a test tells what to do. The test itself, as administrator or impersonator, goes past it.
import type { FaultProxy, RequestSeen } from "./fault-proxy.ts";
import { startFaultProxy } from "./fault-proxy.ts";
import type { HouseOptions } from "./house.ts";
import { House } from "./house.ts";

export interface ProxiedHouse extends AsyncDisposable {
  readonly house: House;
  proxy(cluster: string): FaultProxy;
}

export async function openProxiedHouse(options: HouseOptions = {}): Promise<ProxiedHouse> {
  const proxies = new Map<string, FaultProxy>();
  const house = await House.open({
    ...options,
    settings: { UNDERSTUDY_KUBECONFIG_ALLOW: "http", ...options.settings },
    kubeconfig: async (server) => {
      const proxy = await startFaultProxy(server);
      proxies.set(server.name, proxy);
      return server.workerKubeconfig(proxy.url);
    },
  });
  return {
    house,
    proxy: (cluster) => proxies.get(cluster)!,
    async [Symbol.asyncDispose]() {
      await house[Symbol.asyncDispose]();
      await Promise.all([...proxies.values()].map((proxy) => proxy.stop()));
    },
  };
}

/** `POST clusterroles`, `DELETE secrets`, … and whose impersonator it is about. */
export function writeOf({ method, path, body }: RequestSeen): { readonly call: string; readonly name: string } | undefined {
  const [, kind, name] = /\/(clusterroles|clusterrolebindings|serviceaccounts|secrets)(?:\/([^/]+))?$/.exec(path) ?? [];
  if (kind === undefined || method === "GET") return undefined;
  const own = name ?? (JSON.parse(body) as { metadata: { name: string } }).metadata.name;
  return { call: `${method} ${kind}`, name: own.replace(/-token-[0-9a-f]{10}$/, "") };
}

/** Not one of the watches, which stay open. */
export const isCall = ({ url, userAgent }: RequestSeen): boolean => userAgent.includes(" worker ") && !url.includes("watch=true");

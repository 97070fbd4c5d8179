// The example proxy between stand-ins for a cluster and for Understudy. Of the real API server only the certificates are used: nothing else here can make one.
import { startApiServer } from "../apiserver/start.ts";
import { ExampleProxy, type Person } from "./example-proxy.ts";
import { ProxyClient } from "./proxy-client.ts";
import { ClusterStandIn, UnderstudyStandIn } from "./stand-ins.ts";

export interface ProxyBench {
  readonly cluster: ClusterStandIn;
  readonly understudy: UnderstudyStandIn;
  /** One more proxy, and a client of it. */
  start(settings?: Readonly<Record<string, string>>): Promise<{ readonly proxy: ExampleProxy; readonly client: ProxyClient }>;
}

/** All that it starts ends with `cleanup`. `people`: by token. */
export async function openProxyBench(cleanup: AsyncDisposableStack, people: Readonly<Record<string, Person>>): Promise<ProxyBench> {
  const { serving: tls } = cleanup.adopt(await startApiServer({ name: "certificates" }), (server) => server.stop());
  const cluster = cleanup.use(await new ClusterStandIn(tls).listen());
  const understudy = cleanup.use(await new UnderstudyStandIn(cluster).listen());
  return {
    cluster,
    understudy,
    async start(settings = {}) {
      const options = { people, hook: understudy.url, hookSecret: "a-secret-for-the-hook", credentials: understudy.url, tls, settings };
      const proxy = cleanup.use(await ExampleProxy.start(options));
      return { proxy, client: new ProxyClient(proxy, tls.cert) };
    },
  };
}

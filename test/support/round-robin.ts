// A load balancer as cloud providers put before several API servers: each new TCP connection goes to the next of them, and nobody looks into it.
import { once } from "node:events";
import { type AddressInfo, type Socket, connect, createServer } from "node:net";
import { pipeline } from "node:stream";

export interface RoundRobin extends AsyncDisposable {
  readonly url: string;
  /** Connections to each, in the order of the targets. */
  readonly connections: readonly number[];
}

export async function startRoundRobin(targets: readonly string[]): Promise<RoundRobin> {
  const [sockets, connections] = [new Set<Socket>(), targets.map(() => 0)];
  let next = 0;
  const server = createServer((client) => {
    const index = next++ % targets.length;
    connections[index]! += 1;
    const { hostname, port } = new URL(targets[index]!);
    const target = connect({ host: hostname, port: Number(port) });
    for (const socket of [client, target]) {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
    }
    // Whichever ends or breaks takes the other along; who uses the connection hears it.
    pipeline(client, target, client, () => target.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    connections,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

// A TCP relay in front of an API server, by which a test sees who is connected. The bytes stay the server's own TLS.
import { type AddressInfo, type Server, type Socket, connect, createServer } from "node:net";

export interface Relay extends AsyncDisposable {
  readonly url: string;
  /** How many are connected. */
  open(): number;
}

/** Passes bytes on, and counts who is connected. */
export async function startRelay(target: string): Promise<Relay> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((client) => {
    const upstream = connect(Number(new URL(target).port), "127.0.0.1");
    sockets.add(client);
    client.once("close", () => (sockets.delete(client), upstream.destroy()));
    upstream.once("close", () => client.destroy());
    for (const socket of [client, upstream]) socket.on("error", () => socket.destroy());
    client.pipe(upstream).pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, open: () => sockets.size, [Symbol.asyncDispose]: close };
}

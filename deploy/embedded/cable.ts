// A cable to a cluster that can be pulled: connections to a port of loopback go on to the server, until it is unplugged.
import { once } from "node:events";
import { type AddressInfo, type Server, type Socket, connect, createServer } from "node:net";

export class Cable implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #port: number;
  #plugged = true;

  private constructor(port: number) {
    this.#port = port;
    this.#server = createServer((socket) => this.#forward(socket));
  }
  /** To the server of this URL. */
  static async to(url: string): Promise<Cable> {
    const cable = new Cable(Number(new URL(url).port));
    cable.#server.listen(0, "127.0.0.1");
    await once(cable.#server, "listening");
    return cable;
  }
  get url(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }
  /** Every connection ends, and none gets through. */
  unplug(): void {
    this.#plugged = false;
    for (const socket of this.#sockets) socket.destroy();
  }
  plug(): void {
    this.#plugged = true;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.unplug();
    this.#server.close();
  }

  #forward(from: Socket): void {
    if (!this.#plugged) return void from.destroy();
    const to = connect(this.#port, "127.0.0.1");
    for (const [socket, other] of [
      [from, to],
      [to, from],
    ] as const) {
      this.#sockets.add(socket);
      // Whichever end goes, for whatever reason, the other one goes too.
      socket.on("error", () => other.destroy());
      socket.once("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  }
}

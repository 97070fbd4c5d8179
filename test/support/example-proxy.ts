// The example proxy as a person runs it: a process of its own with settings from the environment, and the real kubectl in front of it.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Output, type Ran, type Running, collect, startKubectl } from "./kubectl.ts";
import { GiveUp, waitUntil } from "./wait-until.ts";

export type { Ran, Running } from "./kubectl.ts";
export const PROXY = fileURLToPath(new URL("../../deploy/examples/proxy.ts", import.meta.url));
export const CREDENTIALS_SECRET = "a-secret-for-credentials-0123456789";

/** As a login says it. */
export interface Person {
  readonly user: string;
  readonly provider: string;
  readonly groups?: readonly string[];
  readonly extras?: Readonly<Record<string, readonly string[]>>;
}
export interface ProxyOptions {
  /** By token. */
  readonly people: Readonly<Record<string, Person>>;
  readonly hook: string;
  readonly hookSecret: string;
  readonly credentials: string;
  readonly tls: { readonly cert: string; readonly key: string };
  readonly settings?: Readonly<Record<string, string>>;
}
export class ExampleProxy implements AsyncDisposable {
  readonly folder: string;
  readonly child: ChildProcess;
  readonly out: Output;
  readonly ended: Promise<number | null>;
  readonly #ca: string;
  port = 0;

  private constructor(folder: string, child: ChildProcess, ca: string) {
    this.folder = folder;
    this.child = child;
    this.#ca = ca;
    this.out = collect(child);
    this.ended = new Promise((resolve) => child.once("close", resolve));
  }

  /** Started, and listening on a port of its own. */
  static async start(options: ProxyOptions): Promise<ExampleProxy> {
    const folder = await mkdtemp(join(tmpdir(), "understudy-proxy-"));
    const file = async (name: string, text: string): Promise<string> => {
      await writeFile(join(folder, name), text, { mode: 0o600 });
      return join(folder, name);
    };
    const env = {
      PATH: process.env["PATH"],
      PROXY_LISTEN: "127.0.0.1:0",
      PROXY_PEOPLE: await file("people.yaml", JSON.stringify(options.people)),
      PROXY_CERT: await file("cert.pem", options.tls.cert),
      PROXY_KEY: await file("key.pem", options.tls.key),
      PROXY_HOOK: options.hook,
      PROXY_HOOK_SECRET: options.hookSecret,
      PROXY_CREDENTIALS: options.credentials,
      PROXY_CREDENTIALS_SECRET: CREDENTIALS_SECRET,
      ...options.settings,
    };
    const proxy = new ExampleProxy(folder, spawn(process.execPath, [PROXY], { env, stdio: ["ignore", "pipe", "pipe"] }), options.tls.cert);
    proxy.port = await waitUntil("the proxy listens", () => {
      if (proxy.child.exitCode !== null) throw new GiveUp(new Error(`the proxy ended with ${proxy.child.exitCode}: ${proxy.out.stderr}`));
      return Number(/listens on \S+:(\d+)$/m.exec(proxy.out.stdout)?.[1] ?? 0) || undefined;
    });
    return proxy;
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }
  /** The lines that say of a request that it was asked twice. */
  get retries(): string[] {
    return this.out.stdout.split("\n").filter((line) => line.startsWith("retry"));
  }

  /** kubectl as whoever has this token. */
  startKubectl(cluster: string, token: string, args: readonly string[], input = "", settings: Readonly<Record<string, string>> = {}): Promise<Running> {
    return startKubectl({ folder: this.folder, url: `${this.url}/clusters/${cluster}`, ca: this.#ca, token }, args, input, settings);
  }
  async kubectl(cluster: string, token: string, args: readonly string[], input?: string): Promise<Ran> {
    const { out, ended } = await this.startKubectl(cluster, token, args, input);
    return { code: await ended, ...out };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill("SIGKILL");
    await this.ended;
    await rm(this.folder, { recursive: true, force: true });
  }
}

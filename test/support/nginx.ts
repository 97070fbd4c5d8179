// The real nginx with the example's configuration: a folder of its own as prefix, a port on loopback, and nothing changed but addresses. The files beside
// the configuration are written as its own comments say.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:net";
import { type Child, startChild } from "./child.ts";
import { freePort } from "../apiserver/start.ts";
import { type Ran, type Running, startKubectl } from "./kubectl.ts";
import { GiveUp, waitUntil } from "./wait-until.ts";

const CONF = new URL("../../deploy/examples/nginx.conf", import.meta.url);
const PROGRAM = "/usr/sbin/nginx";
const LUA = "/usr/lib/nginx/modules/ngx_http_lua_module.so";

/** `as`: the cluster that Understudy is asked about, where it is not the path's. */
export interface Upstream {
  readonly url: string;
  readonly ca: string;
  readonly as?: string;
}
export interface NginxOptions {
  /** Token → user. */
  readonly people: Readonly<Record<string, string>>;
  /** Address of the credentials listener. */
  readonly credentials: string;
  readonly secret: string;
  readonly tls: { readonly cert: string; readonly key: string };
  /** By name in the path. */
  readonly clusters: Readonly<Record<string, Upstream>>;
}

export class Nginx implements AsyncDisposable {
  readonly folder: string;
  readonly port: number;
  readonly #child: Child;
  readonly #options: NginxOptions;

  private constructor(folder: string, port: number, child: Child, options: NginxOptions) {
    this.folder = folder;
    this.port = port;
    this.#child = child;
    this.#options = options;
  }

  static async start(options: NginxOptions): Promise<Nginx> {
    for (const file of [PROGRAM, LUA]) if (!existsSync(file)) throw new Error(`${file} is missing: as root, apt-get install -y nginx libnginx-mod-http-lua`);
    const folder = await mkdtemp(join(tmpdir(), "understudy-nginx-"));
    const port = await freePort();
    await writeFiles(folder, port, options);
    const args = ["-p", folder, "-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"];
    const child = startChild({ command: PROGRAM, args, cwd: folder, log: join(folder, "output.log"), removeWithOwner: folder });
    const nginx = new Nginx(folder, port, child, options);
    try {
      await waitUntil("nginx listens", () => {
        if (child.ended() !== undefined) throw new GiveUp(new Error(`nginx ended with ${child.ended()}: ${child.logTail()}`));
        return accepts(port);
      });
    } catch (error) {
      await nginx[Symbol.asyncDispose]();
      throw error;
    }
    return nginx;
  }

  /** All that it wrote down. */
  async logs(): Promise<string> {
    return (await Promise.all(["access.log", "error.log", "output.log"].map((name) => readFile(join(this.folder, name), "utf8")))).join("\n");
  }
  /** The loop of the configuration's comment, until it is disposed of. */
  async followRevocations(): Promise<AsyncDisposable> {
    const conf = await readFile(CONF, "utf8");
    const [, loop] = /^(#   while sleep[\s\S]*?done; done)$/m.exec(conf) ?? [];
    assert.ok(loop, "the configuration says how it follows revocations");
    const script = replaceOnce(loop.replaceAll(/^# +/gm, ""), "nginx -s reload", `kill -HUP ${this.#child.pid}`);
    const env = { PATH: process.env["PATH"], SECRET: this.#options.secret };
    const args = ["-c", replaceOnce(script, "http://127.0.0.1:8403", this.#options.credentials)];
    const before = new Set(await this.#workers());
    const child = spawn("bash", args, { env, detached: true, stdio: "ignore" });
    const ended = new Promise((resolve) => child.once("close", resolve));
    const kill = async (): Promise<void> => {
      // All that it has begun is its process group.
      process.kill(-child.pid!, "SIGKILL");
      await ended;
    };
    try {
      // The first word of the stream is a reason to reload too, and cuts what was opened before.
      await waitUntil("nginx is reloaded once", async () => (await this.#workers()).some((worker) => !before.has(worker)));
    } catch (error) {
      await kill();
      throw error;
    }
    return { [Symbol.asyncDispose]: kill };
  }
  async #workers(): Promise<string[]> {
    const { pid } = this.#child;
    return (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).trim().split(" ");
  }
  startKubectl(cluster: string, token: string, args: readonly string[], input?: string, settings?: Readonly<Record<string, string>>): Promise<Running> {
    const account = { folder: this.folder, url: `https://127.0.0.1:${this.port}/clusters/${cluster}`, ca: this.#options.tls.cert, token };
    return startKubectl(account, args, input, settings);
  }
  async kubectl(cluster: string, token: string, args: readonly string[], input?: string): Promise<Ran> {
    const { out, ended } = await this.startKubectl(cluster, token, args, input);
    return { code: await ended, ...out };
  }

  /** The master alone would leave its workers behind: SIGTERM ends all, and SIGKILL is for one that does not hear. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.signal("SIGTERM");
    const late = AbortSignal.timeout(5_000);
    late.addEventListener("abort", () => void this.#child.stop());
    await this.#child.exited;
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function writeFiles(folder: string, port: number, options: NginxOptions): Promise<void> {
  const write = (name: string, text: string): Promise<void> => writeFile(join(folder, name), text, { mode: 0o600 });
  const conf = await readFile(CONF, "utf8");
  await mkdir(join(folder, "clusters"));
  await write(
    "nginx.conf",
    replaceOnce(replaceOnce(conf, "listen 8443 ssl;", `listen 127.0.0.1:${port} ssl;`), "127.0.0.1:8403;", `${new URL(options.credentials).host};`),
  );
  await write(
    "people.map",
    Object.entries(options.people)
      .map(([token, user]) => `"Bearer ${token}" ${user};\n`)
      .join(""),
  );
  const secret = shown(conf, "understudy.secret");
  await write("understudy.secret", replaceOnce(secret, "<one of UNDERSTUDY_CREDENTIALS_SECRETS>", options.secret));
  await write("tls.crt", options.tls.cert);
  await write("tls.key", options.tls.key);
  for (const [name, { url, ca, as = name }] of Object.entries(options.clusters)) {
    const named = (kind: string): string => shown(conf, `c-one.${kind}`).replaceAll("c-one", name);
    await write(`clusters/${name}.ca`, ca);
    await write(`clusters/${name}.upstream`, replaceOnce(named("upstream"), "10.0.0.1:6443", new URL(url).host));
    await write(`clusters/${name}.location`, replaceOnce(named("location"), `set $cluster ${name};`, `set $cluster ${as};`));
  }
}

/** What the configuration's first lines say is in a file beside it. */
function shown(conf: string, file: string): string {
  const [, text] = new RegExp(`^# +${file.replace(".", "\\.")} +(?:one line: )?(.+)$`, "m").exec(conf) ?? [];
  assert.ok(text, `the configuration says what ${file} is`);
  return text;
}
function replaceOnce(text: string, what: string, by: string): string {
  assert.equal(text.split(what).length, 2, `${what} stands there once`);
  return text.replace(what, () => by);
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

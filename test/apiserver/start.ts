// Starts a real API server for a test: etcd, kube-apiserver and kube-controller-manager in a temp folder of their own.
// No nodes and no pods: only API objects and the controllers that work on them.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type Child, startChild } from "../support/child.ts";
import { GiveUp, waitUntil } from "../support/wait-until.ts";
import { type Call, type Caller, openCaller } from "./call.ts";
import { installCrds } from "./crds.ts";
import { kubeconfigText, type ServerFiles, writeServerFiles } from "./files.ts";
import { type WorkerOptions, workerToken } from "./worker.ts";

export interface ApiServerOptions {
  readonly name: string;
  /** Calls a second of all controllers together; 1000 unless told, a stock cluster has 20. */
  readonly controllerManagerQps?: number;
  /** Installs the CRDs of management.cattle.io/v3. */
  readonly crds?: boolean;
}

export interface ApiServer {
  readonly name: string;
  readonly url: string;
  readonly ca: string;
  /** What it serves with; a proxy on loopback that serves with it too needs no other CA. */
  readonly serving: { readonly cert: string; readonly key: string };
  readonly adminToken: string;
  readonly dir: string;
  /** JSON lines, one a finished request; calls of the controllers are left out. */
  readonly auditLog: string;
  /** Kubeconfig YAML of an administrator (system:masters). */
  readonly kubeconfig: string;
  /** Calls as the administrator, or as the headers say; never throws on a status. */
  readonly call: Call;
  /** Kubeconfig YAML of the least-privilege worker; `url` replaces the server, for a proxy in between. */
  workerKubeconfig(url?: string, options?: WorkerOptions): Promise<string>;
  /** One more kube-apiserver on the same etcd, with the same certificate, tokens and keys, as behind a load balancer. Returns its url; stops with this one. */
  startAnother(): Promise<string>;
  pauseControllerManager(): void;
  resumeControllerManager(): void;
  stop(): Promise<void>;
}

/** A program of this cluster, its log in the cluster's folder. */
type Run = (program: string, args: readonly string[]) => Child;

export async function startApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const bin = await assets();
  await using cleanup = new AsyncDisposableStack();
  let running = cleanup;
  const dir = await mkdtemp(join(tmpdir(), `understudy-${options.name}-`));
  cleanup.defer(() => rm(dir, { recursive: true, force: true, maxRetries: 3 }));
  const files = await writeServerFiles(dir);
  const run: Run = (program, args) => {
    const log = join(dir, `${program}.log`);
    const child = startChild({ command: join(bin, program), args, cwd: dir, log, removeWithOwner: dir });
    return running.adopt(child, (started) => started.stop());
  };
  const etcd = run("etcd", etcdArgs);
  const { url, ca, caller } = await startServer(run, etcd, files);
  cleanup.defer(() => caller.close());
  // Before the controllers: the garbage collector would look for new kinds only every 30 seconds.
  if (options.crds === true) await installCrds(caller.call);
  const kubeconfig = kubeconfigText(url, ca, files.controllerToken);
  const controllers = await startControllers(run, files, { kubeconfig, qps: options.controllerManagerQps ?? 1000 });
  await ready([controllers], "the default service account is made", async () => {
    const { status } = await caller.call("GET", "/api/v1/namespaces/default/serviceaccounts/default");
    return status === 200;
  });
  const key = await readFile(files.servingKey, "utf8");
  const opened = (running = cleanup.move());
  return {
    name: options.name,
    url,
    ca,
    serving: { cert: ca, key },
    adminToken: files.adminToken,
    dir,
    auditLog: files.auditLog,
    kubeconfig: kubeconfigText(url, ca, files.adminToken),
    call: caller.call,
    workerKubeconfig: async (through = url, workerOptions = {}) => kubeconfigText(through, ca, await workerToken(caller.call, workerOptions)),
    startAnother: async () => {
      // Two servers would tear each other's lines of one audit log.
      const another = await startServer(run, etcd, { ...files, auditLog: join(dir, "audit-another.log") });
      await another.caller.close();
      return another.url;
    },
    pauseControllerManager: () => controllers.signal("SIGSTOP"),
    resumeControllerManager: () => controllers.signal("SIGCONT"),
    stop: () => opened.disposeAsync(),
  };
}

let building: Promise<string> | undefined;

/** The folder with the programs, which are built first if they are not there; minutes the first time. */
export function assets(): Promise<string> {
  building ??= build();
  return building;
}

async function build(): Promise<string> {
  const child = spawn("bash", [join(import.meta.dirname, "build.sh")], { stdio: ["ignore", "pipe", "inherit"] });
  const [folder, [code]] = await Promise.all([text(child.stdout), once(child, "close")]);
  if (code !== 0) throw new Error(`build the API server: build.sh ended with code ${code}`);
  return folder.trim();
}

// Unix sockets leave one port a cluster to be picked. etcd insists on host:port and takes both as the file's name.
// Peers are never called by a single member, so the address they are told to use is not listened on.
const etcdArgs = [
  "--data-dir=etcd",
  "--listen-client-urls=unix://etcd:1",
  "--advertise-client-urls=unix://etcd:1",
  "--listen-peer-urls=unix://peer:1",
  "--initial-advertise-peer-urls=http://127.0.0.1:1",
  "--initial-cluster=default=http://127.0.0.1:1",
  "--unsafe-no-fsync",
];

interface Started {
  readonly url: string;
  readonly ca: string;
  readonly caller: Caller;
}

// Another process may take the port between our look and the server's bind; then the next one is tried.
async function startServer(run: Run, etcd: Child, files: ServerFiles): Promise<Started> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const server = run("kube-apiserver", serverArgs(port, files));
    try {
      return await connect([server, etcd], `https://127.0.0.1:${port}`, files);
    } catch (error) {
      await server.stop();
      if (attempt === 5 || !server.logTail().includes("address already in use")) throw error;
    }
  }
}

function serverArgs(port: number, files: ServerFiles): string[] {
  return [
    `--etcd-servers=unix://${join(files.dir, "etcd:1")}`,
    "--bind-address=127.0.0.1",
    `--secure-port=${port}`,
    "--advertise-address=127.0.0.1",
    "--endpoint-reconciler-type=none",
    "--service-cluster-ip-range=10.0.0.0/24",
    `--cert-dir=${files.certs}`,
    "--authorization-mode=RBAC",
    `--token-auth-file=${files.tokens}`,
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-account-signing-key-file=${files.accountKey}`,
    `--service-account-key-file=${files.accountPublicKey}`,
    `--audit-policy-file=${files.auditPolicy}`,
    `--audit-log-path=${files.auditLog}`,
    // So that a test finds the line of a call whose answer it has.
    "--audit-log-mode=blocking",
    "--audit-log-maxsize=0",
  ];
}

async function connect(running: readonly Child[], url: string, files: ServerFiles): Promise<Started> {
  const ca = await ready(running, "its certificate is there", async () => {
    const pem = await readFile(files.servingCert, "utf8");
    return pem.endsWith("-----END CERTIFICATE-----\n") && pem;
  });
  const caller = openCaller(url, ca, files.adminToken);
  try {
    await ready(running, "/readyz answers ok", async () => (await caller.call("GET", "/readyz")).status === 200);
  } catch (error) {
    await caller.close();
    throw error;
  }
  return { url, ca, caller };
}

interface ControllerSettings {
  readonly kubeconfig: string;
  readonly qps: number;
}

async function startControllers(run: Run, files: ServerFiles, settings: ControllerSettings): Promise<Child> {
  const kubeconfig = join(files.dir, "controllers.kubeconfig");
  await writeFile(kubeconfig, settings.kubeconfig, { mode: 0o600 });
  return run("kube-controller-manager", [
    `--kubeconfig=${kubeconfig}`,
    "--secure-port=0",
    "--leader-elect=false",
    // With one identity for all, the publisher of root certificates is forbidden to write.
    "--use-service-account-credentials=true",
    `--service-account-private-key-file=${files.accountKey}`,
    `--root-ca-file=${files.servingCert}`,
    `--kube-api-qps=${settings.qps}`,
    `--kube-api-burst=${Math.ceil(settings.qps * 1.5)}`,
  ]);
}

/** Waits for a start-up step of the first child, as long as all of them run; the error holds the end of their logs. */
async function ready<T>(children: readonly Child[], what: string, probe: () => Promise<T | false>): Promise<T> {
  const step = `start ${children[0]?.name}: ${what}`;
  const check = (): Promise<T | false> => {
    const dead = children.find((child) => child.ended() !== undefined);
    if (dead !== undefined) throw new GiveUp(new Error(`${step}: ${dead.name} ended with ${dead.ended()}`));
    // What took our port may accept a connection and never answer, so the end of a child ends the probe.
    return Promise.race([probe(), ...children.map((child) => child.exited.then((): false => false))]);
  };
  try {
    return await waitUntil(step, check, { deadlineMs: 90_000, everyMs: 50 });
  } catch (error) {
    const logs = children.map((child) => `--- log of ${child.name} ends\n${child.logTail()}`);
    throw new Error([error instanceof Error ? error.message : step, ...logs].join("\n"), { cause: error });
  }
}

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

// A whole installation on real parts: redis-server, a management cluster and downstream clusters (real API servers), producers and workers as processes
// of their own, started through the CLI. Tests look at it through public faces only: the clusters' objects, the hook's answers, the CLI's JSON, /metrics.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ApiServer } from "../apiserver/start.ts";
import { startApiServer } from "../apiserver/start.ts";
import type { StatusRow } from "../../shared/ledger/status.ts";
import { putClusterSecret } from "./cluster-secrets.ts";
import type { TestRedis } from "./redis.ts";
import { startRedis } from "./redis.ts";
import { GiveUp, waitUntil } from "./wait-until.ts";

export const HOOK_SECRET = "a-secret-for-the-hook-0123456789";
/** Many processes start at once, and other tests may be running. */
const START_MS_MAX = 60_000;
/** The command, as it is installed. */
export const CLI = fileURLToPath(new URL("../../deploy/understudy.mjs", import.meta.url));

export interface Process {
  readonly name: string;
  readonly child: ChildProcess;
  /** Every log line so far, parsed. */
  readonly lines: Record<string, unknown>[];
  /** Fields of its "process started" line: hook, ops, id. */
  readonly started: Record<string, string>;
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}
export interface HouseOptions {
  /** Downstream cluster ids; default c-one, c-two. */
  readonly clusters?: readonly string[];
  readonly workers?: number;
  readonly producers?: number;
  /** Settings of every process; `producer` and `worker` processes get them all. */
  readonly settings?: Readonly<Record<string, string>>;
  /** false: source `logins`, no management cluster. */
  readonly management?: boolean;
  /** Stock is 20; default 1000. */
  readonly controllerManagerQps?: number;
  /** The kubeconfig that workers and producers get for a cluster; default: its least-privilege worker account. */
  readonly kubeconfig?: (server: ApiServer) => Promise<string>;
  /** The namespace of the management cluster whose Secrets hold them, instead of files in a folder. */
  readonly clusterSecrets?: string;
  /** The one that producers get for the management cluster, and workers for those Secrets; default: an administrator's. */
  readonly managementKubeconfig?: (server: ApiServer) => Promise<string>;
}

export class House implements AsyncDisposable {
  readonly redis: TestRedis;
  readonly management: ApiServer | undefined;
  readonly clusters: ReadonlyMap<string, ApiServer>;
  readonly folder: string;
  readonly clustersDir: string;
  readonly settings: Record<string, string>;
  readonly processes: Process[] = [];

  private constructor(parts: {
    redis: TestRedis;
    management: ApiServer | undefined;
    clusters: Map<string, ApiServer>;
    folder: string;
    settings: Readonly<Record<string, string>>;
    clusterSecrets: string | undefined;
  }) {
    this.redis = parts.redis;
    this.management = parts.management;
    this.clusters = parts.clusters;
    this.folder = parts.folder;
    this.clustersDir = join(parts.folder, "clusters");
    this.settings = {
      UNDERSTUDY_REDIS_URL: parts.redis.url,
      ...(parts.clusterSecrets === undefined ? { UNDERSTUDY_CLUSTERS_DIR: this.clustersDir } : { UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE: parts.clusterSecrets }),
      UNDERSTUDY_HOOK_SECRETS: HOOK_SECRET,
      UNDERSTUDY_HOOK_LISTEN: "127.0.0.1:0",
      UNDERSTUDY_OPS_LISTEN: "127.0.0.1:0",
      UNDERSTUDY_DASHBOARD_LISTEN: "127.0.0.1:0",
      ...(parts.management ? { UNDERSTUDY_MANAGEMENT_KUBECONFIG: join(parts.folder, "management.yaml") } : {}),
      LOG_LEVEL: "debug",
      ...parts.settings,
    };
  }

  /** Three real API servers, a Redis, one producer and three workers, ready to be told something. */
  static async open(options: HouseOptions = {}): Promise<House> {
    const ids = options.clusters ?? ["c-one", "c-two"];
    const qps = { controllerManagerQps: options.controllerManagerQps ?? 1000 };
    const folder = await mkdtemp(join(tmpdir(), "understudy-house-"));
    const [redis, management, ...servers] = await Promise.all([
      startRedis(),
      options.management === false ? undefined : startApiServer({ name: "management", crds: true }),
      ...ids.map((name) => startApiServer({ name, ...qps })),
    ]);
    const clusters = new Map(ids.map((id, i) => [id, servers[i]!]));
    const house = new House({ redis, management, clusters, folder, settings: options.settings ?? {}, clusterSecrets: options.clusterSecrets });
    try {
      await house.#furnish(options);
      return house;
    } catch (error) {
      // What was started would keep the test process alive for ever.
      await house[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #furnish(options: HouseOptions): Promise<void> {
    const { management, clusters, folder } = this;
    await mkdir(this.clustersDir);
    if (management) await writeFile(join(folder, "management.yaml"), await (options.managementKubeconfig?.(management) ?? management.kubeconfig));
    for (const [id, server] of clusters) {
      const kubeconfig = await (options.kubeconfig?.(server) ?? server.workerKubeconfig());
      if (options.clusterSecrets === undefined) await writeFile(join(this.clustersDir, `${id}.yaml`), kubeconfig);
      else await putClusterSecret(management!, options.clusterSecrets, id, { kubeconfig });
      await management?.call("POST", "/api/v1/namespaces", { metadata: { name: id } });
    }
    await Promise.all([
      ...Array.from({ length: options.producers ?? 1 }, () => this.start("producer")),
      ...Array.from({ length: options.workers ?? 3 }, () => this.start("worker")),
    ]);
    if (options.producers !== 0)
      await waitUntil("the import stands", async () => (await fetch(`${this.producer.started["ops"]}/readyz`)).ok, { deadlineMs: START_MS_MAX });
  }

  /** Starts one more process through the CLI and waits until it says that it has started. */
  async start(name: "worker" | "producer" | "dashboard", settings: Readonly<Record<string, string>> = {}): Promise<Process> {
    const child = spawn(process.execPath, [CLI, name], {
      env: { PATH: process.env["PATH"], ...this.settings, ...settings },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const lines: Record<string, unknown>[] = [];
    let rest = "";
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop()!;
      for (const part of parts) lines.push(part.startsWith("{") ? (JSON.parse(part) as Record<string, unknown>) : { text: part });
    });
    const ended = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
    const running: Process = {
      name,
      child,
      lines,
      started: {},
      async stop(signal = "SIGTERM") {
        if (child.exitCode === null && child.signalCode === null) child.kill(signal);
        return ended;
      },
    };
    this.processes.push(running);
    const started = await waitUntil(
      `${name} started`,
      () => {
        if (child.exitCode !== null) throw new GiveUp(new Error(`${name} ended with ${child.exitCode}: ${JSON.stringify(lines.at(-1))}`));
        return lines.find((line) => line["msg"] === "process started") as Record<string, string> | undefined;
      },
      { deadlineMs: START_MS_MAX },
    );
    Object.assign(running.started, started);
    return running;
  }

  get producer(): Process {
    return this.processes.find(({ name, child }) => name === "producer" && child.exitCode === null && child.signalCode === null)!;
  }
  get workers(): Process[] {
    return this.processes.filter(({ name, child }) => name === "worker" && child.exitCode === null && child.signalCode === null);
  }
  cluster(id: string): ApiServer {
    return this.clusters.get(id)!;
  }

  /** A command of the CLI, as a user types it. */
  async command(args: readonly string[], settings: Readonly<Record<string, string>> = {}): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const child = spawn(process.execPath, [CLI, ...args], {
      env: { PATH: process.env["PATH"], ...this.settings, ...settings },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const out = { stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (out.stdout += chunk));
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (out.stderr += chunk));
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    return { code, ...out };
  }

  /** The hook, as a proxy calls it. */
  async hook(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = { authorization: `Bearer ${HOOK_SECRET}` },
    from: Process = this.producer,
  ): Promise<{ status: number; body: Record<string, unknown>; headers: Headers }> {
    const json = body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) };
    const response = await fetch(from.started["hook"] + path, { method, headers: { "content-type": "application/json", ...headers }, ...json });
    return { status: response.status, body: (await response.json()) as Record<string, unknown>, headers: response.headers };
  }
  /** A login that waits for `ready`. */
  login(
    user: string,
    cluster: string | undefined,
    login: { provider?: string; groups?: string[]; extras?: Record<string, string[]> } = {},
    from?: Process,
  ): Promise<{ status: number; body: Record<string, unknown> }> {
    const sent = { user, ...(cluster === undefined ? {} : { cluster }), provider: "github", ...login };
    return this.hook("POST", "/v1/logins?wait=5", sent, undefined, from);
  }
  /** Its row of `status`, by the hook. */
  async row(cluster: string, user: string): Promise<StatusRow | undefined> {
    const { status, body } = await this.hook("GET", `/v1/subjects/${cluster}/${encodeURIComponent(user)}`);
    return status === 200 ? (body as unknown as StatusRow) : undefined;
  }
  async waitFor(cluster: string, user: string, state: StatusRow["state"], options?: { deadlineMs?: number; generation?: number }): Promise<StatusRow> {
    return waitUntil(
      `${cluster}/${user} is ${state}`,
      async () => {
        const row = await this.row(cluster, user);
        if (row?.state === state && row.observedGeneration >= (options?.generation ?? 0)) return row;
        throw new Error(`it is ${JSON.stringify(row)}`);
      },
      { deadlineMs: options?.deadlineMs ?? 20_000, everyMs: 20 },
    );
  }

  /** For whoever wants to know why a test was red. */
  async #keepLogs(folder: string | undefined): Promise<void> {
    if (folder === undefined) return;
    await mkdir(folder, { recursive: true });
    const lines = this.processes.flatMap((one) => one.lines.map((line) => JSON.stringify(line)));
    await writeFile(join(folder, `${basename(process.argv[1] ?? "")}-${basename(this.folder)}.log`), lines.join("\n"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { child } of this.processes) if (child.exitCode === null && child.signalCode === null) child.kill("SIGCONT");
    await Promise.all(this.processes.map((one) => one.stop("SIGKILL")));
    await this.#keepLogs(process.env["UNDERSTUDY_TEST_LOGS"]);
    await Promise.all([this.redis.stop(), this.management?.stop(), ...[...this.clusters.values()].map((server) => server.stop())]);
    await rm(this.folder, { recursive: true, force: true });
  }
}

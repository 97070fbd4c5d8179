// The clusters of a demo, simulated or real: an administrator's way to each, Understudy's own through a cable that can be pulled, and the kubeconfigs of both.
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Agent, request } from "undici";
import { stringify } from "yaml";
import { DEV_FOLDER } from "../settings.ts";
import type { Ask } from "./answers.ts";
import { Cable } from "./cable.ts";
import type { SampleObject } from "./sample.ts";
import { apiVersionOf, collectionOf } from "./sample.ts";

/** A server, whoever runs it. */
export interface Origin {
  readonly name: string;
  readonly url: string;
  readonly ca: string;
  readonly adminToken: string;
  /** Understudy's own kubeconfig there, by way of a URL. */
  kubeconfig(url: string, ask: Ask): Promise<string>;
}
export interface Member extends Origin {
  /** As an administrator, past the cable. */
  readonly ask: Ask;
  readonly cable: Cable;
}
export interface Fleet {
  readonly management: Member;
  readonly downstream: readonly Member[];
}
/** What `dev` is told of it. */
export const FLEET_SETTINGS = {
  UNDERSTUDY_CLUSTERS_DIR: join(DEV_FOLDER, "clusters"),
  UNDERSTUDY_MANAGEMENT_KUBECONFIG: join(DEV_FOLDER, "clusters-management.yaml"),
};
/** The administrator's kubeconfig of a cluster, for people with kubectl. */
export const kubeconfigPath = (cluster: string): string => join(DEV_FOLDER, `${cluster}.yaml`);

/** Lays the cables and writes the kubeconfigs, all of which go with `running`. */
export async function openFleet(management: Origin, downstream: readonly Origin[], running: AsyncDisposableStack): Promise<Fleet> {
  const member = async (origin: Origin): Promise<Member> => {
    const dispatcher = running.adopt(new Agent({ allowH2: false, connect: { ca: origin.ca } }), (agent) => agent.destroy());
    return { ...origin, ask: asking(origin, dispatcher), cable: running.use(await Cable.to(origin.url)) };
  };
  const fleet = { management: await member(management), downstream: await Promise.all(downstream.map(member)) };
  await writeKubeconfigs(fleet, running);
  return fleet;
}

async function writeKubeconfigs({ management, downstream }: Fleet, running: AsyncDisposableStack): Promise<void> {
  const { UNDERSTUDY_CLUSTERS_DIR: folder, UNDERSTUDY_MANAGEMENT_KUBECONFIG: path } = FLEET_SETTINGS;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const own = async (file: string, one: Member): Promise<[string, string]> => [file, await one.kubeconfig(one.cable.url, one.ask)];
  const files = [
    ...[management, ...downstream].map((one) => [kubeconfigPath(one.name), kubeconfigText(one, one.url, one.adminToken)] as const),
    ...(await Promise.all([own(path, management), ...downstream.map((one) => own(join(folder, `${one.name}.yaml`), one))])),
  ];
  running.defer(async () => {
    for (const [file] of files) await rm(file, { force: true });
    await rm(folder, { recursive: true, force: true });
  });
  for (const [file, text] of files) await writeFile(file, text, { mode: 0o600 });
}

export function kubeconfigText({ name, ca }: Pick<Origin, "name" | "ca">, server: string, token: string): string {
  const cluster = { server, "certificate-authority-data": Buffer.from(ca).toString("base64") };
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": name,
    clusters: [{ name, cluster }],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
  });
}

/** Any status is an answer. Header values travel as UTF-8. */
function asking({ url, adminToken }: Origin, dispatcher: Agent): Ask {
  const bytes = (text: string): string => Buffer.from(text).toString("latin1");
  return async (method, path, body, headers = {}) => {
    const sent = Object.entries(headers).map(([name, value]) => [name, [value].flat().map(bytes)]);
    const response = await request(url + path, {
      method,
      dispatcher,
      headers: { authorization: `Bearer ${adminToken}`, "content-type": "application/json", "user-agent": "demo", ...Object.fromEntries(sent) },
      body: body === undefined ? null : JSON.stringify(body),
    });
    return { status: response.statusCode, body: await response.body.json() };
  };
}

/** Creates people and bindings on the management cluster, and the namespaces that they lie in. @throws Error naming what was refused. */
export async function createSample({ management }: Fleet, sample: readonly SampleObject[]): Promise<void> {
  const namespaces = new Set(sample.flatMap(({ metadata }) => metadata.namespace ?? []));
  for (const name of namespaces) await create(management.ask, { kind: "Namespace", metadata: { name } });
  for (const object of sample) if (object.kind !== "Namespace" || !namespaces.has(object.metadata.name)) await create(management.ask, object);
}

export async function create(ask: Ask, object: SampleObject): Promise<void> {
  const { status, body } = await ask("POST", collectionOf(object), { apiVersion: apiVersionOf(object), ...object });
  if (status !== 201) throw new Error(`create ${object.kind} ${object.metadata.name}: ${status} ${(body as { message?: string }).message ?? ""}`);
}

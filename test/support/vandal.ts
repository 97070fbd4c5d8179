// An administrator who damages an impersonator's objects, or makes objects that look like one's.
import assert from "node:assert/strict";
import type { ApiServer } from "../apiserver/start.ts";
import { NAMESPACE } from "./impersonator.ts";
import { waitUntil } from "./wait-until.ts";

const RBAC = "rbac.authorization.k8s.io";
export type Kind = "clusterroles" | "serviceaccounts" | "secrets" | "clusterrolebindings";
const collectionOf = (kind: Kind): string =>
  kind === "secrets" || kind === "serviceaccounts" ? `/api/v1/namespaces/${NAMESPACE}/${kind}` : `/apis/${RBAC}/v1/${kind}`;
/** Whatever an API server answers: tests look into objects of every kind. */
export type Body = Awaited<ReturnType<ApiServer["call"]>>["body"];

export class Vandal {
  readonly server: ApiServer;
  /** The impersonator's name. */
  readonly name: string;
  readonly secret: string;

  constructor(server: ApiServer, name: string, secret: string) {
    this.server = server;
    this.name = name;
    this.secret = secret;
  }

  /** One call, which must succeed. */
  async call(method: string, path: string, body?: unknown): Promise<Body> {
    const answer = await this.server.call(method, path, body);
    assert.ok(answer.status < 300, `${method} ${path} answered ${answer.status}: ${JSON.stringify(answer.body)}`);
    return answer.body;
  }
  path(kind: Kind): string {
    return `${collectionOf(kind)}/${kind === "secrets" ? this.secret : this.name}`;
  }
  get(kind: Kind): Promise<Body> {
    return this.call("GET", this.path(kind));
  }
  create(kind: Kind, object: object): Promise<Body> {
    return this.call("POST", collectionOf(kind), object);
  }

  /** Changes an object in place. */
  async edit(kind: Kind, change: (object: Body) => unknown): Promise<void> {
    const object = await this.get(kind);
    change(object);
    await this.call("PUT", this.path(kind), object);
  }
  annotate(kind: Kind, key: string, value: string | undefined): Promise<void> {
    return this.edit(kind, ({ metadata }) => (metadata.annotations[key] = value));
  }
  label(kind: Kind, key: string, value: string | undefined): Promise<void> {
    return this.edit(kind, ({ metadata }) => (metadata.labels[key] = value));
  }
  disown(kind: Kind): Promise<void> {
    return this.edit(kind, ({ metadata }) => (metadata.ownerReferences = []));
  }
  async addOwner(kind: Kind): Promise<void> {
    const owner = await this.#stranger();
    await this.edit(kind, ({ metadata }) => (metadata.ownerReferences = [...(metadata.ownerReferences ?? []), owner]));
  }
  async giveAway(kind: Kind): Promise<void> {
    const owner = await this.#stranger();
    await this.edit(kind, ({ metadata }) => (metadata.ownerReferences = [owner]));
  }
  /** An owner that stays: what belongs to nobody, the garbage collector deletes. */
  async #stranger(): Promise<Body> {
    const { metadata: view } = await this.call("GET", `${collectionOf("clusterroles")}/view`);
    return { apiVersion: `${RBAC}/v1`, kind: "ClusterRole", name: "view", uid: view.uid };
  }

  /** Deletes an object, and waits until it and what goes along with it have gone. */
  async remove(kind: Kind, along: readonly Kind[] = [], propagationPolicy = "Background"): Promise<void> {
    await this.call("DELETE", this.path(kind), { apiVersion: "v1", kind: "DeleteOptions", propagationPolicy });
    for (const other of [kind, ...along]) {
      await waitUntil(`${other} of ${this.name} has gone`, async () => (await this.server.call("GET", this.path(other))).status === 404, {
        deadlineMs: 60_000,
      });
    }
  }
}

// What a cluster's controllers do of their own accord, and Understudy relies on: tokens are filled in, what has lost its owner is collected, a namespace that is
// deleted takes its contents along. Each acts a moment after the change that it heard of, as real ones do.
import type { V1OwnerReference } from "@kubernetes/client-node";
import { SECRET_TYPE } from "../../../shared/decide/objects.ts";
import { SECRET_ACCOUNT_ANNOTATION, SECRET_ACCOUNT_UID_ANNOTATION } from "../../../shared/names.ts";
import type { Resource } from "./resources.ts";
import { ACCOUNTS, NAMESPACES, SECRETS } from "./resources.ts";
import type { Change, Store, Thing } from "./store.ts";
import { copyOf } from "./store.ts";
import type { Tokens } from "./tokens.ts";

const MANAGER = { manager: "kube-controller-manager" };

export class Controllers implements Disposable {
  readonly #store: Store;
  readonly #tokens: Tokens;
  readonly #ca: string;
  readonly #resources: readonly Resource[];
  readonly #stop: () => void;

  constructor(store: Store, tokens: Tokens, ca: string, resources: readonly Resource[]) {
    this.#store = store;
    this.#tokens = tokens;
    this.#ca = ca;
    this.#resources = resources;
    this.#stop = store.follow((change) => void setImmediate(() => this.#react(change)));
  }
  [Symbol.dispose](): void {
    this.#stop();
  }

  #react(change: Change): void {
    const { type, resource, object } = change;
    if (type === "DELETED") this.#collect(object.metadata.uid!);
    else this.#settleOwners(resource, object);
    if (resource === SECRETS && type !== "DELETED") this.#fill(object);
    if (resource === ACCOUNTS) this.#account(change);
    if (resource.namespaced && type === "DELETED") this.#endNamespace(object.metadata.namespace!);
    if (resource === NAMESPACES && object.metadata.deletionTimestamp !== undefined) this.#endNamespace(object.metadata.name);
  }

  /** The token controller: a Secret of an account that is not there, or is another one, goes; one without a token gets it. */
  #fill(seen: Thing): void {
    const { namespace, name } = seen.metadata;
    const secret = this.#store.get(SECRETS, namespace, name);
    if (!secret || secret["type"] !== SECRET_TYPE || secret.metadata.deletionTimestamp) return;
    const { [SECRET_ACCOUNT_ANNOTATION]: of = "", [SECRET_ACCOUNT_UID_ANNOTATION]: uid } = secret.metadata.annotations ?? {};
    const account = this.#store.get(ACCOUNTS, namespace, of);
    if (!account || (uid !== undefined && uid !== account.metadata.uid)) return this.#remove(SECRETS, secret);
    if ((secret["data"] as { token?: string } | undefined)?.token !== undefined) return;
    const filled = copyOf(secret);
    const base64 = (text: string): string => Buffer.from(text).toString("base64");
    filled["data"] = { "ca.crt": base64(this.#ca), namespace: base64(namespace!), token: base64(this.#tokens.forSecret(account, secret)) };
    filled.metadata.annotations = { ...filled.metadata.annotations, [SECRET_ACCOUNT_UID_ANNOTATION]: account.metadata.uid! };
    this.#store.replace(SECRETS, filled, MANAGER);
  }
  #account({ type, object: { metadata } }: Change): void {
    if (type === "MODIFIED") return;
    for (const secret of this.#store.list(SECRETS, metadata.namespace))
      if (secret.metadata.annotations?.[SECRET_ACCOUNT_ANNOTATION] === metadata.name) this.#fill(secret);
  }

  /** The garbage collector: what is owned by nobody who is there goes. https://kubernetes.io/docs/concepts/architecture/garbage-collection/ */
  #collect(gone: string): void {
    for (const { resource, object } of this.#store.childrenOf(gone)) this.#settleOwners(resource, object);
  }
  #settleOwners(resource: Resource, seen: Thing): void {
    const object = this.#store.get(resource, seen.metadata.namespace, seen.metadata.name);
    if (!object || object.metadata.uid !== seen.metadata.uid) return;
    const { ownerReferences: owners = [], finalizers = [], deletionTimestamp, uid } = object.metadata;
    const live = owners.filter((owner) => this.#store.find(owner.uid));
    if (owners.length > 0 && live.length === 0 && deletionTimestamp === undefined) return this.#remove(resource, object);
    const waits = deletionTimestamp === undefined ? undefined : finalizers.find((one) => one === "orphan" || one === "foregroundDeletion");
    if (waits === undefined) return;
    for (const child of this.#store.childrenOf(uid!)) {
      if (waits === "foregroundDeletion") this.#remove(child.resource, child.object);
      else this.#disown(child.resource, child.object, uid!);
    }
    const free = copyOf(object);
    free.metadata.finalizers = finalizers.filter((one) => one !== waits);
    this.#store.replace(resource, free, MANAGER);
  }
  #disown(resource: Resource, child: Thing, owner: string): void {
    const free = copyOf(child);
    free.metadata.ownerReferences = (child.metadata.ownerReferences ?? []).filter(({ uid }: V1OwnerReference) => uid !== owner);
    this.#store.replace(resource, free, MANAGER);
  }

  /** What is in it goes, and then the namespace itself. */
  #endNamespace(name: string): void {
    const namespace = this.#store.get(NAMESPACES, undefined, name);
    if (!namespace?.metadata.deletionTimestamp) return;
    const contents = this.#resources
      .filter((one) => one.namespaced)
      .flatMap((resource) => this.#store.list(resource, name).map((object) => ({ resource, object })));
    if (contents.length === 0) return void this.#store.replace(NAMESPACES, { ...copyOf(namespace), spec: {} }, MANAGER);
    for (const { resource, object } of contents) if (!object.metadata.deletionTimestamp) this.#remove(resource, object);
  }
  #remove(resource: Resource, { metadata: { namespace, name, uid } }: Thing): void {
    if (this.#store.get(resource, namespace, name)?.metadata.uid === uid) this.#store.remove(resource, namespace, name, {});
  }
}

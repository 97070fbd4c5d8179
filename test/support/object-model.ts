// A small model of an API server for the four kinds of one impersonator: the judge of every plan. It refuses what a real one refuses, and remembers every token that was ever revoked.
import type { KubernetesObject, V1ClusterRole, V1ClusterRoleBinding, V1Secret, V1ServiceAccount } from "@kubernetes/client-node";
import type { Wanted } from "../../shared/decide/objects.ts";
import type { Kind, Pass, Seen, Step } from "../../shared/decide/plan.ts";
import { nextStep } from "../../shared/decide/plan.ts";
import { aPass } from "./builders.ts";

export interface ObjectOf {
  readonly ClusterRole: V1ClusterRole;
  readonly ServiceAccount: V1ServiceAccount;
  readonly Secret: V1Secret;
  readonly ClusterRoleBinding: V1ClusterRoleBinding;
}
/** A step that writes. */
export type Write = Extract<Step, { kind: Kind }>;
type Deletion = Extract<Step, { do: "delete" }>;

/** 409: it exists already, is another one, or has changed since it was seen. */
export class Conflict extends Error {
  override readonly name = "Conflict";
}
/** A revoked token would be valid again, because the same pair of names makes the same JWT: the model's own refusal. */
export class Revived extends Error {
  override readonly name = "Revived";
}
/** 422: what a real API server never accepts. */
class Invalid extends Error {
  override readonly name = "Invalid";
}

const ACCOUNT_NAME = "kubernetes.io/service-account.name";
const ACCOUNT_UID = "kubernetes.io/service-account.uid";
const TOKEN_TYPE = "kubernetes.io/service-account-token";
const copy = <T>(object: T): T => JSON.parse(JSON.stringify(object)) as T;

export class ObjectModel {
  readonly #objects = new Map<string, KubernetesObject>();
  /** A token is its Secret's name and its account's uid: the same pair makes the same JWT. */
  readonly #revoked = new Set<string>();
  #version = 0;
  #uids = 0;

  /** One write of a plan. @throws Conflict, Invalid, Revived. */
  apply(step: Write): void {
    if (step.do === "create") this.create(step.kind, step.object);
    else if (step.do === "change") this.#change(step.kind, step.object);
    else this.#delete(step);
  }

  create(kind: Kind, given: KubernetesObject): void {
    const key = keyOf(kind, given);
    if (this.#objects.has(key)) throw new Conflict(`${key} exists`);
    const object = copy(given);
    checkValid(kind, object);
    const token = tokenOf(object);
    if (token !== undefined && this.#revoked.has(token)) throw new Revived(`a revoked token would live again: ${key}`);
    object.metadata = { ...object.metadata, uid: `uid-${++this.#uids}`, resourceVersion: String(++this.#version) };
    this.#objects.set(key, object);
  }

  #change(kind: Kind, given: KubernetesObject): void {
    const key = keyOf(kind, given);
    const known = this.#objects.get(key);
    const { uid, resourceVersion } = given.metadata ?? {};
    if (resourceVersion === undefined) throw new Invalid(`a change of ${key} says no resourceVersion, so it would overwrite anything`);
    if (!known || known.metadata!.resourceVersion !== resourceVersion || (uid !== undefined && uid !== known.metadata!.uid))
      throw new Conflict(`${key} has changed`);
    const object = copy(given);
    checkValid(kind, object);
    for (const field of ["roleRef", "type"] as const) {
      if (JSON.stringify(inside(object)[field]) !== JSON.stringify(inside(known)[field])) throw new Invalid(`${field} of ${key} cannot be changed`);
    }
    object.metadata = { ...object.metadata, uid: known.metadata!.uid!, resourceVersion: String(++this.#version) };
    this.#objects.set(key, object);
  }

  #delete({ kind, name, uid, resourceVersion }: Deletion): void {
    const known = this.#objects.get(`${kind} ${name}`);
    if (!known) return;
    const sameVersion = resourceVersion === undefined || resourceVersion === known.metadata!.resourceVersion;
    if (uid !== known.metadata!.uid || !sameVersion) throw new Conflict(`${kind} ${name} is another one`);
    this.drop(kind, name);
  }

  /** Somebody else deletes it. */
  drop(kind: Kind, name: string): void {
    const known = this.#objects.get(`${kind} ${name}`);
    const token = known && tokenOf(known);
    if (token !== undefined) this.#revoked.add(token);
    this.#objects.delete(`${kind} ${name}`);
  }

  /** Somebody else edits it, or deletes it and makes it again where a real API server knows no edit. */
  edit<K extends Kind>(kind: K, name: string, change: (object: ObjectOf[K]) => void): void {
    const known = this.#objects.get(`${kind} ${name}`);
    if (!known) return;
    change(known as ObjectOf[K]);
    known.metadata!.resourceVersion = String(++this.#version);
  }

  /** The garbage collector: a child goes when all its owners' uids are gone, and then its own children. */
  collect(): void {
    for (let before = -1; before !== this.#objects.size;) {
      before = this.#objects.size;
      const alive = new Set([...this.#objects.values()].map((object) => object.metadata!.uid));
      for (const [key, { metadata }] of this.#objects) {
        const owners = metadata?.ownerReferences ?? [];
        if (owners.length > 0 && owners.every((owner) => !alive.has(owner.uid))) this.drop(key.split(" ")[0] as Kind, metadata!.name!);
      }
    }
  }

  all<K extends Kind>(kind: K): ObjectOf[K][] {
    return [...this.#objects].filter(([key]) => key.startsWith(`${kind} `)).map(([, object]) => copy(object as ObjectOf[K]));
  }

  get size(): number {
    return this.#objects.size;
  }

  /** The objects of one account's name as a fresh read shows them; its Secrets are those that say so, in label, annotation, or by being named. */
  seen(name: string): Seen {
    const one = <K extends Kind>(kind: K): ObjectOf[K] | undefined => this.all(kind).find((object) => object.metadata!.name === name);
    const account = one("ServiceAccount");
    const named = refOf(account)?.split("/")[1];
    const secrets = this.all("Secret").filter(
      ({ metadata }) =>
        metadata!.name === named || metadata!.labels?.["cattle.io/service-account.name"] === name || metadata!.annotations?.[ACCOUNT_NAME] === name,
    );
    return { role: one("ClusterRole"), account, binding: one("ClusterRoleBinding"), secrets };
  }
}

export const says = (step: Step): string => ("kind" in step ? `${step.do} ${step.kind}` : step.do);

/** Far more than any plan needs. */
const STEPS_MAX = 60;

/** One pass with a fresh look before every step, to its end. `onStep` is told each step before it is done. @throws when it never ends. */
export function carryOut(model: ObjectModel, name: string, goal: Wanted | undefined, pass: Pass = aPass(), onStep?: (step: Step, seen: Seen) => void): Step[] {
  const steps: Step[] = [];
  for (;;) {
    const seen = model.seen(name);
    const step = nextStep(goal, seen, pass);
    if (step.do === "done") return steps;
    if (steps.push(step) > STEPS_MAX) throw new Error(`it never ends: …, ${steps.slice(-4).map(says).join(", ")}`);
    onStep?.(step, seen);
    if ("kind" in step) model.apply(step);
    note(pass, step, seen);
  }
}

/** What a step makes of a pass, by the words of `Pass`. */
export function note(pass: Pass, step: Step, seen: Seen): void {
  if (step.do === "check") pass.checked = true;
  if (step.do === "look-again") pass.absenceSeen = true;
  if (!("kind" in step)) return;
  if (step.kind === "ClusterRole") Object.assign(pass, step.do === "delete" ? { absenceSeen: true } : { sealed: true, checked: false });
  if (step.kind === "ServiceAccount" && step.do === "create") pass.ownAccount = true;
  if (step.kind === "ServiceAccount" && step.do === "change" && refOf(step.object) !== refOf(seen.account)) pass.rotated = true;
}

const refOf = (account: KubernetesObject | undefined): string | undefined => account?.metadata?.annotations?.["rancher.io/service-account.secret-ref"];
const keyOf = (kind: Kind, object: KubernetesObject): string => `${kind} ${object.metadata?.name}`;
const inside = (object: KubernetesObject): { roleRef?: unknown; type?: unknown } => object as { roleRef?: unknown; type?: unknown };

function tokenOf(object: KubernetesObject): string | undefined {
  const uid = object.metadata?.annotations?.[ACCOUNT_UID];
  return uid === undefined || inside(object).type !== TOKEN_TYPE ? undefined : `${object.metadata!.name} of ${uid}`;
}

function checkValid(kind: Kind, object: KubernetesObject): void {
  const { name = "", annotations = {}, labels = {}, ownerReferences = [] } = object.metadata ?? {};
  if (object.kind !== kind || !object.apiVersion) throw new Invalid(`not a ${kind}: ${object.apiVersion} ${object.kind}`);
  if (!/^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/.test(name)) throw new Invalid(`${name} is no name`);
  if (ownerReferences.some((owner) => !owner.apiVersion || !owner.kind || !owner.name || !owner.uid))
    throw new Invalid(`an owner of ${kind} ${name} is not complete`);
  if (Object.values(labels).some((value) => !/^([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$/.test(value)))
    throw new Invalid(`a label of ${kind} ${name} is no label`);
  if (inside(object).type === TOKEN_TYPE && !annotations[ACCOUNT_NAME]) throw new Invalid(`the token Secret ${name} says no account`);
  if (Object.values(annotations).some((value) => typeof value !== "string")) throw new Invalid(`an annotation of ${kind} ${name} is no text`);
}

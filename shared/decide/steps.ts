// What a step leaves: of the seen objects, and of what a pass knows. A worker asks after each write; `plan` drives all steps in memory with it. Pure.
import type { KubernetesObject, V1ClusterRoleBinding } from "@kubernetes/client-node";
import type { Wanted } from "./objects.ts";
import type { Kind, Pass, Seen, Step } from "./plan.ts";
import { nextStep } from "./plan.ts";

/** A step that writes. */
export type Write = Extract<Step, { kind: Kind }>;
export type Removal = Extract<Step, { do: "delete" }>;

/** Seen, with this object as the server answered it. */
export function having(seen: Seen, kind: Kind, object: KubernetesObject): Seen {
  if (kind === "ClusterRole") return { ...seen, role: object };
  if (kind === "ServiceAccount") return { ...seen, account: object };
  if (kind === "ClusterRoleBinding") return { ...seen, binding: object as V1ClusterRoleBinding };
  return { ...seen, secrets: [...seen.secrets.filter((secret) => secret.metadata!.name !== object.metadata!.name), object] };
}

/** Seen, without this object. */
export function without(seen: Seen, kind: Kind, name: string): Seen {
  if (kind === "ClusterRole") return { ...seen, role: undefined };
  if (kind === "ServiceAccount") return { ...seen, account: undefined };
  if (kind === "ClusterRoleBinding") return { ...seen, binding: undefined };
  return { ...seen, secrets: seen.secrets.filter((secret) => secret.metadata!.name !== name) };
}

/** What a pass may rely on once a step is done, or its question answered. */
export function noteStep(pass: Pass, step: Step): void {
  if (step.do === "check") pass.checked = true;
  if (step.do === "look-again") pass.absenceSeen = true;
  if (!("kind" in step)) return;
  if (step.kind === "ClusterRole") {
    pass.sealed = true;
    pass.checked = false;
    if (step.do === "delete") pass.absenceSeen = true;
  }
  if (step.kind === "ServiceAccount" && step.do === "create") pass.ownAccount = true;
  if (step.do === "change" && step.rotates) pass.rotated = true;
}

/** Stands in the name of a token Secret that is not made yet: its own is drawn when it is. */
const NEW = "<new>";

/** A write, and the object as it is before it. */
export type Foretold = Write & { readonly before: KubernetesObject | undefined };

/** Every write from here to equality, in order, as if each succeeded and each question were answered with "go on". */
export function stepsTowards(wanted: Wanted | undefined, first: Seen): Foretold[] {
  const pass: Pass = { takeover: false, me: "", nonce: NEW, sealed: false, absenceSeen: false, ownAccount: false, rotated: false, checked: false };
  const writes: Foretold[] = [];
  for (let seen = first; ;) {
    const step = nextStep(wanted, seen, pass);
    if (step.do === "done") return writes;
    if (step.do === "wait") seen = without(seen, step.until, step.name);
    if ("kind" in step) {
      writes.push({ ...step, before: objectIn(seen, step) });
      seen = step.do === "delete" ? without(seen, step.kind, step.name) : having(seen, step.kind, answered(step, writes.length));
    }
    noteStep(pass, step);
  }
}

function objectIn({ role, account, binding, secrets }: Seen, step: Write): KubernetesObject | undefined {
  const name = step.do === "delete" ? step.name : step.object.metadata!.name;
  if (step.kind === "Secret") return secrets.find(({ metadata }) => metadata!.name === name);
  return { ClusterRole: role, ServiceAccount: account, ClusterRoleBinding: binding }[step.kind];
}

/** The object as a server would answer it: what is new gets a uid, which its children will name. */
function answered({ do: action, object }: Exclude<Write, { do: "delete" }>, count: number): KubernetesObject {
  return action === "change" ? object : { ...object, metadata: { ...object.metadata, uid: `${NEW} ${count}`, resourceVersion: NEW } };
}

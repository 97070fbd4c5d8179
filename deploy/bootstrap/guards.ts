// What is refused to everybody, administrators too: nothing runs as an impersonator, and nothing else is bound to one. Pure.
import { NAMESPACE, PREFIX } from "../../shared/names.ts";
import { RBAC } from "../commands/rights.ts";
import { all, any, on, policyParts, text } from "./policy.ts";
import type { Part } from "./rbac.ts";

/** A pod could mount the account of whoever it likes. */
const namespaceGuard = (): Part[] =>
  policyParts({
    name: "understudy-namespace-guard",
    why: `For everybody: a pod in ${NAMESPACE} could be any impersonator.`,
    rules: [on("", ["pods"], ["CREATE"])],
    inNamespace: NAMESPACE,
    validations: [[`understudy guard: no pod runs in ${NAMESPACE}`, "false"]],
  });

/** An account is named as such, as a user, or along with all accounts of its namespace. */
function bindingGuard(): Part[] {
  const named = any(
    `(s.kind == "ServiceAccount" && has(s.namespace) && s.namespace == ${text(NAMESPACE)})`,
    `(s.kind == "User" && s.name.startsWith(${text(`system:serviceaccount:${NAMESPACE}:`)}))`,
    `(s.kind == "Group" && s.name == ${text(`system:serviceaccounts:${NAMESPACE}`)})`,
  );
  const own = all(
    `request.resource.resource == "clusterrolebindings"`,
    `object.roleRef.kind == "ClusterRole"`,
    `object.roleRef.name == object.metadata.name`,
    `object.roleRef.name.startsWith(${text(PREFIX)})`,
    `object.subjects.all(s, s.kind == "ServiceAccount" && s.name == object.roleRef.name && s.namespace == ${text(NAMESPACE)})`,
  );
  return policyParts({
    name: "understudy-binding-guard",
    why: "For everybody: whatever else an impersonator is bound to, its person could do as somebody whom no audit line names.",
    rules: [on(RBAC, ["clusterrolebindings", "rolebindings"], ["CREATE", "UPDATE"])],
    when: { name: "names-an-impersonator", expression: `has(object.subjects) && object.subjects.exists(s,\n${named})` },
    validations: [["understudy guard: an impersonator has its own role and no other", own]],
  });
}

/** Both, for `kubectl apply` in any order. */
export const guards = (): Part[] => [...namespaceGuard(), ...bindingGuard()];

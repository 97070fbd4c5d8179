// How an admission policy is written: its defaults said, so that applying it twice changes nothing, and CEL's literals. Pure.
import type { V1NamedRuleWithOperations, V1ValidatingAdmissionPolicySpec } from "@kubernetes/client-node";
import type { Part } from "./rbac.ts";

const GROUP = "admissionregistration.k8s.io";

/** A text, or a list of texts, as CEL writes it. */
export const text = (value: string): string => JSON.stringify(value);
export const texts = (values: readonly string[]): string => `[${values.map(text).join(", ")}]`;
/** All of these have to hold; any of them has to. */
export const all = (...parts: readonly string[]): string => parts.join(" &&\n");
export const any = (...parts: readonly string[]): string => parts.join(" ||\n");

/** What is looked at: resources of one API group, in whatever version they are asked for. */
export const on = (group: string, resources: readonly string[], operations: readonly ("CREATE" | "UPDATE" | "DELETE")[]): V1NamedRuleWithOperations => ({
  apiGroups: [group],
  apiVersions: ["*"],
  operations: [...operations],
  resources: [...resources],
  scope: "*",
});

export interface Policy {
  readonly name: string;
  readonly why: string;
  readonly rules: readonly V1NamedRuleWithOperations[];
  readonly inNamespace?: string;
  /** Only requests of which this is true. */
  readonly when?: { readonly name: string; readonly expression: string };
  readonly variables?: Readonly<Record<string, string>>;
  /** What is said of a request of which the expression is not true. */
  readonly validations: readonly (readonly [message: string, expression: string])[];
}

/** The policy and its binding. An expression that cannot be evaluated refuses. */
export function policyParts({ name, why, rules, inNamespace, when, variables = {}, validations }: Policy): Part[] {
  const spec: V1ValidatingAdmissionPolicySpec = {
    failurePolicy: "Fail",
    matchConstraints: {
      matchPolicy: "Equivalent",
      namespaceSelector: inNamespace === undefined ? {} : { matchLabels: { "kubernetes.io/metadata.name": inNamespace } },
      objectSelector: {},
      resourceRules: [...rules],
    },
    ...(when ? { matchConditions: [when] } : {}),
    ...(Object.keys(variables).length > 0 ? { variables: Object.entries(variables).map(([key, expression]) => ({ name: key, expression })) } : {}),
    validations: validations.map(([message, expression]) => ({ expression, message })),
  };
  const apiVersion = `${GROUP}/v1`;
  return [
    { why, object: Object.assign({ apiVersion, kind: "ValidatingAdmissionPolicy", metadata: { name } }, { spec }) },
    {
      why: "",
      object: Object.assign(
        { apiVersion, kind: "ValidatingAdmissionPolicyBinding", metadata: { name } },
        { spec: { policyName: name, validationActions: ["Deny"] } },
      ),
    },
  ];
}

// The worker fence: what the worker's account may write, whatever its RBAC allows. As an admission policy made from the product's own constants, so that both say the same. Pure.
// A stolen worker token can then make an impersonator of a person and read its token; it cannot make itself more than that.
import { SECRET_TYPE } from "../../shared/decide/objects.ts";
import type { TokenMode } from "../../shared/decide/objects.ts";
import { OPEN_RESOURCES } from "../../shared/decide/rules.ts";
import type { Profile } from "../../shared/decide/rules.ts";
import { FENCE_TEXTS, WORKER_FENCE } from "../../shared/kube/fence.ts";
import { REQUEST_SECONDS } from "../../shared/kube/token.ts";
import { IMPERSONATOR_LABEL, NAMESPACE, PREFIX, SECRET_ACCOUNT_ANNOTATION, SECRET_ACCOUNT_LABEL, SLUG_END, USER_ANNOTATION } from "../../shared/names.ts";
import { BUILT_IN_GROUPS, EXTRA_KEYS } from "../../shared/subject.ts";
import { RBAC } from "../commands/rights.ts";
import { all, any, on, policyParts, text, texts } from "./policy.ts";
import type { Part } from "./rbac.ts";
import { WORKER_USER } from "./rbac.ts";

/** What the settings say of the objects that workers write. */
export interface FenceShape {
  readonly profile: Profile;
  readonly source: "rancher" | "logins";
  readonly denyPrefixes: readonly string[];
  readonly tokenMode: TokenMode;
  /** What API servers call themselves; a token without an audience is for all of these. */
  readonly audiences: readonly string[];
}
type Validation = readonly [message: string, expression: string];

const NAMESPACED = ["serviceaccounts", "serviceaccounts/token", "secrets"];
/** CEL cannot look at what is not there: each has its value, or an empty one. */
const VARIABLES = {
  kind: `request.resource.resource + (has(request.subResource) && request.subResource != "" ? "/" + request.subResource : "")`,
  name: `has(request.name) ? request.name : ""`,
  deletes: `request.operation == "DELETE"`,
  seen: `variables.deletes ? oldObject : object`,
  isRole: `variables.kind == "clusterroles" && !variables.deletes`,
  isBinding: `variables.kind == "clusterrolebindings" && !variables.deletes`,
  rules: `variables.isRole && has(object.rules) && object.rules != null ? object.rules : []`,
  labels: `variables.kind != "serviceaccounts/token" && !variables.deletes && has(object.metadata.labels) ? object.metadata.labels : {}`,
  // Of a Secret: whose token is in it.
  account: `variables.kind == "secrets" && has(variables.seen.metadata.annotations) && ${text(SECRET_ACCOUNT_ANNOTATION)} in variables.seen.metadata.annotations
  ? variables.seen.metadata.annotations[${text(SECRET_ACCOUNT_ANNOTATION)}] : ""`,
};

/** Policy and binding. */
export function workerFence(shape: FenceShape): Part[] {
  return policyParts({
    name: WORKER_FENCE,
    why: "What the worker's account may write, whatever its rights are: impersonators of people, and nothing else.",
    rules: [
      on(RBAC, ["*"], ["CREATE", "UPDATE", "DELETE"]),
      on("", ["serviceaccounts", "serviceaccounts/token", "secrets", "namespaces"], ["CREATE", "UPDATE", "DELETE"]),
    ],
    when: { name: "worker", expression: `request.userInfo.username == ${text(WORKER_USER)}` },
    variables: VARIABLES,
    validations: [...whichObjects(shape), ...roles(shape), ...bindings(), ...secrets(), ...tokens(shape)],
  });
}

/** Impersonators' objects by kind, name, place, marks and labels. */
function whichObjects({ tokenMode }: FenceShape): Validation[] {
  const kinds = ["clusterroles", "clusterrolebindings", "serviceaccounts", "secrets", ...(tokenMode === "request" ? ["serviceaccounts/token"] : [])];
  const marked = (field: string, key: string): string => `(has(oldObject.metadata.${field}) && ${text(key)} in oldObject.metadata.${field})`;
  const old = `(request.operation == "UPDATE" && has(oldObject.metadata.labels) && key in oldObject.metadata.labels)`;
  return [
    ["understudy fence: this kind is not the worker's", `variables.kind in ${texts(kinds)}`],
    [
      // A token Secret that others made of an impersonator's account has to go, whatever it is called.
      `understudy fence: its name begins with ${PREFIX}`,
      any(
        `(variables.name.startsWith(${text(PREFIX)}) && size(variables.name) > ${PREFIX.length})`,
        `(variables.kind == "secrets" && variables.deletes && variables.account.startsWith(${text(PREFIX)}))`,
      ),
    ],
    [
      `understudy fence: only in namespace ${NAMESPACE}`,
      `!(variables.kind in ${texts(NAMESPACED)}) || (has(request.namespace) && request.namespace == ${text(NAMESPACE)})`,
    ],
    [
      // One mark may have been lost; who lost both is put right by a person.
      "understudy fence: the object there is not an impersonator's",
      any(`request.operation == "CREATE"`, `variables.kind == "secrets"`, marked("labels", IMPERSONATOR_LABEL), marked("annotations", USER_ANNOTATION)),
    ],
    [
      // Above all none that puts its rules into other roles. What others put on an account or Secret may stay.
      "understudy fence: a label is not an impersonator's",
      `variables.labels.all(key, key in ${texts([IMPERSONATOR_LABEL, SECRET_ACCOUNT_LABEL])} ||\n(variables.kind in ${texts(NAMESPACED)} && ${old}))`,
    ],
  ];
}

/** One person, by name, and what the person is called; the shapes of `rulesFor`. */
function roles({ profile, source, denyPrefixes }: FenceShape): Validation[] {
  const open = profile === "rancher" ? OPEN_RESOURCES : [];
  const extras = [...EXTRA_KEYS.map((key) => `userextras/${key}`), ...open];
  const builtIn = `rule.resources[0] == "groups" && name in ${texts(BUILT_IN_GROUPS)}`;
  const names = (condition: string): string => `variables.rules.all(rule, !has(rule.resourceNames) || rule.resourceNames.all(name,\n${condition}))`;
  const users = `variables.rules.filter(rule, "users" in rule.resources)`;
  const ofTheName = any(
    `object.metadata.name == ${text(PREFIX)} + rule.resourceNames[0]`,
    all(
      `(object.metadata.name.matches(${text(SLUG_END.source)})`,
      `has(object.metadata.annotations) && ${text(USER_ANNOTATION)} in object.metadata.annotations`,
      `object.metadata.annotations[${text(USER_ANNOTATION)}] == rule.resourceNames[0])`,
    ),
  );
  return [
    ["understudy fence: a role has no aggregationRule", `!variables.isRole || !has(object.aggregationRule)`],
    [
      "understudy fence: a rule is verb impersonate on users, groups or a known extra, one resource each",
      `variables.rules.all(rule, ${all(
        `rule.verbs == ["impersonate"]`,
        `(!has(rule.nonResourceURLs) || size(rule.nonResourceURLs) == 0)`,
        `has(rule.resources) && size(rule.resources) == 1 && has(rule.apiGroups) && size(rule.apiGroups) == 1`,
        `((rule.apiGroups[0] == "" && rule.resources[0] in ["users", "groups"]) ||\n(rule.apiGroups[0] == "authentication.k8s.io" && rule.resources[0] in ${texts(extras)}))`,
      )})`,
    ],
    [
      FENCE_TEXTS.anyName,
      `variables.rules.all(rule, (has(rule.resourceNames) && size(rule.resourceNames) > 0)${open.length > 0 ? ` || rule.resources[0] in ${texts(open)}` : ""})`,
    ],
    [
      FENCE_TEXTS.reserved,
      names(`name != "" && (!(rule.resources[0] in ["users", "groups"]) || (${builtIn}) ||
!(${denyPrefixes.map((prefix) => `name.startsWith(${text(prefix)})`).join(" || ")}))`),
    ],
    // Logins without Rancher name groups as they like.
    ...(source === "rancher"
      ? [["understudy fence: a group is a principal (provider://...)", names(`rule.resources[0] != "groups" || (${builtIn}) || name.contains("://")`)] as const]
      : []),
    [
      "understudy fence: exactly one user, the one that the role is named after",
      `!variables.isRole || (${users}.size() == 1 && ${users}.all(rule, has(rule.resourceNames) && size(rule.resourceNames) == 1 && (\n${ofTheName})))`,
    ],
  ];
}

function bindings(): Validation[] {
  const own = all(
    `object.roleRef.kind == "ClusterRole" && object.roleRef.name == object.metadata.name`,
    `has(object.subjects) && size(object.subjects) == 1 && object.subjects[0].kind == "ServiceAccount"`,
    `object.subjects[0].name == object.metadata.name && object.subjects[0].namespace == ${text(NAMESPACE)}`,
  );
  return [["understudy fence: a binding binds the role of its name to the account of its name", `!variables.isBinding || (\n${own})`]];
}

function secrets(): Validation[] {
  const kept = `variables.kind != "secrets" || variables.deletes`;
  return [
    ["understudy fence: only token Secrets", `${kept} || object.type == ${text(SECRET_TYPE)}`],
    [
      "understudy fence: a Secret is of the account that it is named after",
      `${kept} || (variables.account.startsWith(${text(PREFIX)}) && object.metadata.name.startsWith(variables.account + "-token-"))`,
    ],
  ];
}

/** Where none may be asked for, their kind is not the worker's. */
function tokens({ tokenMode, audiences }: FenceShape): Validation[] {
  if (tokenMode !== "request") return [];
  return [
    [
      "understudy fence: a token is for an hour and for this API server",
      `variables.kind != "serviceaccounts/token" || (has(object.spec.expirationSeconds) && object.spec.expirationSeconds <= ${REQUEST_SECONDS} &&
(!has(object.spec.audiences) || object.spec.audiences.all(audience, audience in ${texts(audiences)})))`,
    ],
  ];
}

// Object × damage: what a foreign hand does to an impersonator, which writes of ours put it right, and whether somebody got more by it.
import { NAMESPACE } from "./impersonator.ts";
import type { Kind, Vandal } from "./vandal.ts";
import { waitUntil } from "./wait-until.ts";

/**
 * `also`: what is left behind is deleted too, where the controllers have not come before us. `again`: a controller takes part in it, and may come once more
 * after the repair, with what it had read before. `newToken`: the old one is dead afterwards.
 */
export interface Damage {
  readonly hurt: (vandal: Vandal) => Promise<unknown>;
  readonly writes: readonly string[];
  readonly also?: true;
  readonly again?: true;
  readonly newToken?: true;
  readonly tampers?: true;
}
const USER = "understudy.io/user";
const INSTALL = "understudy.io/install";
const LABEL = "authz.cluster.cattle.io/impersonator";
const REF = "rancher.io/service-account.secret-ref";
const AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-view";
const OTHER_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-edit";
const DEADLINE = { deadlineMs: 60_000 };
const all = ["create clusterroles", "create serviceaccounts", "create secrets", "create clusterrolebindings"];
const rotation = ["update serviceaccounts", "create secrets"];
const childrenAnew = ["delete secrets", "delete serviceaccounts", "create serviceaccounts", "create secrets"];

const update = (kind: Kind, hurt: Damage["hurt"]): Damage => ({ hurt, writes: [`update ${kind}`] });
const wider = (kind: Kind, hurt: Damage["hurt"]): Damage => ({ ...update(kind, hurt), tampers: true });
const rotates = (hurt: Damage["hurt"], writes: readonly string[]): Damage => ({ hurt, writes, newToken: true });

/** Deleted and made anew at once, with other content: its uid is another one. */
async function replace(vandal: Vandal, kind: Kind, change: object): Promise<void> {
  const { apiVersion, kind: called, metadata, ...content } = await vandal.get(kind);
  const { name, labels, annotations, ownerReferences } = metadata;
  await vandal.call("DELETE", vandal.path(kind));
  await vandal.create(kind, { apiVersion, kind: called, metadata: { name, labels, annotations, ownerReferences }, ...content, ...change });
}
const everything = { verbs: ["*"], apiGroups: ["*"], resources: ["*"] };
const group = (name: string) => ({ kind: "Group", name, apiGroup: "rbac.authorization.k8s.io" });

const roles: Readonly<Record<string, Damage>> = {
  "the role has a rule for everything": wider("clusterroles", (v) => v.edit("clusterroles", ({ rules }) => rules.push(everything))),
  "the role has a rule for every path": wider("clusterroles", (v) =>
    v.edit("clusterroles", ({ rules }) => rules.push({ verbs: ["get"], nonResourceURLs: ["*"] })),
  ),
  "the role allows system:masters": wider("clusterroles", (v) => v.edit("clusterroles", ({ rules }) => rules[1].resourceNames.push("system:masters"))),
  "the role allows every user": wider("clusterroles", (v) => v.edit("clusterroles", ({ rules }) => delete rules[0].resourceNames)),
  "the role lost a name": update("clusterroles", (v) => v.edit("clusterroles", ({ rules }) => rules[1].resourceNames.shift())),
  "the role allows less": update("clusterroles", (v) => v.edit("clusterroles", (object) => (object.rules = object.rules.slice(0, 1)))),
  "the role lost its label": update("clusterroles", (v) => v.label("clusterroles", LABEL, undefined)),
  "the role has an aggregation label": wider("clusterroles", (v) => v.label("clusterroles", AGGREGATE, "true")),
  "the role has an aggregationRule": {
    ...wider("clusterroles", (v) =>
      v.edit("clusterroles", (object) => (object.aggregationRule = { clusterRoleSelectors: [{ matchLabels: { [OTHER_AGGREGATE]: "true" } }] })),
    ),
    again: true,
  },
  "the role lost the mark of its user": update("clusterroles", (v) => v.annotate("clusterroles", USER, undefined)),
  "the role has another install's mark": update("clusterroles", (v) => v.annotate("clusterroles", INSTALL, "other")),
  "the role would remember the login too long": update("clusterroles", (v) =>
    v.annotate("clusterroles", "understudy.io/login-ends", "2099-01-01T00:00:00.000Z"),
  ),
  "the role has another owner": update("clusterroles", (v) => v.addOwner("clusterroles")),
  "the role is gone, and all with it": {
    ...rotates((v) => v.remove("clusterroles", ["clusterrolebindings", "serviceaccounts", "secrets"]).catch(anew(v)), all),
    also: true,
  },
  "the role alone is gone": { ...rotates((v) => v.call("DELETE", v.path("clusterroles"), { propagationPolicy: "Orphan" }), all), also: true },
  "the role is another one, which allows every group": {
    ...rotates(
      (v) => replace(v, "clusterroles", { rules: [{ verbs: ["impersonate"], apiGroups: [""], resources: ["groups"] }] }),
      ["update clusterroles", ...all.slice(1)],
    ),
    also: true,
    tampers: true,
  },
};
/** The next ones may be there before it was seen that the first have gone. */
const anew = (vandal: Vandal) => () => waitUntil("a new role", async () => (await vandal.get("clusterroles")).metadata.uid, DEADLINE);

const accounts: Readonly<Record<string, Damage>> = {
  "the account lost its label": update("serviceaccounts", (v) => v.label("serviceaccounts", LABEL, undefined)),
  "the account lost the mark of its user": update("serviceaccounts", (v) => v.annotate("serviceaccounts", USER, undefined)),
  "the account's token would be mounted": update("serviceaccounts", (v) => v.edit("serviceaccounts", (object) => (object.automountServiceAccountToken = true))),
  "the account has a second owner": update("serviceaccounts", (v) => v.addOwner("serviceaccounts")),
  "the account names no Secret": rotates((v) => v.annotate("serviceaccounts", REF, undefined), [...rotation, "delete secrets"]),
  "the account names a foreign Secret": rotates((v) => v.annotate("serviceaccounts", REF, `${NAMESPACE}/stranger`), [...rotation, "delete secrets"]),
  "the account names another Secret": rotates(
    (v) => v.annotate("serviceaccounts", REF, `${NAMESPACE}/${v.name}-token-0000000000`),
    [...rotation, "delete secrets"],
  ),
  "the account has no owner": rotates((v) => v.disown("serviceaccounts"), childrenAnew),
  "the account has a wrong owner": rotates((v) => v.giveAway("serviceaccounts"), childrenAnew),
  "the account is gone": { ...rotates((v) => v.call("DELETE", v.path("serviceaccounts")), ["create serviceaccounts", "create secrets"]), also: true },
};

const secrets: Readonly<Record<string, Damage>> = {
  "the Secret is gone": rotates((v) => v.call("DELETE", v.path("secrets")), rotation),
  "the Secret lost its label": update("secrets", (v) => v.label("secrets", LABEL, undefined)),
  "the Secret lost the label of its account": update("secrets", (v) => v.label("secrets", "cattle.io/service-account.name", undefined)),
  "the Secret lost the mark of its user": update("secrets", (v) => v.annotate("secrets", USER, undefined)),
  "the Secret has a second owner": update("secrets", (v) => v.addOwner("secrets")),
  "the Secret has no owner": rotates((v) => v.disown("secrets"), ["delete secrets", ...rotation]),
  "the Secret has a wrong owner": rotates((v) => v.giveAway("secrets"), ["delete secrets", ...rotation]),
  "a foreign token Secret of the account without a label": {
    hurt: (v) =>
      v.create("secrets", {
        type: "kubernetes.io/service-account-token",
        metadata: { name: `${v.name}-token-00000000ff`, annotations: { "kubernetes.io/service-account.name": v.name } },
      }),
    writes: ["delete secrets"],
    tampers: true,
  },
};

const bindings: Readonly<Record<string, Damage>> = {
  "the binding has no subject": update("clusterrolebindings", (v) => v.edit("clusterrolebindings", (object) => (object.subjects = []))),
  "the binding has another subject": wider("clusterrolebindings", (v) => v.edit("clusterrolebindings", ({ subjects }) => (subjects[0].name = "default"))),
  "the binding has the account of another namespace": wider("clusterrolebindings", (v) =>
    v.edit("clusterrolebindings", ({ subjects }) => (subjects[0].namespace = "default")),
  ),
  "the binding has everybody besides": wider("clusterrolebindings", (v) =>
    v.edit("clusterrolebindings", ({ subjects }) => subjects.push(group("system:authenticated"))),
  ),
  "the binding lost its label": update("clusterrolebindings", (v) => v.label("clusterrolebindings", LABEL, undefined)),
  "the binding lost the mark of its user": update("clusterrolebindings", (v) => v.annotate("clusterrolebindings", USER, undefined)),
  "the binding has a second owner": update("clusterrolebindings", (v) => v.addOwner("clusterrolebindings")),
  "the binding has no owner": {
    hurt: (v) => v.disown("clusterrolebindings"),
    writes: ["delete clusterrolebindings", "create clusterrolebindings"],
  },
  "the binding has a wrong owner": {
    hurt: (v) => v.giveAway("clusterrolebindings"),
    writes: ["delete clusterrolebindings", "create clusterrolebindings"],
  },
  "the binding is gone": { hurt: (v) => v.call("DELETE", v.path("clusterrolebindings")), writes: ["create clusterrolebindings"] },
  "the binding leads to another role": {
    hurt: (v) => replace(v, "clusterrolebindings", { roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "view" } }),
    writes: ["delete clusterrolebindings", "create clusterrolebindings"],
    tampers: true,
  },
};

export const damages: Readonly<Record<string, Damage>> = { ...roles, ...accounts, ...secrets, ...bindings };

/** Whether these writes are the ones that put it right, in their order. */
export function isRepair({ writes, also, again }: Damage, done: readonly string[]): boolean {
  const without = (list: readonly string[]): string[] => (also ? list.filter((write) => !write.startsWith("delete ")) : [...list]);
  const right = again ? [writes, [...writes, ...writes]] : [writes];
  return right.some((list) => without(done).join() === without(list).join());
}

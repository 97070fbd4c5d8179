// The four objects: Rancher's names and shapes, our marks, and which differences from them count.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { V1ClusterRole, V1ClusterRoleBinding, V1ObjectMeta, V1Secret, V1ServiceAccount } from "@kubernetes/client-node";
import fc from "fast-check";
import type { Wanted } from "../../../shared/decide/objects.ts";
import {
  accountDiffers,
  accountFor,
  bindingDiffers,
  bindingFor,
  loginEndsDiffer,
  loginEndsOf,
  roleDiffers,
  roleFor,
  roleRefIsOwn,
  secretDiffers,
  secretFor,
  secretRefOf,
} from "../../../shared/decide/objects.ts";
import { DAY_MS, NOW, aLogin, anIdentity, anyWanted, wanted } from "../../support/builders.ts";

const NAME = "cattle-impersonation-u-alice";
const LABELS = { "authz.cluster.cattle.io/impersonator": "true" };
const MARKS = { "understudy.io/user": "u-alice", "understudy.io/install": "understudy" };
const alice = wanted({ identity: anIdentity({ groups: ["github_org://1"] }) });
const roleMeta: V1ObjectMeta = { name: NAME, uid: "role-uid" };
const accountMeta: V1ObjectMeta = { name: NAME, uid: "account-uid" };
const ownedByRole = [{ apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", name: NAME, uid: "role-uid" }];

/** As a cluster shows it: through JSON, with a uid and a version. */
const seen = <T extends { metadata?: V1ObjectMeta }>(object: T): T => {
  const shown = JSON.parse(JSON.stringify(object)) as T;
  shown.metadata = { ...shown.metadata, uid: "seen-uid", resourceVersion: "7" };
  return shown;
};

test("the role is Rancher's, with our marks, so that both can be read alike and told apart", () => {
  assert.deepEqual(JSON.parse(JSON.stringify(roleFor(alice))), {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: { name: NAME, labels: LABELS, annotations: MARKS },
    rules: [
      { verbs: ["impersonate"], apiGroups: [""], resources: ["users"], resourceNames: ["u-alice"] },
      {
        verbs: ["impersonate"],
        apiGroups: [""],
        resources: ["groups"],
        resourceNames: ["github_org://1", "system:authenticated", "system:cattle:authenticated"],
      },
    ],
  });
});

test("the account belongs to the role, names its Secret and is never mounted", () => {
  assert.deepEqual(JSON.parse(JSON.stringify(accountFor(alice, roleMeta, `${NAME}-token-n1`))), {
    apiVersion: "v1",
    kind: "ServiceAccount",
    automountServiceAccountToken: false,
    metadata: {
      name: NAME,
      namespace: "cattle-impersonation-system",
      labels: LABELS,
      ownerReferences: ownedByRole,
      annotations: { ...MARKS, "rancher.io/service-account.secret-ref": `cattle-impersonation-system/${NAME}-token-n1` },
    },
  });
});

test("the Secret is created with the account's uid, because a lagging token controller deletes it else", () => {
  assert.deepEqual(JSON.parse(JSON.stringify(secretFor(alice, accountMeta, `${NAME}-token-n1`))), {
    apiVersion: "v1",
    kind: "Secret",
    type: "kubernetes.io/service-account-token",
    metadata: {
      name: `${NAME}-token-n1`,
      namespace: "cattle-impersonation-system",
      labels: { ...LABELS, "cattle.io/service-account.name": NAME },
      annotations: { ...MARKS, "kubernetes.io/service-account.name": NAME, "kubernetes.io/service-account.uid": "account-uid" },
      ownerReferences: [{ apiVersion: "v1", kind: "ServiceAccount", name: NAME, uid: "account-uid" }],
    },
  });
});

test("the binding gives the role to the account and to nobody else", () => {
  assert.deepEqual(JSON.parse(JSON.stringify(bindingFor(alice, roleMeta))), {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name: NAME, labels: LABELS, annotations: MARKS, ownerReferences: ownedByRole },
    subjects: [{ kind: "ServiceAccount", name: NAME, namespace: "cattle-impersonation-system" }],
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: NAME },
  });
});

test("the role remembers the end of the login, to the millisecond, because Redis may forget it", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 0, max: DAY_MS }), (days, ms) => {
      const login = aLogin({ end: NOW + days * DAY_MS + ms });
      assert.equal(loginEndsOf(seen(roleFor(wanted({ loginEnds: login })))), login.end);
    }),
  );
  assert.equal(loginEndsOf(roleFor(alice)), 0);
  assert.equal(loginEndsOf({ metadata: { annotations: { "understudy.io/login-ends": "soon" } } }), 0);
});

test("what was just written is what is wanted, for any identity, or every pass would write again", () => {
  fc.assert(
    fc.property(anyWanted, (any) => {
      const role = seen(roleFor(any));
      const account = seen(accountFor(any, role.metadata!, `${role.metadata!.name}-token-n1`));
      assert.equal(roleDiffers(role, any), undefined);
      assert.equal(roleDiffers(seen(roleFor(any, "run-1")), any), undefined, "sealed");
      assert.equal(accountDiffers(account, any), undefined);
      assert.equal(secretDiffers(seen(secretFor(any, account.metadata!, `${role.metadata!.name}-token-n1`)), any, account.metadata!), undefined);
      assert.equal(bindingDiffers(seen(bindingFor(any, role.metadata!)), any), undefined);
      assert.ok(roleRefIsOwn(seen(bindingFor(any, role.metadata!))));
      assert.equal(secretRefOf(account), any.tokenMode === "secret" ? `${role.metadata!.name}-token-n1` : undefined);
    }),
  );
});

// Differences -------------------------------------------------------------------------------------------------------------------------------------------------

interface Objects {
  role: V1ClusterRole;
  account: V1ServiceAccount;
  secret: V1Secret;
  binding: V1ClusterRoleBinding;
}
/** The whole impersonator as a cluster shows it. */
function impersonator(about: Wanted): Objects {
  const role = seen(roleFor(about));
  const account = seen(accountFor(about, role.metadata!, `${NAME}-token-n1`));
  return { role, account, secret: seen(secretFor(about, account.metadata!, `${NAME}-token-n1`)), binding: seen(bindingFor(about, role.metadata!)) };
}
const differences = ({ role, account, secret, binding }: Objects, about: Wanted): (string | undefined)[] => [
  roleDiffers(role, about),
  accountDiffers(account, about),
  secretDiffers(secret, about, account.metadata!),
  bindingDiffers(binding, about),
];
const anOwner = { apiVersion: "v1", kind: "ConfigMap", name: "x", uid: "x" };

const edits: readonly (readonly [why: string, edit: (objects: Objects) => void, reason: RegExp])[] = [
  ["a rule that was added", ({ role }) => void role.rules!.push({ verbs: ["get"], apiGroups: [""], resources: ["pods"] }), /rules/],
  ["a name that was added", ({ role }) => void role.rules![1]!.resourceNames!.push("system:masters"), /rules/],
  ["names that were dropped", ({ role }) => void delete role.rules![1]!.resourceNames, /rules/],
  ["a rule that is gone", ({ role }) => void role.rules!.pop(), /rules/],
  ["rules that are gone", ({ role }) => void delete role.rules, /rules/],
  ["an aggregationRule", ({ role }) => void (role.aggregationRule = {}), /aggregationRule/],
  [
    "a label that gives the role's rules to admins",
    ({ role }) => void (role.metadata!.labels!["rbac.authorization.k8s.io/aggregate-to-view"] = "true"),
    /aggregation label/,
  ],
  [
    "a remembered login that is none",
    ({ role }) => void (role.metadata!.annotations!["understudy.io/login-ends"] = new Date(NOW).toISOString()),
    /login grant/,
  ],
  ["another user's mark", ({ role }) => void (role.metadata!.annotations!["understudy.io/user"] = "u-bob"), /understudy\.io\/user/],
  ["another installation's mark", ({ account }) => void (account.metadata!.annotations!["understudy.io/install"] = "other"), /understudy\.io\/install/],
  ["a lost label", ({ binding }) => void delete binding.metadata!.labels, /impersonator/],
  ["a second owner, which would keep it alive", ({ binding }) => void binding.metadata!.ownerReferences!.push(anOwner), /second owner/],
  ["an owner of the role, with which it would go", ({ role }) => void (role.metadata!.ownerReferences = [anOwner]), /second owner/],
  ["a token that would be mounted", ({ account }) => void delete account.automountServiceAccountToken, /mounted/],
  ["no Secret named", ({ account }) => void delete account.metadata!.annotations!["rancher.io/service-account.secret-ref"], /names no token Secret/],
  [
    "a Secret of another namespace named",
    ({ account }) => void (account.metadata!.annotations!["rancher.io/service-account.secret-ref"] = `kube-system/${NAME}-token-n1`),
    /names no token Secret/,
  ],
  [
    "another account's Secret named",
    ({ account }) =>
      void (account.metadata!.annotations!["rancher.io/service-account.secret-ref"] = "cattle-impersonation-system/cattle-impersonation-u-bob-token-n1"),
    /names no token Secret/,
  ],
  [
    "a Secret named with a tail, which Rancher's cleaner does not read",
    ({ account }) => void (account.metadata!.annotations!["rancher.io/service-account.secret-ref"] += "/x"),
    /names no token Secret/,
  ],
  [
    "a Secret of another account's uid",
    ({ secret }) => void (secret.metadata!.annotations!["kubernetes.io/service-account.uid"] = "old"),
    /service-account\.uid/,
  ],
  [
    "a Secret that cannot be found by its account",
    ({ secret }) => void delete secret.metadata!.labels!["cattle.io/service-account.name"],
    /service-account\.name/,
  ],
  ["a second subject", ({ binding }) => void binding.subjects!.push({ kind: "User", name: "u-eve", apiGroup: "rbac.authorization.k8s.io" }), /subjects/],
  ["no subject", ({ binding }) => void delete binding.subjects, /subjects/],
  ["another account as subject", ({ binding }) => void (binding.subjects![0]!.name = "default"), /subjects/],
  ["an account of another namespace as subject", ({ binding }) => void (binding.subjects![0]!.namespace = "default"), /subjects/],
  ["a user of the account's name as subject", ({ binding }) => void (binding.subjects![0]!.kind = "User"), /subjects/],
];
for (const [why, edit, reason] of edits) {
  test(`${why} is a difference, and says which`, () => {
    const objects = impersonator(alice);
    edit(objects);
    const found = differences(objects, alice).filter((difference) => difference !== undefined);
    assert.equal(found.length, 1, "one object differs");
    assert.match(found[0]!, reason);
  });
}

test("labels, annotations and pull secrets of others are no difference, because they are theirs", () => {
  const objects = impersonator(alice);
  for (const { metadata } of Object.values<{ metadata?: V1ObjectMeta }>({ ...objects })) {
    metadata!.labels!["team"] = "blue";
    metadata!.annotations!["kubectl.kubernetes.io/last-applied-configuration"] = "{}";
  }
  objects.account.imagePullSecrets = [{ name: "registry" }];
  objects.role.rules!.reverse();
  objects.role.metadata!.annotations!["understudy.io/sealed-by"] = "run-0";
  assert.deepEqual(differences(objects, alice), [undefined, undefined, undefined, undefined]);
});

test("a roleRef is our own only where kind, group and name are", () => {
  const { binding } = impersonator(alice);
  assert.ok(roleRefIsOwn(binding));
  for (const other of [{ kind: "Role" }, { name: "cluster-admin" }, { apiGroup: "" }])
    assert.equal(roleRefIsOwn({ ...binding, roleRef: { ...binding.roleRef, ...other } }), false);
});

const login = { at: NOW, end: NOW + 30 * DAY_MS };
const lags: readonly (readonly [why: string, seenEnd: number, differs: boolean])[] = [
  ["the same end is no difference", login.end, false],
  ["an end that lags by a tenth of the grant is no difference, so that a renewing login costs no write", login.end - 3 * DAY_MS, false],
  ["an end that lags by more is one", login.end - 3 * DAY_MS - 1, true],
  ["a later end is one, however little, because a role never remembers more than was granted", login.end + 1, true],
  ["no end is one", 0, true],
];
for (const [why, seenEnd, differs] of lags) test(why, () => assert.equal(loginEndsDiffer(seenEnd, login), differs));

test("an end where there is no login is a difference", () => {
  assert.equal(loginEndsDiffer(login.end, undefined), true);
  assert.equal(loginEndsDiffer(0, undefined), false);
});

test("the very end that is wanted never differs, even of a login that a sign-out dated later than it ended, or the role would be written for ever", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e13 }), fc.integer({ min: 1, max: 1e13 }), (at, end) => assert.equal(loginEndsDiffer(end, { at, end }), false)),
  );
});

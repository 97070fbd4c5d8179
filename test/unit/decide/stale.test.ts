// Which token Secrets are stale: only what an account does not name that names another one, and only while that is so.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubernetesObject, V1ServiceAccount } from "@kubernetes/client-node";
import { findStale, isStillStale } from "../../../shared/decide/stale.ts";
import { INSTALL_ANNOTATION, NAMESPACE, SECRET_REF_ANNOTATION, USER_ANNOTATION, nameOf } from "../../../shared/names.ts";

const NAME = nameOf("u-ada");
const OURS = { [USER_ANNOTATION]: "u-ada", [INSTALL_ANNOTATION]: "understudy" };
const account = (ref: string | undefined, annotations: Readonly<Record<string, string>> = {}, uid = "account"): V1ServiceAccount => ({
  metadata: {
    name: NAME,
    namespace: NAMESPACE,
    uid,
    labels: { "authz.cluster.cattle.io/impersonator": "true" },
    annotations: { ...annotations, ...(ref === undefined ? {} : { [SECRET_REF_ANNOTATION]: `${NAMESPACE}/${ref}` }) },
  },
});
const secret = (name: string, of = NAME): KubernetesObject => ({
  metadata: { name, uid: `uid of ${name}`, annotations: { "kubernetes.io/service-account.name": of } },
});
const both = [secret(`${NAME}-token-a`), secret(`${NAME}-token-b`)];
const namesIn = (accounts: V1ServiceAccount[], secrets = both): string[] => findStale(accounts, secrets, "understudy").stale.map(({ name }) => name);

test("what an account of ours or of Rancher's does not name is stale, because one token is all that anybody uses", () => {
  assert.deepEqual(namesIn([account(`${NAME}-token-a`)]), [`${NAME}-token-b`]);
  assert.deepEqual(namesIn([account(`${NAME}-token-a`, OURS)]), [`${NAME}-token-b`]);
});

test("nothing is stale of an account that names none, one that is missing, or another's, because a guess might end the token in use", () => {
  for (const one of [
    account(undefined),
    account(`${NAME}-token-gone`),
    account("other/name"),
    account(`${NAME}-token-a`, { ...OURS, [INSTALL_ANNOTATION]: "another" }),
    account(`${NAME}-token-a`, { ...OURS, [USER_ANNOTATION]: "u-ben" }),
    { metadata: { ...account(`${NAME}-token-a`).metadata!, labels: {} } },
  ]) {
    const { stale, left } = findStale([one], both, "understudy");
    assert.deepEqual([stale, left.map((row) => row.account)], [[], [NAME]], JSON.stringify(one.metadata));
  }
  assert.deepEqual(namesIn([]), []);
});

test("Secrets of accounts that are no impersonators, and such as Rancher would not have called so, are nobody's here", () => {
  const others = [secret("x-token-a", "x"), secret("x-token-b", "x"), secret(`${NAME}-token-a`), secret("by-hand")];
  assert.deepEqual(findStale([account(`${NAME}-token-a`)], others, "understudy"), { stale: [], left: [] });
});

test("a stale Secret stays so only while the same account names another, because a list is older than the delete", () => {
  const [stale] = findStale([account(`${NAME}-token-a`)], both, "understudy").stale;
  assert.equal(isStillStale(stale!, account(`${NAME}-token-c`)), true);
  assert.equal(isStillStale(stale!, account(`${NAME}-token-b`)), false);
  assert.equal(isStillStale(stale!, account(undefined)), false);
  assert.equal(isStillStale(stale!, account(`${NAME}-token-a`, {}, "another account")), false);
  assert.equal(isStillStale(stale!, undefined), false);
});

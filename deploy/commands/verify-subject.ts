// One subject as `verify` asks for it: a real cluster, with the impersonator's own token: who it becomes, and that a stranger, a foreign group and a foreign extra are refused.
import type { V1PolicyRule, V1ServiceAccount } from "@kubernetes/client-node";
import { randomBytes } from "node:crypto";
import { wantedThen } from "../../shared/decide/memory.ts";
import { bindingDiffers, roleRefIsOwn, secretRefOf } from "../../shared/decide/objects.ts";
import { headersFor, rulesFor } from "../../shared/decide/rules.ts";
import type { Name, Profile } from "../../shared/decide/rules.ts";
import type { ClusterClient } from "../../shared/kube/client.ts";
import { requestToken, tokenIn } from "../../shared/kube/token.ts";
import type { Applied } from "../../shared/ledger/record.ts";
import type { Identity, Subject } from "../../shared/subject.ts";
import { canonical } from "../../shared/subject.ts";
import { getSecret, observe } from "../../workers/cluster.ts";
import { review } from "../../workers/ready.ts";

interface Check {
  readonly check: string;
  readonly expected: string;
  readonly got: string;
  readonly ok: boolean;
}
/** One person on one cluster: what was asked, and what came back. */
export interface Verified extends Subject {
  readonly ok: boolean;
  readonly checks: readonly Check[];
}

/** `applied`: what the ledger last settled; undefined = nobody may be impersonated. */
export async function verifySubject(client: ClusterClient, user: string, applied: Applied | undefined, install: string): Promise<Verified> {
  const identity = applied?.identity;
  const signal = AbortSignal.timeout(30_000);
  const { role, account, binding } = await observe(client, user, [], signal);
  const checks: Check[] = [];
  const add = (check: string, expected: string, got: string): void => void checks.push({ check, expected, got, ok: expected === got });
  const token = account && (await tokenOf(client, user, account, applied, signal));
  add("impersonator", identity ? "present" : "absent", role && token ? "present" : role ? "incomplete" : "absent");
  if (identity && token) await askAs(client, token, identity, add, signal);
  const bound = binding && applied && (roleRefIsOwn(binding) ? bindingDiffers(binding, wantedThen(applied, install)) : "it binds another role");
  if (applied) add("binding", "its role to its account", binding ? (bound ?? "its role to its account") : "absent");
  if (applied) add("role allows", allowed(rulesFor(applied.identity, applied.profile as Profile)), allowed(role?.rules));
  return { cluster: client.cluster, user, ok: checks.every(({ ok }) => ok), checks };
}

async function tokenOf(
  client: ClusterClient,
  user: string,
  account: V1ServiceAccount,
  applied: Applied | undefined,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (applied && !applied.secret) return (await requestToken(client, user, signal)).token;
  const name = secretRefOf(account);
  return name === undefined ? undefined : tokenIn(await getSecret(client, name, signal));
}

/** The questions themselves: as exactly the identity, then as everything that it must not be. */
async function askAs(
  client: ClusterClient,
  token: string,
  identity: Identity,
  add: (check: string, expected: string, got: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const names = identityNames(identity);
  const whole = await review(client, token, headersFor(identity.user, names), signal);
  add("becomes", identity.user, whole.username || String(whole.status));
  add("groups", describe(identity.groups), describe(canonical(whole.groups)));
  add(
    "extras",
    JSON.stringify([identity.principalid, identity.username]),
    JSON.stringify([canonical(whole.extra["principalid"] ?? []), canonical(whole.extra["username"] ?? [])]),
  );
  const stranger = `stranger-${randomBytes(6).toString("hex")}`;
  const refused = async (check: string, headers: readonly (readonly [string, string])[]): Promise<void> =>
    add(check, "403", String((await review(client, token, headers, signal)).status));
  await refused("as a stranger", [["Impersonate-User", stranger]]);
  await refused("with a foreign group", [
    ["Impersonate-User", identity.user],
    ["Impersonate-Group", stranger],
  ]);
  await refused("with a foreign extra", [
    ["Impersonate-User", identity.user],
    ["Impersonate-Extra-principalid", stranger],
  ]);
  await refused("with an extra that is not granted", [
    ["Impersonate-User", identity.user],
    [`Impersonate-Extra-${stranger}`, "x"],
  ]);
  await refused("with a uid", [
    ["Impersonate-User", identity.user],
    ["Impersonate-Uid", stranger],
  ]);
}

const identityNames = ({ groups, principalid, username }: Identity): Name[] => [
  ...groups.map((name) => ({ resource: "groups", name })),
  ...principalid.map((name) => ({ resource: "userextras/principalid", name })),
  ...username.map((name) => ({ resource: "userextras/username", name })),
];
const describe = (names: readonly (string | Name)[]): string =>
  canonical(names.map((name) => (typeof name === "string" ? name : `${name.resource} ${name.name}`))).join(", ");

/** All that a role allows, impersonation or not, in words. */
const allowed = (rules: readonly object[] = []): string =>
  describe(
    (rules as readonly V1PolicyRule[]).flatMap(({ verbs, resources = [], nonResourceURLs = [], resourceNames = [] }) => {
      const verb = verbs.join() === "impersonate" ? "" : `${verbs.join()} `;
      return [...resources, ...nonResourceURLs].flatMap((what) =>
        (resourceNames.length > 0 ? resourceNames : ["(any)"]).map((name) => `${verb}${what} ${name}`),
      );
    }),
  );

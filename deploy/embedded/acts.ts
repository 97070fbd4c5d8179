// The acts of `make demo`, on clusters that answer for themselves: what is printed as a result was read from a record or is what a server said.
import type { V1ClusterRole, V1Secret, V1SelfSubjectReview, V1ServiceAccount, V1Status } from "@kubernetes/client-node";
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { Webhook } from "standardwebhooks";
import { secretRefOf } from "../../shared/decide/objects.ts";
import type { Name } from "../../shared/decide/rules.ts";
import { namesIn } from "../../shared/decide/rules.ts";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import { NAMESPACE, nameOf } from "../../shared/names.ts";
import { headersFor, tokenIn } from "../../workers/ready.ts";
import { TEAM } from "./sample.ts";
import { sentence, whenSettled } from "./settled.ts";

const SETTLE_MS_MAX = 60_000;
const GONE_MS_MAX = 15_000;
/** Between acts, so that a person can follow, and the records' own lines stand where they belong. */
const BREATH_MS = 700;
const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const REVIEW = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" };

export type Ask = (
  method: string,
  path: string,
  body?: unknown,
  headers?: Readonly<Record<string, string | string[]>>,
) => Promise<{ readonly status: number; readonly body: unknown }>;
export interface Stage {
  /** As administrators. */
  readonly management: Ask;
  readonly amber: Ask;
  readonly clusters: readonly string[];
  readonly ledger: Ledger;
  readonly hook: string;
  readonly secret: string;
  /** On the clock of `performance`. */
  readonly began: number;
  say(line: string): void;
}

/** Prints an answer, and counts whether it is the one that was promised. */
export class Tally {
  asked = 0;
  kept = 0;
  readonly #say: (line: string) => void;
  constructor(say: (line: string) => void) {
    this.#say = say;
  }
  expect(promised: boolean, line: string): void {
    this.asked += 1;
    if (promised) this.kept += 1;
    this.#say(`  ${promised ? "✓" : "✗"} ${line}`);
  }
}

/** The whole story, in order. */
export async function play(stage: Stage, tally: Tally): Promise<void> {
  const acts = { setUp, loginAddsGroups, memberAtLogin, adminAtLogin, removal, proof };
  const titles: Record<keyof typeof acts, string> = {
    setUp: "Whoever has a binding of their own gets an impersonator on that cluster, and nobody else",
    loginAddsGroups: "u-bob logs in with GitHub: the proxy tells the hook his groups, and his role follows",
    memberAtLogin: `u-fay is a member of ${TEAM}, which has a binding on c-amber: she gets an impersonator at login, and not before`,
    adminAtLogin: "u-gus holds the global role admin: he gets one at login, on every cluster",
    removal: "u-dan's only binding is deleted",
    proof: "u-ada's own token: what may it do?",
  };
  for (const [name, act] of Object.entries(acts) as [keyof typeof acts, (typeof acts)[keyof typeof acts]][]) {
    stage.say(`\n${titles[name]}`);
    await act(stage, tally);
    await pause(BREATH_MS);
  }
}

async function setUp({ ledger, clusters, began }: Stage, tally: Tally): Promise<void> {
  const { summary } = await whenSettled(ledger, clusters, { began, waitMs: SETTLE_MS_MAX });
  await pause(BREATH_MS);
  tally.expect(summary.ready === summary.subjects, sentence(summary));
}

async function loginAddsGroups(stage: Stage, tally: Tally): Promise<void> {
  const sent = { groups: ["github_org://1815"], extras: { principalid: ["github_user://1938"], username: ["bob"] } };
  stage.say(`  role on c-amber before: ${await roleText(stage.amber, "u-bob")}`);
  const answer = await login(stage, { user: "u-bob", provider: "github", ...sent });
  tally.expect(answer.status === 200, `POST /v1/logins, signed: ${answer.status} ${answer.text}`);
  const names = await roleNames(stage.amber, "u-bob");
  const has = (resource: string, name: string): boolean => names.some((other) => other.resource === resource && other.name === name);
  const all = has("groups", sent.groups[0]!) && has("userextras/principalid", "github_user://1938") && has("userextras/username", "bob");
  tally.expect(all, `role on c-amber after:  ${text(names)}`);
}

async function memberAtLogin(stage: Stage, tally: Tally): Promise<void> {
  const role = async (): Promise<number> => (await stage.amber("GET", rolePath("u-fay"))).status;
  const before = await role();
  tally.expect(before === 404, `GET her role on c-amber: ${before}`);
  const without = await login(stage, { user: "u-fay", provider: "github", groups: [] });
  tally.expect(without.status === 403, `a login that does not name the group: ${without.status} ${without.text}`);
  const answer = await login(stage, { user: "u-fay", provider: "github", groups: [TEAM], extras: { principalid: ["github_user://1933"], username: ["fay"] } });
  tally.expect(answer.status === 200, `a login that does: ${answer.status} ${answer.text}`);
  const after = await role();
  tally.expect(after === 200, `GET her role on c-amber: ${after}`);
}

async function adminAtLogin(stage: Stage, tally: Tally): Promise<void> {
  const answer = await login(stage, { user: "u-gus", provider: "github", groups: [], extras: { username: ["gus"] } });
  tally.expect(answer.status === 200, `POST /v1/logins, signed: ${answer.status} ${answer.text}`);
}

async function removal(stage: Stage, tally: Tally): Promise<void> {
  const token = await tokenOf(stage.amber, "u-dan");
  const names = await roleNames(stage.amber, "u-dan");
  const before = await review(stage.amber, token, "u-dan", names);
  tally.expect(before.status === 201, `his token before: ${before.said}`);
  const deleted = await stage.management("DELETE", "/apis/management.cattle.io/v3/namespaces/c-amber-p-shop/projectroletemplatebindings/prtb-dan");
  const began = performance.now();
  const ms = (): number => Math.round(performance.now() - began);
  tally.expect(deleted.status === 200, `DELETE his ProjectRoleTemplateBinding on the management cluster: ${deleted.status}`);
  const role = await until(
    async () => (await stage.amber("GET", rolePath("u-dan"))).status,
    (status) => status === 404,
  );
  tally.expect(role === 404, `GET his role on c-amber after ${ms()} ms: ${role}`);
  const after = await until(
    () => review(stage.amber, token, "u-dan", names),
    ({ status }) => status !== 201,
  );
  tally.expect(after.status === 401 || after.status === 403, `his token after ${ms()} ms: ${after.said}`);
}

async function proof({ amber }: Stage, tally: Tally): Promise<void> {
  const token = await tokenOf(amber, "u-ada");
  const herself = await review(amber, token, "u-ada", await roleNames(amber, "u-ada"));
  tally.expect(herself.status === 201 && herself.username === "u-ada", `as herself: ${herself.said}`);
  const other = await review(amber, token, "u-bob", []);
  tally.expect(other.status === 403, `as u-bob: ${other.said}`);
  const master = await review(amber, token, "u-ada", [{ resource: "groups", name: "system:masters" }]);
  tally.expect(master.status === 403, `as herself with the group system:masters: ${master.said}`);
}

/** As an auth proxy calls the hook: a Standard Webhooks signature, and up to five seconds of patience. */
async function login({ hook, secret }: Stage, said: object): Promise<{ status: number; text: string }> {
  const id = `msg_${randomUUID()}`;
  const at = new Date();
  const body = JSON.stringify(said);
  const headers = {
    "content-type": "application/json",
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
    "webhook-signature": new Webhook(secret).sign(id, at, body),
  };
  const answer = await fetch(`${hook}/v1/logins?wait=5`, { method: "POST", headers, body, signal: AbortSignal.timeout(20_000) });
  return { status: answer.status, text: await answer.text() };
}

const rolePath = (user: string): string => `${RBAC}/clusterroles/${nameOf(user)}`;

async function roleNames(cluster: Ask, user: string): Promise<Name[]> {
  const { body } = await cluster("GET", rolePath(user));
  return namesIn((body as V1ClusterRole).rules).filter(({ resource }) => resource !== "users");
}
const roleText = async (cluster: Ask, user: string): Promise<string> => text(await roleNames(cluster, user));
const text = (names: readonly Name[]): string =>
  [...Map.groupBy(names, ({ resource }) => resource.replace("userextras/", ""))]
    .map(([what, of]) => `${what} ${of.map(({ name }) => name).join(" ")}`)
    .join(" · ");

/** As an administrator reads it; a proxy would keep it. */
async function tokenOf(cluster: Ask, user: string): Promise<string> {
  const account = (await cluster("GET", `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/${nameOf(user)}`)).body as V1ServiceAccount;
  const secret = (await cluster("GET", `/api/v1/namespaces/${NAMESPACE}/secrets/${secretRefOf(account) ?? ""}`)).body as V1Secret;
  const token = tokenIn(secret);
  if (token === undefined) throw new Error(`the Secret of ${user} has no token`);
  return token;
}

/** Asks the API server who this token with these headers is. */
async function review(cluster: Ask, token: string, user: string, names: readonly Name[]): Promise<{ status: number; username: string; said: string }> {
  const headers: Record<string, string[]> = { authorization: [`Bearer ${token}`] };
  for (const [name, value] of headersFor(user, names)) (headers[name.toLowerCase()] ??= []).push(value);
  const { status, body } = await cluster("POST", REVIEWS, REVIEW, headers);
  if (status !== 201) return { status, username: "", said: `${status} ${(body as V1Status).message ?? ""}` };
  const { username = "", groups = [], extra = {} } = (body as V1SelfSubjectReview).status?.userInfo ?? {};
  return { status, username, said: `${status} and becomes ${username}, groups ${groups.join(" ")}, ${JSON.stringify(extra)}` };
}

/** The first answer that will do, or the last when the time is over. */
async function until<T>(ask: () => Promise<T>, will: (answer: T) => boolean): Promise<T> {
  for (const deadline = performance.now() + GONE_MS_MAX; ; await pause(5)) {
    const answer = await ask();
    if (will(answer) || performance.now() > deadline) return answer;
  }
}

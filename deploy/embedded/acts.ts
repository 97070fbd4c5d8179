// The acts of `make demo`, on clusters that answer for themselves: what is printed as a result was read from a record or is what a server said.
import { setTimeout as pause } from "node:timers/promises";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import type { Ask } from "./answers.ts";
import { login, review, roleNames, rolePath, text, tokenOf, until } from "./answers.ts";
import { TEAM } from "./sample.ts";
import { sentence, whenSettled } from "./settled.ts";

const SETTLE_MS_MAX = 60_000;
/** Between acts, so that a person can follow, and the records' own lines stand where they belong. */
const BREATH_MS = 700;

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

type Act = (stage: Stage, tally: Tally) => Promise<void>;
const STORY: readonly (readonly [string, Act])[] = [
  ["Whoever has a binding of their own gets an impersonator on that cluster, and nobody else", setUp],
  ["u-bob logs in with GitHub: the proxy tells the hook his groups, and his role follows", loginAddsGroups],
  [`u-fay is a member of ${TEAM}, which has a binding on c-amber: she gets an impersonator at login, and not before`, memberAtLogin],
  ["u-gus holds the global role admin: he gets one at login, on every cluster", adminAtLogin],
  ["u-dan's only binding is deleted", removal],
  ["u-ada's own token: what may it do?", proof],
];

/** The whole story, in order. */
export async function play(stage: Stage, tally: Tally): Promise<void> {
  for (const [title, act] of STORY) {
    stage.say(`\n${title}`);
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
  stage.say(`  role on c-amber before: ${text(await roleNames(stage.amber, "u-bob"))}`);
  const answer = await loginUntilSettled(stage, { user: "u-bob", provider: "github", ...sent });
  tally.expect(answer.status === 200, `POST /v1/logins, signed: ${answer.status} ${answer.text}`);
  const names = await roleNames(stage.amber, "u-bob");
  const has = (resource: string, name: string): boolean => names.some((other) => other.resource === resource && other.name === name);
  const all = has("groups", sent.groups[0]!) && has("userextras/principalid", "github_user://1938") && has("userextras/username", "bob");
  tally.expect(all, `role on c-amber after:  ${text(names)}`);
}

/** A group binding makes nobody an impersonator ahead of time: thousands of members would cost every other request. */
async function memberAtLogin(stage: Stage, tally: Tally): Promise<void> {
  const role = async (): Promise<number> => (await stage.amber("GET", rolePath("u-fay"))).status;
  const before = await role();
  tally.expect(before === 404, `GET her role on c-amber: ${before}`);
  const without = await login(stage, { user: "u-fay", provider: "github", groups: [] });
  tally.expect(without.status === 403, `a login that does not name the group: ${without.status} ${without.text}`);
  const answer = await loginUntilSettled(stage, {
    user: "u-fay",
    provider: "github",
    groups: [TEAM],
    extras: { principalid: ["github_user://1933"], username: ["fay"] },
  });
  tally.expect(answer.status === 200, `a login that does: ${answer.status} ${answer.text}`);
  const after = await role();
  tally.expect(after === 200, `GET her role on c-amber: ${after}`);
}

async function adminAtLogin(stage: Stage, tally: Tally): Promise<void> {
  const answer = await loginUntilSettled(stage, { user: "u-gus", provider: "github", groups: [], extras: { username: ["gus"] } });
  tally.expect(answer.status === 200, `POST /v1/logins, signed: ${answer.status} ${answer.text}`);
}

/** A 202 says that it is under way: a proxy asks again. */
const loginUntilSettled = (stage: Stage, said: object): ReturnType<typeof login> =>
  until(
    () => login(stage, said),
    ({ status }) => status !== 202,
  );

/** The role goes first, for a token lives on for seconds in the API server's cache. */
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

/** Whoever steals this token is Ada, and nobody else. */
async function proof({ amber }: Stage, tally: Tally): Promise<void> {
  const token = await tokenOf(amber, "u-ada");
  const herself = await review(amber, token, "u-ada", await roleNames(amber, "u-ada"));
  tally.expect(herself.status === 201 && herself.username === "u-ada", `as herself: ${herself.said}`);
  const other = await review(amber, token, "u-bob", []);
  tally.expect(other.status === 403, `as u-bob: ${other.said}`);
  const master = await review(amber, token, "u-ada", [{ resource: "groups", name: "system:masters" }]);
  tally.expect(master.status === 403, `as herself with the group system:masters: ${master.said}`);
}

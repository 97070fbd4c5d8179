// The acts of a demo, on clusters that answer for themselves: what is printed as a result was read from a record or is what a server said.
import { setTimeout as pause } from "node:timers/promises";
import { hands, unplugging } from "./acts-trouble.ts";
import { login, review, roleNames, rolePath, shortly, text, tokenOf, until } from "./answers.ts";
import type { Cast } from "./cast.ts";
import { type Act, type Stage, type Tally, adminOf } from "./stage.ts";
import { objectPath } from "./sample.ts";
import { sentence, whenSettled } from "./settled.ts";

const SETTLE_MS_MAX = 60_000;
/** Between acts, so that the records' own lines stand where they belong. */
const BREATH_MS = 150;

function storyOf({ login: first, member, admin, leaves, drift, proof, other }: Cast): (Act | undefined)[] {
  const [unplugged, caughtUp] = unplugging();
  return [
    { title: "Whoever has a binding of their own gets an impersonator on that cluster, and nobody else", play: setUp },
    unplugged,
    first && {
      title: `${first.user} logs in with GitHub: the proxy tells the hook the groups, and the role follows`,
      play: (...on) => loginAdds(first, ...on),
    },
    member && {
      title: `${member.group} has a binding on ${member.cluster}: ${member.user}, a member, gets an impersonator at login and not before`,
      play: (...on) => memberAtLogin(member, ...on),
    },
    admin !== undefined
      ? { title: `${admin} holds a global role: an impersonator at login, on every cluster`, play: (...on) => adminAtLogin(admin, ...on) }
      : undefined,
    drift && hands(drift),
    leaves && { title: `${leaves.user}'s only binding on ${leaves.cluster} is deleted`, play: (...on) => removal(leaves, ...on) },
    caughtUp,
    proof && { title: `${proof.user}'s own token: what may it do?`, play: (...on) => proofOf(proof, other, ...on) },
  ];
}

/** The whole story, in order. */
export async function play(stage: Stage, tally: Tally): Promise<void> {
  for (const act of storyOf(stage.cast)) {
    if (!act) continue;
    stage.say(`\n${act.title}`);
    await act.play(stage, tally);
    await pause(BREATH_MS);
  }
}

async function setUp({ ledger, fleet, began }: Stage, tally: Tally): Promise<void> {
  const clusters = fleet.downstream.map(({ name }) => name);
  const { summary } = await whenSettled(ledger, clusters, { began, waitMs: SETTLE_MS_MAX });
  await pause(BREATH_MS);
  tally.expect(summary.ready === summary.subjects, sentence(summary));
}

async function loginAdds({ user, cluster }: { readonly user: string; readonly cluster: string }, stage: Stage, tally: Tally): Promise<void> {
  const sent = { groups: ["github_org://1815"], extras: { principalid: ["github_user://1938"], username: [user.replace(/^u-/, "")] } };
  const ask = adminOf(stage, cluster);
  stage.say(`  role on ${cluster} before: ${text(await roleNames(ask, user)) || "nothing but the user"}`);
  const answer = await loginUntilSettled(stage, { user, provider: "github", ...sent });
  tally.expect(answer.status === 200, `POST /v1/logins, signed: ${answer.status} ${shortly(answer.text)}`);
  const names = await roleNames(ask, user);
  const has = (resource: string, name: string): boolean => names.some((other) => other.resource === resource && other.name === name);
  const all = has("groups", sent.groups[0]!) && has("userextras/principalid", "github_user://1938") && has("userextras/username", sent.extras.username[0]!);
  tally.expect(all, `role on ${cluster} after:  ${text(names)}`);
}

/** A group binding makes nobody an impersonator ahead of time: thousands of members would cost every other request. */
async function memberAtLogin({ user, group, cluster }: NonNullable<Cast["member"]>, stage: Stage, tally: Tally): Promise<void> {
  const role = async (): Promise<number> => (await adminOf(stage, cluster)("GET", rolePath(user))).status;
  const before = await role();
  tally.expect(before === 404, `GET the role on ${cluster}: ${before}`);
  const without = await loginUntilSettled(stage, { user, provider: "github", groups: [] });
  tally.expect(without.status === 403, `a login that does not name the group: ${without.status} ${shortly(without.text)}`);
  const answer = await loginUntilSettled(stage, { user, provider: "github", groups: [group], extras: { username: [user.replace(/^u-/, "")] } });
  tally.expect(answer.status === 200, `a login that does: ${answer.status} ${shortly(answer.text)}`);
  const after = await role();
  tally.expect(after === 200, `GET the role on ${cluster}: ${after}`);
}

async function adminAtLogin(user: string, stage: Stage, tally: Tally): Promise<void> {
  const answer = await loginUntilSettled(stage, { user, provider: "github", extras: { username: [user.replace(/^u-/, "")] } });
  tally.expect(answer.status === 200, `POST /v1/logins, signed: ${answer.status} ${shortly(answer.text)}`);
}

/** A 202 says that it is under way, and a 503 that nothing is lost: a proxy asks again. */
const loginUntilSettled = (stage: Stage, said: object): ReturnType<typeof login> =>
  until(
    () => login(stage, said),
    ({ status }) => status !== 202 && status !== 503,
  );

/** The role goes first, for a token lives on for seconds in the API server's cache. */
async function removal({ user, cluster, binding }: NonNullable<Cast["leaves"]>, stage: Stage, tally: Tally): Promise<void> {
  const ask = adminOf(stage, cluster);
  const token = await tokenOf(ask, user);
  const names = await roleNames(ask, user);
  const before = await review(ask, token, user, names);
  tally.expect(before.status === 201, `the token before: ${before.said}`);
  const deleted = await stage.fleet.management.ask("DELETE", objectPath(binding));
  const began = performance.now();
  const ms = (): number => Math.round(performance.now() - began);
  tally.expect(deleted.status === 200, `DELETE the ${binding.kind} on the management cluster: ${deleted.status}`);
  const role = await until(
    async () => (await ask("GET", rolePath(user))).status,
    (status) => status === 404,
  );
  tally.expect(role === 404, `GET the role on ${cluster} after ${ms()} ms: ${role}`);
  const after = await until(
    () => review(ask, token, user, names),
    ({ status }) => status !== 201,
  );
  tally.expect(after.status === 401 || after.status === 403, `the token after ${ms()} ms: ${after.said}`);
}

/** Whoever steals this token is that person, and nobody else. */
async function proofOf({ user, cluster }: NonNullable<Cast["proof"]>, other: string, stage: Stage, tally: Tally): Promise<void> {
  const ask = adminOf(stage, cluster);
  const token = await tokenOf(ask, user);
  const own = await review(ask, token, user, await roleNames(ask, user));
  tally.expect(own.status === 201 && own.username === user, `as ${user}: ${own.said}`);
  const stranger = await review(ask, token, other, []);
  tally.expect(stranger.status === 403, `as ${other}: ${stranger.said}`);
  const master = await review(ask, token, user, [{ resource: "groups", name: "system:masters" }]);
  tally.expect(master.status === 403, `as ${user} with the group system:masters: ${master.said}`);
}

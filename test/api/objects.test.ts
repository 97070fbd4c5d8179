// The objects to the letter, for ids that are names and ids that are none, in both profiles, where logins are the only source.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import type { ApiServer } from "../apiserver/start.ts";
import { loggedIn, openQuiet } from "../support/evidence.ts";
import type { House } from "../support/house.ts";
import { NAMESPACE, actAs, assertActsAsExactly, assertGone, objectsOf, tokenOf } from "../support/impersonator.ts";
import { assertToTheLetter, named, open } from "../support/letter.ts";

const BUILT_IN = ["system:authenticated", "system:cattle:authenticated"];
const hash = (user: string): string => createHash("sha256").update(user).digest("hex").slice(0, 16);
/** Id → the part of the names that stands for it. */
const NAMES: readonly (readonly [user: string, slug: string])[] = [
  ["u-plain", "u-plain"],
  ["first.last", "first.last"],
  [`u-${"a".repeat(40)}`, `u-${"a".repeat(40)}`],
  [`u-${"b".repeat(41)}`, `u-${"b".repeat(23)}-${hash(`u-${"b".repeat(41)}`)}`],
  ["u-0123456789abcdef", `u-0123456789abcdef-${hash("u-0123456789abcdef")}`],
  ["U-Abc", `u-abc-${hash("U-Abc")}`],
  ["u-abc", "u-abc"],
  ["team:alice", `team-alice-${hash("team:alice")}`],
  ["Jürgen Groß@example.org", `j-rgen-gro-example-org-${hash("Jürgen Groß@example.org")}`],
  ["名前", `x-${hash("名前")}`],
  ["-dash", `dash-${hash("-dash")}`],
];

const PROFILES = ["strict", "rancher"] as const;
type Profile = (typeof PROFILES)[number];
const OPEN_RULES = { strict: [], rancher: [open("userextras/requesttokenid"), open("userextras/requesthost")] } as const;

const houses = {} as Record<Profile, House>;
before(async () => {
  for (const profile of PROFILES) {
    houses[profile] = await openQuiet({
      management: false,
      clusters: ["c-one"],
      workers: profile === "strict" ? 3 : 1,
      settings: { UNDERSTUDY_PROFILE: profile },
      kubeconfig: (server) => server.workerKubeconfig(server.url, { createsNamespace: true }),
    });
  }
});
after(() => Promise.all(Object.values(houses).map((house) => house[Symbol.asyncDispose]())));

/** One test for each profile: on a house of its own, with one cluster. */
function inBoth(name: string, act: (house: House, server: ApiServer, profile: Profile) => Promise<void>): void {
  for (const profile of PROFILES) test(`M1 (profile ${profile}) ${name}`, () => act(houses[profile], houses[profile].cluster("c-one"), profile));
}

inBoth("the first impersonator brings the namespace, which carries the label that Rancher's has", async (house, server) => {
  assert.equal((await server.call("GET", `/api/v1/namespaces/${NAMESPACE}`)).status, 404);
  await loggedIn(house, "u-first", "c-one");
  const { body } = await server.call("GET", `/api/v1/namespaces/${NAMESPACE}`);
  assert.deepEqual(body.metadata.labels, { "authz.cluster.cattle.io/impersonator": "true", "kubernetes.io/metadata.name": NAMESPACE });
  await assertActsAsExactly(server, { user: "u-first" });
});

for (const [user, slug] of NAMES) {
  inBoth(
    `the objects of ${JSON.stringify(user.length > 30 ? `${user.slice(0, 8)}… (${user.length})` : user)} are right to the letter`,
    async (house, server, profile) => {
      const groups = ["a-Team", "gruppe ü", "zebra"];
      const extras = { principalid: ["github_user://1", "local://x"], username: ["Jürgen"] };
      await loggedIn(house, user, "c-one", { groups: ["zebra", ...groups], extras: { ...extras, principalid: extras.principalid.toReversed() } });
      const rules = [
        named("users", [user]),
        ...OPEN_RULES[profile],
        named("groups", ["a-Team", "gruppe ü", ...BUILT_IN, "zebra"]),
        named("userextras/principalid", ["github_user://1", "local://x"]),
        named("userextras/username", ["Jürgen"]),
      ];
      const { loginEnds } = (await house.row("c-one", user))!;
      await assertToTheLetter(server, { user, name: `cattle-impersonation-${slug}`, rules, loginEnds: loginEnds! });
      await assertActsAsExactly(server, { user, groups, extras });
    },
  );
}

inBoth("an identity without extras has no rule for them, because a rule without names would allow every value", async (house, server, profile) => {
  await loggedIn(house, "u-bare", "c-one", { extras: { principalid: [] } });
  const { loginEnds } = (await house.row("c-one", "u-bare"))!;
  const rules = [named("users", ["u-bare"]), ...OPEN_RULES[profile], named("groups", BUILT_IN)];
  await assertToTheLetter(server, { user: "u-bare", name: "cattle-impersonation-u-bare", rules, loginEnds: loginEnds! });
  await assertActsAsExactly(server, { user: "u-bare" });
});

inBoth("the two extras of Rancher's own proxy are allowed with any value where the profile says so, and nowhere else", async (house, server, profile) => {
  await loggedIn(house, "u-proxy", "c-one");
  const token = await tokenOf(server, "u-proxy");
  const [key1, key2] = [{ requesttokenid: ["token-x7k2p"] }, { requesthost: ["rancher.example.org"] }];
  for (const extras of [key1, key2, { ...key1, ...key2 }]) {
    assert.equal((await actAs(server, token, { user: "u-proxy", extras })).status, profile === "rancher" ? 201 : 403, JSON.stringify(extras));
  }
  await assertActsAsExactly(server, { user: "u-proxy" });
});

inBoth("two ids that differ only in case have two impersonators, and neither may act as the other", async (house, server) => {
  for (const user of ["u-twin", "U-Twin"]) await loggedIn(house, user, "c-one");
  assert.notEqual((await objectsOf(server, "u-twin")).role.metadata.name, (await objectsOf(server, "U-Twin")).role.metadata.name);
  assert.equal((await actAs(server, await tokenOf(server, "U-Twin"), { user: "u-twin" })).status, 403);
  assert.equal((await house.hook("DELETE", "/v1/logins/U-Twin")).status, 202);
  await house.waitFor("c-one", "U-Twin", "removed");
  await assertGone(server, "U-Twin");
  await assertActsAsExactly(server, { user: "u-twin" });
});

// A login body → facts, or why it is refused, with the place and the fix. Pure.
import { z } from "zod";
import type { Policy } from "../shared/decide/identity.ts";
import type { UserRecord } from "../shared/ledger/record.ts";
import type { ValueKey } from "../shared/subject.ts";
import { ClusterId, canonical, groupRefusalOf, refusalOf, shown } from "../shared/subject.ts";
import { readBody } from "./body.ts";

const Values = z.array(z.string()).max(5000);
const Body = z.strictObject({
  user: z.string(),
  cluster: ClusterId.optional(),
  provider: z.string().regex(/^[A-Za-z0-9._:-]{1,64}$/, "a provider has up to 64 letters, digits, . _ : or -"),
  groups: Values.optional(),
  extras: z.strictObject({ principalid: Values.optional(), username: Values.optional() }, "only principalid and username, each a list of texts").optional(),
});

export interface Login {
  readonly user: string;
  readonly cluster: string | undefined;
  readonly provider: string;
  /** Only the keys that were sent; an empty list clears. */
  readonly values: readonly (readonly [ValueKey, readonly string[]])[];
}
export type LoginReading = { readonly login: Login } | { readonly status: 400 | 422; readonly detail: string };

/** Reads the body of POST /v1/logins: 400 = not the right shape, 422 = an identity that may never be impersonated. */
export function readLogin(raw: Uint8Array, policy: Policy): LoginReading {
  const read = readBody(raw, Body);
  if ("problem" in read) return { status: 400, detail: read.problem };
  const { user, cluster, provider, groups, extras } = read.body;
  const values = [
    ["groups", groups],
    ["principalid", extras?.principalid],
    ["username", extras?.username],
  ] as const;
  const refused = refusals(user, values, policy);
  if (refused.length > 0) return { status: 422, detail: refused.slice(0, 10).join("; ") };
  return { login: { user, cluster, provider, values: values.flatMap(([key, list]) => (list ? [[key, canonical(list)] as const] : [])) } };
}

/** Every value that may never be in a role, with its place. */
function refusals(user: string, values: readonly (readonly [ValueKey, readonly string[] | undefined])[], policy: Policy): string[] {
  const found: string[] = [];
  const why = refusalOf(user, policy.denyPrefixes);
  if (why) found.push(`user ${shown(user)} ${why}`);
  for (const [key, list] of values) {
    if (list && list.length > policy.groupsMax) found.push(`${key} has ${list.length} entries, over the limit of ${policy.groupsMax} (UNDERSTUDY_GROUPS_MAX)`);
    list?.forEach((value, i) => {
      const refusal = key === "groups" ? groupRefusalOf(value, policy.denyPrefixes, policy.source === "rancher") : refusalOf(value);
      if (refusal) found.push(`${key}[${i}] ${shown(value)} ${refusal}`);
    });
  }
  return found;
}

/** The user's groups as they will be once this login is stored, for a decision that has to come before it. Same rule as learn.lua: per key, the newest counts. */
export function groupsAfter(known: UserRecord, login: Login, at: number): string[] {
  const groups = new Map(Object.entries(known.facts.providers).map(([provider, values]) => [provider, values.groups ?? []]));
  const sent = login.values.find(([key]) => key === "groups");
  if (sent && (known.times.get(`groups:${login.provider}`) ?? -1) <= at) groups.set(login.provider, sent[1]);
  return canonical([...groups.values()].flat());
}

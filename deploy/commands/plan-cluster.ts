// `plan` of one cluster: its lists against what the sources say, subject by subject. Lists only: no object is read alone, no Secret's contents at all, nothing is written.
import type { KubernetesObject, V1Secret } from "@kubernetes/client-node";
import type { Bindings } from "../../producers/bindings.ts";
import type { Lists, Objects } from "../../producers/found.ts";
import { isLabelled, listObjects, sortOut } from "../../producers/found.ts";
import { groupsIn, remembers, unknownIn } from "../../producers/resync.ts";
import { groupsOf } from "../../producers/tell.ts";
import type { Foreseen, ForeseenStep, PlannedStep } from "../../shared/decide/foresight.ts";
import { foresee } from "../../shared/decide/foresight.ts";
import { SECRET_TYPE, secretRefOf } from "../../shared/decide/objects.ts";
import type { Seen } from "../../shared/decide/plan.ts";
import { findStale } from "../../shared/decide/stale.ts";
import type { ClusterClient } from "../../shared/kube/client.ts";
import { METADATA_ONLY_LIST } from "../../shared/kube/client.ts";
import { SECRET_ACCOUNT_ANNOTATION, SECRET_ACCOUNT_LABEL, nameOf, userOf } from "../../shared/names.ts";
import type { Config } from "../../shared/run/config.ts";
import { COLLECTIONS } from "../../shared/kube/paths.ts";
import { whyNot } from "./check-clusters.ts";
import { objectDiff } from "./object-diff.ts";

/** An object that is left as it is, and why. */
export interface Untouched {
  readonly kind: string;
  readonly name: string;
  readonly user: string;
  readonly reason: string;
}
/** `equal`: impersonators that need no step. `orphans`: those without a grant; `held`: as many of them as wait for a person's word. `stale`: token Secrets that nobody uses, of accounts of ours and of Rancher's: a worker's own steps delete some, `cleanup` all. `waiting`: who should have one, and gets none till something else comes; `failed`: where a person has to act first. `reason`: why the cluster could not be asked; empty = it answered. */
export interface ClusterPlan {
  readonly cluster: string;
  readonly equal: number;
  readonly orphans: number;
  readonly held: number;
  readonly stale: number;
  readonly steps: readonly (PlannedStep & { readonly diff?: string })[];
  readonly untouched: readonly Untouched[];
  readonly waiting: readonly { readonly user: string; readonly reason: string }[];
  readonly failed: readonly { readonly user: string; readonly reason: string }[];
  readonly warnings: readonly string[];
  readonly reason: string;
}

/** Never throws for a cluster that does not answer: that is a row of the answer. */
export async function planCluster(client: ClusterClient, bindings: Bindings, config: Config, diffs: boolean): Promise<ClusterPlan> {
  const { cluster } = client;
  try {
    const objects = await withTypes(client, await listObjects(client, {}, AbortSignal.timeout(60_000)));
    return planFor({ cluster, bindings, config, diffs }, objects, Date.now());
  } catch (error) {
    return {
      cluster,
      equal: 0,
      orphans: 0,
      held: 0,
      stale: 0,
      steps: [],
      untouched: [],
      waiting: [],
      failed: [],
      warnings: [],
      reason: whyNot(client, `cluster ${cluster}`, error),
    };
  }
}

/** A list without contents lacks the type of a Secret too: those of the right one are listed once more. */
async function withTypes(client: ClusterClient, objects: Objects): Promise<Objects> {
  const { items } = await client.list(COLLECTIONS.Secret, { fieldSelector: `type=${SECRET_TYPE}` }, METADATA_ONLY_LIST);
  const uids = new Set(items.map(({ metadata }) => metadata?.uid));
  return { ...objects, secrets: objects.secrets.map((secret) => (uids.has(secret.metadata?.uid) ? { ...secret, type: SECRET_TYPE } : secret)) };
}

interface Question {
  readonly cluster: string;
  readonly bindings: Bindings;
  readonly config: Config;
  readonly diffs: boolean;
}
function planFor({ cluster, bindings, config, diffs }: Question, objects: Objects, now: number): ClusterPlan {
  const lists = sortOut(objects, config.install);
  const bound = new Set([...bindings.subjects()].filter((subject) => subject.cluster === cluster).map(({ user }) => user));
  // As a resync after a lost Redis: whoever is bound is known, the rest is what the roles remember, or nobody's.
  const unknown = unknownIn(new Map([...lists.found].filter(([user, found]) => !bound.has(user) || remembers(found))), bound.size, config);
  const orphans = new Set(unknown.orphans.map(([user]) => user));
  const users = [...new Set([...bound, ...unknown.forgotten.map(([user]) => user), ...(unknown.held ? [] : orphans)])].sort();
  const look = seenBy(objects);
  const all = users.map((user) => {
    const seen = look(user, !orphans.has(user));
    return { user, ...foresee({ user, ...saidOf(bindings, cluster, user, seen) }, seen, config, now) };
  });
  const why = `orphan: ${orphans.size} of them are too many to be removed at once (UNDERSTUDY_REMOVALS_MAX)`;
  const held = (unknown.held ? [...orphans] : []).map((user) => ({ user, reason: why }));
  const of = (state: Foreseen["state"]) => all.filter((one) => one.state === state);
  return {
    cluster,
    equal: of("equal").length,
    orphans: orphans.size + unknown.others.length,
    held: held.length + unknown.others.length,
    stale: findStale(
      objects.accounts,
      objects.secrets.filter((secret: V1Secret) => secret.type === SECRET_TYPE),
      config.install,
    ).stale.length,
    steps: all.flatMap(({ user, steps }) => steps.map((step) => told(step, orphans.has(user), diffs))),
    untouched: [
      ...all.flatMap(({ user, untouched }) => (untouched ? [{ kind: untouched.kind, name: nameOf(user), user, reason: untouched.reason }] : [])),
      ...held.map((row) => ({ kind: "ClusterRole", name: nameOf(row.user), ...row })),
      ...unknown.others.map(([user]) => ({ kind: "ClusterRole", name: nameOf(user), user, reason: "no login made it, so another source did" })),
      ...ranchers(objects, new Set(users)),
    ],
    waiting: of("waiting").map(({ user, reason }) => ({ user, reason })),
    failed: [...of("failed").map(({ user, reason }) => ({ user, reason })), ...held],
    warnings: [...all.flatMap(leftOut), ...aliensOf(lists, users)].map((warning) => `cluster ${cluster}: ${warning}`),
    reason: "",
  };
}

/** As a step is shown: its objects only as a diff, and only where that is asked for. */
function told({ before, after, ...step }: ForeseenStep, isOrphan: boolean, diffs: boolean): ClusterPlan["steps"][number] {
  const said = isOrphan ? { ...step, reason: `orphan: ${step.reason}` } : step;
  return diffs ? { ...said, diff: objectDiff({ ...step, before, after }) } : said;
}

/** Grants, facts, and the candidates of the groups that the facts or the role name. */
function saidOf(bindings: Bindings, cluster: string, user: string, { role }: Seen) {
  const facts = bindings.factsOf(user);
  const groups = [...groupsOf({ facts }), ...groupsIn(role)];
  return {
    facts,
    grants: bindings.grantsOf(cluster, user).map(({ id, live }) => ({ id, ...live! })),
    candidates: bindings.candidatesFor(cluster, user, groups).map(({ id, live }) => ({ id, ...live! })),
  };
}

/** What a look of a worker's would show of one user. `strays`: with the Secrets of its account that no label leads to, of which the resync tells it. */
function seenBy({ roles, bindings, accounts, secrets }: Objects): (user: string, strays: boolean) => Seen {
  const byName = <T extends KubernetesObject>(all: readonly T[]): Map<string, T> => new Map(all.map((object) => [object.metadata!.name!, object]));
  const [role, binding, account, secret] = [byName(roles), byName(bindings), byName(accounts), byName(secrets)];
  const labelled = Map.groupBy(secrets, ({ metadata }) => metadata?.labels?.[SECRET_ACCOUNT_LABEL]);
  const annotated = Map.groupBy(secrets, ({ metadata }) => metadata?.annotations?.[SECRET_ACCOUNT_ANNOTATION]);
  return (user, strays) => {
    const name = nameOf(user);
    const own = account.get(name);
    const named = secret.get((own && secretRefOf(own)) ?? "");
    const all = new Set([...(labelled.get(name) ?? []), ...(named ? [named] : []), ...(strays ? (annotated.get(name) ?? []) : [])]);
    return { role: role.get(name), binding: binding.get(name), account: own, secrets: [...all] };
  };
}

/** Impersonators that Rancher made, of users for whom nothing is to be there. */
function ranchers({ roles }: Objects, users: ReadonlySet<string>): Untouched[] {
  const unmarked = roles.filter((role) => isLabelled(role) && !Object.keys(role.metadata?.annotations ?? {}).some((key) => key.startsWith("understudy.io/")));
  return unmarked.flatMap(({ metadata }) => {
    const name = metadata!.name!;
    const user = userOf(name);
    return user === undefined || users.has(user) ? [] : [{ kind: "ClusterRole", name, user, reason: "managed by Rancher; no source entitles this user" }];
  });
}

const leftOut = ({ user, state, reason }: Foreseen & { user: string }): string[] =>
  reason.startsWith("left out") && (state === "equal" || state === "steps") ? [`${user}: ${reason}`] : [];
const aliensOf = ({ aliens, roleBindingsHidden }: Lists, users: readonly string[]): string[] => [
  ...users.flatMap((user) => (aliens.has(nameOf(user)) ? [`${user}: tampering: bound by ${aliens.get(nameOf(user))!.join(", ")} too`] : [])),
  ...(roleBindingsHidden ? ["RoleBindings may not be listed, so that others' that name an impersonator's account stay unseen"] : []),
];

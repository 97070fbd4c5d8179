// `cleanup --orphans` of one cluster: finds impersonators that nobody has a reason for, and removes them.
// Deleted here and not by a job: a worker decides by the ledger, which has never heard of these, and there may be no Understudy at all. It is safe beside a running one:
// whom the ledger knows is left to the worker; the rest is observed right before, the role deleted with the resourceVersion that was seen and its children by uid; and
// whoever turns out to be wanted in that very moment is made anew, for the worker's watch hears each of these deletes.
import type { V1ClusterRole } from "@kubernetes/client-node";
import type { Bindings } from "../../producers/bindings.ts";
import { isLabelled, listObjects, sortOut } from "../../producers/found.ts";
import { REMOVALS_MIN } from "../../producers/import.ts";
import { groupsIn, unknownIn } from "../../producers/resync.ts";
import { groupsOf } from "../../producers/tell.ts";
import { RANCHERS, inTheWayReason, ownOnly } from "../../shared/decide/memory.ts";
import { loginEndsOf } from "../../shared/decide/objects.ts";
import { stepsTowards } from "../../shared/decide/steps.ts";
import type { Removal } from "../../shared/decide/steps.ts";
import type { ClusterClient } from "../../shared/kube/client.ts";
import { LABELLED } from "../../shared/kube/paths.ts";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import { nameOf, userOf } from "../../shared/names.ts";
import type { Config } from "../../shared/run/config.ts";
import { observe } from "../../workers/cluster.ts";
import type { Work } from "./cleanup-work.ts";
import { inLanes, removeInOrder } from "./cleanup-work.ts";

/** `strays`: Secrets of its account that no label leads to. */
export interface Orphan {
  readonly user: string;
  readonly strays: readonly string[];
}
export interface Orphans {
  readonly orphans: readonly Orphan[];
  /** Rancher's, which are not ours to delete, and such as another source made, whose setting may only be missing here. */
  readonly left: readonly { readonly user: string; readonly reason: string }[];
  /** Too many to be believed at once: a person has to name the cluster. Empty = not so. */
  readonly held: string;
}
/** What is known of people. Without a ledger the roles' own memory of logins is all there is. */
export interface Known {
  readonly bindings: Bindings;
  readonly ledger: Ledger | undefined;
  readonly config: Config;
}

/** Paged lists. @throws ApiError when one cannot be had whole. */
export async function orphansOn(client: ClusterClient, { bindings, ledger, config }: Known, signal: AbortSignal): Promise<Orphans> {
  const { cluster } = client;
  const objects = await listObjects(client, LABELLED, signal);
  const lists = sortOut(objects, config.install);
  const known = new Set([...bindings.subjects()].filter((subject) => subject.cluster === cluster).map(({ user }) => user));
  if (ledger) for await (const { subject } of ledger.subjects(cluster)) known.add(subject.user);
  const unknown = unknownIn(new Map([...lists.found].filter(([user]) => !known.has(user))), known.size, config);
  const ours = unknown.orphans.filter(([, { role }]) => !mayStillRun(role, config.loginGrantMs)).map(([user]) => user);
  const theirs = config.source === "rancher" ? ranchersOrphans(objects.roles, bindings, cluster).filter((user) => !known.has(user)) : [];
  const users = [...ours, ...(config.adopt ? theirs : [])].sort();
  const standing = objects.roles.filter(isLabelled).length;
  const tooMany = users.length > REMOVALS_MIN && users.length > config.removalsMax * standing;
  return {
    orphans: users.map((user) => ({ user, strays: lists.strays.get(nameOf(user)) ?? [] })),
    left: [
      ...unknown.others.map(([user]) => ({ user, reason: "no login made it, so another source did" })),
      ...(config.adopt ? [] : theirs.map((user) => ({ user, reason: `${RANCHERS}; UNDERSTUDY_ADOPT=true would let it be removed` }))),
    ],
    held: tooMany ? `${users.length} of ${standing} impersonators are too many to be believed at once` : "",
  };
}

/** What a role remembers of a login may lag by a tenth of the grant. */
const mayStillRun = (role: V1ClusterRole | undefined, loginGrantMs: number): boolean =>
  role !== undefined && loginEndsOf(role) > 0 && loginEndsOf(role) + loginGrantMs / 10 > Date.now();

/** Of users without a binding, and without a group or global one that lets them in when they come. */
function ranchersOrphans(roles: readonly V1ClusterRole[], bindings: Bindings, cluster: string): string[] {
  const unmarked = roles.filter((role) => isLabelled(role) && !Object.keys(role.metadata?.annotations ?? {}).some((key) => key.startsWith("understudy.io/")));
  return unmarked.flatMap((role) => {
    const user = userOf(role.metadata!.name!);
    if (user === undefined) return [];
    const groups = [...groupsOf({ facts: bindings.factsOf(user) }), ...groupsIn(role)];
    return bindings.candidatesFor(cluster, user, groups).length > 0 ? [] : [user];
  });
}

/** `known` as read anew: a binding that came after the lists is a reason. */
export async function removeOrphans(work: Work, orphans: readonly Orphan[], known: Known): Promise<void> {
  const rest = orphans.filter(({ user }) => known.bindings.grantsOf(work.client.cluster, user).length === 0);
  await inLanes(work, rest, async (orphan) => removeInOrder(work, await stepsFor(work, orphan, known)));
}

/** Role first, as a worker does it, and nothing of what is not ours. Empty where there is a reason now. */
async function stepsFor({ client, left }: Work, { user, strays }: Orphan, { ledger, config }: Known): Promise<readonly Removal[]> {
  if (await ledger?.record({ cluster: client.cluster, user })) return [];
  const seen = await observe(client, user, strays, AbortSignal.timeout(30_000));
  if (mayStillRun(seen.role, config.loginGrantMs)) return [];
  const { own, inTheWay } = ownOnly(seen, user, config, undefined);
  if (inTheWay) left.push({ kind: inTheWay.kind, name: nameOf(user), reason: inTheWayReason(inTheWay) });
  return stepsTowards(undefined, own).filter((step) => step.do === "delete");
}

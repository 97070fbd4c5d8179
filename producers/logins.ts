// What a login, or its end, means: who is entitled, what is stored, and the answer. The HTTP around it is hook.ts's.
import type { Config } from "../shared/run/config.ts";
import type { Ledger } from "../shared/ledger/ledger.ts";
import type { SubjectRecord } from "../shared/ledger/record.ts";
import { statusOf } from "../shared/ledger/status.ts";
import type { Subject } from "../shared/subject.ts";
import type { Bindings } from "./bindings.ts";
import type { Login } from "./login.ts";
import { groupsAfter } from "./login.ts";
import { submitWithCandidates } from "./tell.ts";

const DAY_MS = 86_400_000;

/** What a login needs to know; `clusters` are the configured ones, now. */
export interface LoginParts {
  readonly ledger: Ledger;
  readonly bindings: Bindings;
  readonly config: Pick<Config, "source" | "facts" | "loginGrantMs">;
  clusters(): string[];
  /** When it was last known (ms) that nobody else had changed anything there; undefined while the drift watch is not live. */
  readonly seenAt: (cluster: string) => Promise<number | undefined>;
}
/** `verifiedAt` (RFC 3339): when the impersonator was last known to be right; only with `ready`. */
export interface ClusterAnswer {
  readonly cluster: string;
  readonly state: "ready" | "pending" | "waiting";
  readonly reason: string;
  readonly verifiedAt?: string;
}
/** `narrows`: the user has subjects, and what the login says of it counts for them all the same. */
export type Refusal = { readonly status: 400 | 403 | 404 | 409 | 503; readonly detail: string; readonly narrows?: boolean };

/** Where this login counts, or why nowhere. Stores nothing. */
export async function targetsOf(parts: LoginParts, login: Login, at: number): Promise<{ targets: string[] } | Refusal> {
  const { ledger, bindings, config } = parts;
  const configured = parts.clusters();
  if (login.cluster !== undefined && !configured.includes(login.cluster)) return { status: 404, detail: `cluster ${login.cluster} is not configured` };
  if (config.source === "logins")
    return login.cluster === undefined
      ? { status: 400, detail: "cluster: without a management cluster a login names its cluster" }
      : { targets: [login.cluster] };
  if (!bindings.loaded || !(await ledger.mark()).complete) return { status: 503, detail: "the import does not stand yet" };
  const known = await ledger.userRecord(login.user);
  const { user } = known.facts;
  if (user !== null && !user.enabled) return { status: 403, detail: "the user is disabled" };
  const groups = groupsAfter(known, config.facts === "userattribute" ? { ...login, values: [] } : login, at);
  const entitled = (cluster: string): boolean =>
    bindings.grantsOf(cluster, login.user).length > 0 || bindings.candidatesFor(cluster, login.user, groups).length > 0;
  const targets = (login.cluster === undefined ? configured : [login.cluster]).filter(entitled);
  return targets.length > 0 ? { targets } : { status: 403, detail: "no binding of the user or its groups", narrows: known.clusters.length > 0 };
}

/** Facts first, to every subject of the user; a login grant where the login counts. */
export async function storeLogin(parts: LoginParts, login: Login, at: number, targets: readonly string[]): Promise<void> {
  const { ledger, bindings, config } = parts;
  const values = config.facts === "userattribute" ? [] : login.values.map(([key, list]) => ({ provider: login.provider, key, at, list }));
  let copy = await ledger.learn(login.user, { values });
  for (const cluster of targets) if (!copy.clusters.includes(cluster)) copy = await ledger.learn(login.user, { join: cluster });
  await Promise.all(
    copy.clusters.map(async (cluster) => {
      const grant = targets.includes(cluster) ? { login: { at, end: at + config.loginGrantMs } } : {};
      // Where nobody would have told of another hand's change, the impersonator is looked at before it is called ready.
      const look = targets.includes(cluster) && (await parts.seenAt(cluster)) === undefined;
      await submitWithCandidates(ledger, bindings, { cluster, user: login.user }, { copy, look, ...grant }, "login", "login");
    }),
  );
}

/** Drops a provider's facts; only newer ones of it count again. What a role remembers may be that provider's, and no longer counts either. */
export async function dropProvider(parts: LoginParts, user: string, provider: string, at: number): Promise<void> {
  const { ledger, bindings } = parts;
  const copy = await ledger.learn(user, { drop: { provider, at } });
  const unread = await unreadClusters(parts);
  await Promise.all(
    [...new Set([...copy.clusters, ...unread.keys()])].map((cluster) =>
      submitWithCandidates(ledger, bindings, { cluster, user }, { copy, dropRestored: true, ...unread.get(cluster) }, "facts", "deletion"),
    ),
  );
}

/** Ends the login grants of a user, on one cluster or on all: also where only a role remembers it, after a lost Redis. */
export async function endLogins(parts: LoginParts, user: string, cluster: string | undefined, at: number): Promise<void> {
  const { ledger } = parts;
  const unread = await unreadClusters(parts);
  const clusters = cluster === undefined ? new Set([...(await ledger.userRecord(user)).clusters, ...unread.keys()]) : [cluster];
  await Promise.all([...clusters].map((id) => ledger.submit({ cluster: id, user }, { endLogin: at, ...unread.get(id) }, "deletion", "deletion")));
}

/** The clusters whose roles have not been read since the ledger began anew: what ends there is kept for as long as a role may remember. */
async function unreadClusters({ ledger, config, ...parts }: LoginParts): Promise<Map<string, { unreadMs: number }>> {
  const unread = new Map<string, { unreadMs: number }>();
  for (const cluster of parts.clusters()) if (!(await isRead(ledger, cluster))) unread.set(cluster, { unreadMs: config.loginGrantMs + DAY_MS });
  return unread;
}

/** Whether a cluster's roles have been read since the ledger last began anew. */
async function isRead(ledger: Ledger, cluster: string): Promise<boolean> {
  const { forgottenAt = "0", lastResync = "0" } = await ledger.clusterFields(cluster);
  return Number(lastResync) > Number(forgottenAt);
}

/** How it stands on each cluster. */
export async function answersFor({ ledger, seenAt }: LoginParts, user: string, clusters: readonly string[], at: number): Promise<ClusterAnswer[]> {
  const { run, complete } = await ledger.mark();
  const one = async (cluster: string): Promise<ClusterAnswer> => {
    const [record, seen = 0] = await Promise.all([ledger.record({ cluster, user }), seenAt(cluster)]);
    return answerFor({ cluster, user }, record, { run: complete ? run : "", at, seen });
  };
  return Promise.all(clusters.map(one));
}

/** A status row in the hook's three words. */
function answerFor(
  subject: Subject,
  record: SubjectRecord | undefined,
  { run, at, seen }: { readonly run: string; readonly at: number; readonly seen: number },
): ClusterAnswer {
  const { cluster } = subject;
  if (!record) return { cluster, state: "pending", reason: "" };
  const row = statusOf(subject, record, run);
  if (row.state === "ready") return { cluster, state: "ready", reason: row.reason, verifiedAt: new Date(Math.max(record.settledAt, seen)).toISOString() };
  if (row.state === "removed" && at <= record.removedAt) return { cluster, state: "waiting", reason: "the login is older than the removal" };
  return { cluster, state: row.state === "pending" ? "pending" : "waiting", reason: row.state === "removed" ? "removed" : row.reason };
}

const RANK = { ready: 0, pending: 1, waiting: 2 } as const;
/** One word for several clusters. */
export function worstOf(answers: readonly ClusterAnswer[]): ClusterAnswer["state"] {
  return answers.reduce<ClusterAnswer["state"]>((worst, { state }) => (RANK[state] > RANK[worst] ? state : worst), "ready");
}

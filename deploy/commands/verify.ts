// `verify`: asks real clusters, with the impersonators' own tokens, who they become: one of them, or all that the ledger knows, a few at once.
import type { ClusterClient } from "../../shared/kube/client.ts";
import { openClusters, problemLine, whereClustersAre } from "../../shared/kube/clusters-open.ts";
import type { Clusters } from "../../shared/kube/clusters.ts";
import { ApiError } from "../../shared/kube/errors.ts";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import type { Applied } from "../../shared/ledger/record.ts";
import type { Config } from "../../shared/run/config.ts";
import { openStore } from "../../shared/run/redis.ts";
import type { Subject } from "../../shared/subject.ts";
import { isAway } from "../../workers/gate.ts";
import { UsageError } from "../settings.ts";
import { whyNot } from "./check-clusters.ts";
import type { Answer } from "./output.ts";
import { count, table } from "./output.ts";
import { openProgress } from "./progress.ts";
import { inTurns } from "./rights.ts";
import type { Verified } from "./verify-subject.ts";
import { verifySubject } from "./verify-subject.ts";

const AT_ONCE = 8;

/** @throws UsageError when it is not said what to verify. */
export async function verify(config: Config, options: { cluster?: string; user?: string; all?: boolean }, version: string): Promise<Answer> {
  const { cluster, user } = options;
  if (!options.all && (cluster === undefined || user === undefined)) throw new UsageError("say which: --cluster and --user, or --all");
  await using store = await openStore(config.redisUrl!, config.redisPrefix, 5_000, () => undefined);
  await using clusters = await openClusters(config, `understudy/${version} verify`);
  const place = whereClustersAre(config);
  if (cluster !== undefined && !clusters.get(cluster))
    throw new UsageError([`--cluster: ${cluster} is not in ${place}`, ...[...clusters.problems()].map(problemLine)].join("\n"));
  if (cluster === undefined || user === undefined) return await verifyAll(store.ledger, clusters, config, options);
  const verified = await verifySubject(clusters.get(cluster)!, user, (await store.ledger.record({ cluster, user }))?.applied, config.install);
  return { json: { subjects: [verified] }, text: tableOf([verified]), exitCode: verified.ok ? 0 : 3 };
}

interface Standing extends Subject {
  readonly applied: Applied;
}

/** Of all clusters and users, or of one of either. */
async function verifyAll(ledger: Ledger, clusters: Clusters, config: Config, only: { cluster?: string; user?: string }): Promise<Answer> {
  const subjects = await standing(ledger, only);
  using progress = openProgress("impersonators verified", subjects.length);
  const away = new Map<string, string>();
  const rows = await inTurns(subjects, AT_ONCE, async (subject) => {
    const client = clusters.get(subject.cluster);
    const why = client ? away.get(subject.cluster) : `not in ${whereClustersAre(config)}`;
    const verified = client && why === undefined ? await verifyOne(client, subject, config.install, away) : unanswered(subject, why!);
    progress.step();
    return verified;
  });
  const wrong = rows.filter(({ ok }) => !ok);
  const on = count(new Set(subjects.map(({ cluster }) => cluster)).size, "cluster");
  const summary = `${count(rows.length, "impersonator")} on ${on}: ${rows.length - wrong.length} ok, ${wrong.length} not ok`;
  return { json: { subjects: rows }, text: wrong.length > 0 ? `${tableOf(wrong)}\n\n${summary}` : summary, exitCode: wrong.length > 0 ? 3 : 0 };
}

/** Sorted, so that two answers can be compared. */
async function standing(ledger: Ledger, only: { cluster?: string; user?: string }): Promise<Standing[]> {
  const subjects: Standing[] = [];
  for (const cluster of only.cluster === undefined ? await ledger.clusters() : [only.cluster]) {
    const of: Standing[] = [];
    for await (const { subject, record } of ledger.subjects(cluster))
      if (record.applied && (only.user === undefined || only.user === subject.user)) of.push({ ...subject, applied: record.applied });
    subjects.push(...of.sort((a, b) => (a.user < b.user ? -1 : 1)));
  }
  return subjects;
}

/** What a cluster does not answer is not as it should be: the other subjects are verified all the same. */
async function verifyOne(client: ClusterClient, subject: Standing, install: string, away: Map<string, string>): Promise<Verified> {
  try {
    return await verifySubject(client, subject.user, subject.applied, install);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const why = whyNot(client, `cluster ${client.cluster}`, error);
    if (isAway(error)) away.set(client.cluster, why);
    return unanswered(subject, why);
  }
}

const unanswered = ({ cluster, user }: Subject, why: string): Verified => ({
  cluster,
  user,
  ok: false,
  checks: [{ check: "cluster", expected: "an answer", got: why, ok: false }],
});

const tableOf = (subjects: readonly Verified[]): string =>
  table(
    ["CLUSTER", "USER", "CHECK", "EXPECTED", "GOT", ""],
    subjects.flatMap(({ cluster, user, checks }) => checks.map(({ check, expected, got, ok }) => [cluster, user, check, expected, got, ok ? "ok" : "NOT OK"])),
  );

// When `dev --once` is done: the import stands, each cluster was compared once, and no subject is pending. Reads the ledger, decides nothing.
import { setTimeout as pause } from "node:timers/promises";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import type { StatusRow } from "../../shared/ledger/status.ts";
import { subjectKey } from "../../shared/subject.ts";
import { statusRows } from "../commands/status.ts";

const LOOK_MS = 100;
const NAMED_MAX = 10;
const REASON_LENGTH_MAX = 160;

/** `subjects`: those that should exist; removed ones are counted apart. */
export interface Summary {
  readonly clusters: number;
  readonly subjects: number;
  readonly ready: number;
  readonly removed: number;
  readonly failed: number;
  readonly ms: number;
}
export interface Settled {
  readonly summary: Summary;
  /** Those that should be ready and are not. */
  readonly behind: readonly StatusRow[];
}

/** @param began on the clock of `performance`. @throws Error naming what is not settled when the time is over. */
export async function whenSettled(ledger: Ledger, clusters: readonly string[], { began, waitMs }: { began: number; waitMs: number }): Promise<Settled> {
  for (;;) {
    // In this order: a resync wakes its subjects before it says that it is done.
    const open = await notStanding(ledger, clusters);
    const { subjects } = await statusRows({ ledger }, {});
    open.push(
      ...subjects
        .filter(({ state }) => state === "pending")
        .map((row) => `${subjectKey(row)} is pending${row.reason && ` (${row.reason.slice(0, REASON_LENGTH_MAX)})`}`),
    );
    const ms = Math.round(performance.now() - began);
    if (open.length === 0) return sumUp(subjects, clusters.length, ms);
    if (ms > waitMs)
      throw new Error(
        `not settled after ${Math.round(waitMs / 1000)} s: ${open.slice(0, NAMED_MAX).join("; ")}${open.length > NAMED_MAX ? `; and ${open.length - NAMED_MAX} more` : ""}`,
      );
    await pause(LOOK_MS);
  }
}

async function notStanding(ledger: Ledger, clusters: readonly string[]): Promise<string[]> {
  if (!(await ledger.mark()).complete) return ["the import does not stand yet"];
  const fields = await Promise.all(clusters.map(async (cluster) => ({ cluster, lastResync: (await ledger.clusterFields(cluster))["lastResync"] })));
  return fields.filter(({ lastResync }) => lastResync === undefined).map(({ cluster }) => `${cluster} was not compared with the ledger yet`);
}

function sumUp(rows: readonly StatusRow[], clusters: number, ms: number): Settled {
  const wanted = rows.filter(shouldExist);
  const count = (state: StatusRow["state"]): number => rows.filter((row) => row.state === state).length;
  const summary = { clusters, subjects: wanted.length, ready: count("ready"), removed: count("removed"), failed: count("failed"), ms };
  return { summary, behind: wanted.filter(({ state }) => state !== "ready") };
}

/** Whoever is unknown or disabled waits for a person, not for us. */
const shouldExist = ({ state, reason }: StatusRow): boolean =>
  state !== "removed" && !(state === "waiting" && (reason === "user unknown" || reason === "user disabled"));

export const sentence = ({ clusters, subjects, ready, removed, failed, ms }: Summary): string =>
  `${ready} of ${subjects} subjects on ${clusters} ${clusters === 1 ? "cluster" : "clusters"} ready, ${removed} removed, ${failed} failed (${(ms / 1000).toFixed(1)} s)`;

// What `dev` prints while it runs: one line for each subject whose record says something new. Reads the ledger, decides nothing.
import { setTimeout as pause } from "node:timers/promises";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import type { SubjectRecord } from "../../shared/ledger/record.ts";
import type { StatusRow } from "../../shared/ledger/status.ts";
import { subjectKey } from "../../shared/subject.ts";
import { statusRows } from "../commands/status.ts";

const LOOK_MS = 100;
/** More changes than this at one look are counted, not listed. */
const LINES_MAX = 40;

type Applied = SubjectRecord["applied"];
interface Told {
  readonly row: StatusRow;
  readonly applied: Applied;
}

/** Until the signal ends it. A Redis that is away is the processes' to report. */
export async function followChanges(ledger: Ledger, say: (line: string) => void, signal: AbortSignal): Promise<void> {
  const told = new Map<string, Told>();
  while (!signal.aborted) {
    const began = performance.now();
    const lines = await newLines(ledger, told).catch(() => []);
    for (const line of lines) say(line);
    // With thousands of subjects a look takes long, and is then rarer.
    await pause(Math.max(LOOK_MS, 2 * (performance.now() - began)), undefined, { signal }).catch(() => undefined);
  }
}

async function newLines(ledger: Ledger, told: Map<string, Told>): Promise<string[]> {
  const { subjects } = await statusRows({ ledger }, {});
  const changed = subjects.filter((row) => differs(told.get(subjectKey(row))?.row, row));
  const lines: string[] = [];
  for (const row of changed) {
    const before = told.get(subjectKey(row));
    const record = await ledger.record(row);
    // It has moved on since: the next look tells.
    if (!record || record.gen !== row.generation) continue;
    const applied = row.state === "pending" ? before?.applied : record.applied;
    lines.push(line(row, factsOf(row, before?.applied, record)));
    told.set(subjectKey(row), { row, applied });
  }
  return lines.length > LINES_MAX ? counted(changed) : lines;
}

const differs = (before: StatusRow | undefined, { state, reason, observedGeneration }: StatusRow): boolean =>
  before?.state !== state || before.reason !== reason || (state === "ready" && before.observedGeneration !== observedGeneration);

const line = (row: StatusRow, facts: string): string =>
  `${subjectKey(row).padEnd(16)}  ${row.state.padEnd(7)}  ${[row.reason, facts && `(${facts})`].filter((part) => part !== "").join("  ")}`.trimEnd();

/** From the records alone: how long after its last change it was settled, and what its role has gained or lost. */
function factsOf({ state }: StatusRow, before: Applied, { applied, settledAt, changedAt }: SubjectRecord): string {
  const after = `${settledAt - changedAt} ms after the last change`;
  if (state === "removed") return before ? after : "";
  if (state !== "ready" || !applied) return "";
  if (!before) return after;
  const changes = [
    ...changesOf("group", before.identity.groups, applied.identity.groups),
    ...changesOf("principalid", before.identity.principalid, applied.identity.principalid),
    ...changesOf("username", before.identity.username, applied.identity.username),
  ];
  return changes.length > 0 ? `${changes.join(", ")}; ${after}` : "unchanged";
}

const changesOf = (what: string, before: readonly string[], after: readonly string[]): string[] => [
  ...after.filter((name) => !before.includes(name)).map((name) => `+${what} ${name}`),
  ...before.filter((name) => !after.includes(name)).map((name) => `-${what} ${name}`),
];

function counted(rows: readonly StatusRow[]): string[] {
  const byCluster = Map.groupBy(rows, ({ cluster }) => cluster);
  return [...byCluster].map(
    ([cluster, changed]) =>
      `${cluster.padEnd(16)}  ${[...Map.groupBy(changed, ({ state }) => state)].map(([state, { length }]) => `${length} ${state}`).join(", ")}`,
  );
}

// A cluster's row as `status` and the page show it, from what workers and producers noted of it. Pure.
/** A cluster as the workers last saw it. `backlog`: subjects whose newest fact is not settled yet. */
export interface ClusterRow {
  readonly cluster: string;
  readonly gate: "open" | "half-open" | "closed";
  readonly reason: string;
  readonly backlog: number;
  /** Impersonators without a grant, as the last resync found them. */
  readonly orphans: number;
  /** Removals that wait for a person's word. */
  readonly held: number;
  readonly lastResync: string | null;
}
/** A worker that has not told of its gate for so long has nothing to tell. */
const GATE_MS_MAX = 10 * 60_000;

/** `fields`: of `clusterFields`; `now` (ms). */
export function clusterRowOf(cluster: string, fields: Readonly<Record<string, string>>, backlog: number, now: number): ClusterRow {
  const gates = Object.entries(fields)
    .filter(([field]) => field.startsWith("gate:"))
    .flatMap(([, value]) => {
      const [, state, at, reason] = /^(\S+) (\d+) ?(.*)$/s.exec(value) ?? [];
      return state !== undefined && now - Number(at) < GATE_MS_MAX ? [{ gate: state as ClusterRow["gate"], reason: reason ?? "" }] : [];
    });
  const worst = gates.find(({ gate }) => gate === "closed") ?? gates.find(({ gate }) => gate === "half-open") ?? { gate: "open" as const, reason: "" };
  const held = Number(fields["heldImport"] ?? 0) + Number(fields["heldResync"] ?? 0);
  const paused = pausedFrom(fields[PAUSED]);
  const word = paused ? `paused by ${paused.by} since ${new Date(paused.since).toISOString()}` : "";
  const reason = [word, worst.reason, held > 0 ? `${held} removals are held back; where they are right: understudy cleanup --allow ${cluster}` : ""]
    .filter((part) => part !== "")
    .join("; ");
  const lastResync = fields["lastResync"] ? new Date(Number(fields["lastResync"])).toISOString() : null;
  return { cluster, ...worst, reason, backlog, orphans: Number(fields["orphans"] ?? 0), held, lastResync };
}

/** A person's word that workers leave the cluster alone; `since` (ms). */
export interface Paused {
  readonly by: string;
  readonly since: number;
}
/** The field of a cluster's notes that holds it: `<since> <by>`. */
export const PAUSED = "paused";
export function pausedFrom(text: string | null | undefined): Paused | undefined {
  const [, since, by] = /^(\d+) (.*)$/s.exec(text ?? "") ?? [];
  return since === undefined ? undefined : { since: Number(since), by: by! };
}

// The first page: how all clusters stand, what does not succeed and why, and how long the queues are. Pure.
import type { ClusterRow } from "../../shared/ledger/cluster-row.ts";
import type { State } from "../../shared/ledger/status.ts";
import type { ClusterCount, Count, ReasonCount } from "./count.ts";
import { STATES, WINDOW_MS } from "./count.ts";
import type { Html } from "./html.ts";
import { html } from "./html.ts";
import type { Cell } from "./layout.ts";
import { searchPath, section, stateBadge, table } from "./layout.ts";
import { duration, moment } from "./times.ts";

/** A cluster as the page shows it: what was counted, and what workers and producers noted. */
export interface ClusterLine extends ClusterRow {
  readonly count: ClusterCount;
  readonly held: number;
  /** Undefined before its first resync. */
  readonly orphans: number | undefined;
}
/** A queue now. `oldest`: when the first of the jobs that wait was added (ms, 0 = none waits). */
export interface QueueLine {
  readonly name: string;
  readonly about: string;
  readonly paused: boolean;
  readonly waiting: number;
  readonly active: number;
  readonly delayed: number;
  readonly failed: number;
  readonly oldest: number;
}
export interface Home {
  readonly now: number;
  /** Undefined until the first count has ended. */
  readonly count: Count | undefined;
  readonly imported: boolean;
  readonly clusters: readonly ClusterLine[];
  readonly queues: readonly QueueLine[];
}
const REASONS_MAX = 20;
const NOT_IMPORTED = html`<p class="notice" role="status">The import does not stand: until the producers have read every source, nothing is written to a cluster.</p>\n`;

const NOT_COUNTED = html`<p class="notice" role="status">The ledger is being counted for the first time: ask again in some seconds. A whole user id is found already.</p>`;

export const homePage = ({ now, count, imported, clusters, queues }: Home): Html => html`<h1>Who may act as whom, on each cluster</h1>
${imported ? "" : NOT_IMPORTED}${count ? countPart(count, clusters, now) : NOT_COUNTED}
${section("Queues", "", queueTable(queues, now))}
${count ? section("From event to ready", "", readyPart(count)) : ""}`;

const countPart = (
  count: Count,
  clusters: readonly ClusterLine[],
  now: number,
): Html => html`<ul class="tiles">${STATES.map((state) => tile(state, count.states[state]))}</ul>
<p class="about">${count.rows.length} subjects (one person on one cluster each), counted ${moment(count.asOf, now)}. <a href="/">Count again</a></p>
${section("Clusters", "", clusters.length === 0 ? html`<p>No cluster has anybody yet.</p>` : clusterTable(clusters, now))}
${section("What does not succeed, and why", "", reasonsPart(count.reasons, now))}`;

const tile = (state: State, subjects: number): Html => html`<li><a href="${searchPath({ state })}">${stateBadge(state)} <b>${subjects}</b></a></li>`;

const GATES = { open: "open", "half-open": "half-open: one call is tried", closed: "closed: no calls" } as const;
function clusterTable(clusters: readonly ClusterLine[], now: number): Html {
  const rows = clusters.map(({ cluster, gate, reason, backlog, count, lastResync, held, orphans }): Cell[] => {
    const inState = (state: State): Cell => (count.states[state] === 0 ? 0 : html`<a href="${searchPath({ cluster, state })}">${count.states[state]}</a>`);
    return [
      html`<a href="${searchPath({ cluster })}">${cluster}</a>`,
      html`<span class="gate ${gate}">${GATES[gate]}</span>${reason === "" ? "" : html`<br><span class="reason">${reason}</span>`}`,
      backlog,
      moment(count.oldest, now),
      moment(lastResync === null ? 0 : Date.parse(lastResync), now),
      inState("ready"),
      inState("failed"),
      held,
      orphans ?? "–",
    ];
  });
  return table("Clusters", ["Cluster", "Gate", "Backlog#", "Oldest wait", "Last resync", "Ready#", "Failed#", "Held removals#", "Orphans#"], rows);
}

/** The groups of subjects that share a reason; each leads to its subjects. */
function reasonsPart(reasons: readonly ReasonCount[], now: number): Html {
  if (reasons.length === 0) return html`<p>Nothing: everybody is as they should be.</p>`;
  const rows = reasons
    .slice(0, REASONS_MAX)
    .map(({ state, reason, subjects, clusters, first, last }): Cell[] => [
      stateBadge(state),
      html`<a class="reason" href="${searchPath({ state, reason })}">${reason}</a>`,
      subjects,
      clusters.size,
      moment(first, now),
      moment(last, now),
    ]);
  const more = reasons.length - REASONS_MAX;
  const shown = table("Reasons", ["State", "Reason", "Subjects#", "Clusters#", "First", "Last"], rows);
  return html`${shown}${more > 0 ? html`\n<p class="about">And ${more} rarer reasons.</p>` : ""}`;
}

function queueTable(queues: readonly QueueLine[], now: number): Html {
  const rows = queues.map(({ name, about, paused, waiting, oldest, active, delayed, failed }): Cell[] => [
    html`<a href="/queues/queue/${name}">${name}</a>${paused ? " (paused)" : ""}<br><span class="quiet">${about}</span>`,
    moment(oldest, now),
    waiting,
    active,
    delayed,
    failed,
  ]);
  return table("Queues", ["Queue", "Oldest waiting", "Waiting#", "Active#", "Delayed#", "Failed#"], rows);
}

function readyPart({ readyTimes }: Count): Html {
  if (!readyTimes) return html`<p>Nobody changed and became ready within the last ${duration(WINDOW_MS)}.</p>`;
  const { p50, p99, subjects } = readyTimes;
  return html`<dl class="figures"><div><dt>p50</dt><dd>${duration(p50)}</dd></div><div><dt>p99</dt><dd>${duration(p99)}</dd></div></dl>
<p class="about">Of ${subjects} subjects that changed and became ready within the last ${duration(WINDOW_MS)}, the last change of each.
Every change is in the workers' metric <code>understudy_event_to_ready_seconds</code>.</p>`;
}

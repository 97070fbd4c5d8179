// What a search found: fifty subjects a page, each as it is now. Pure.
import type { Paused } from "../../shared/ledger/cluster-row.ts";
import { nextOf } from "../../shared/ledger/explanation.ts";
import type { SubjectRecord } from "../../shared/ledger/record.ts";
import { statusOf } from "../../shared/ledger/status.ts";
import type { Subject } from "../../shared/subject.ts";
import type { Reader } from "./buttons.ts";
import { pauseButton, pauseNote, retryButton } from "./buttons.ts";
import { sinceOf } from "./count.ts";
import type { Html, Value } from "./html.ts";
import { html } from "./html.ts";
import type { Cell } from "./layout.ts";
import { searchPath, stateBadge, subjectPath, table } from "./layout.ts";
import type { Asked } from "./search.ts";
import { PAGE_ROWS } from "./search.ts";
import { moment } from "./times.ts";

/** `all`: how many were found; `shown`: those of this page, read from the ledger just now. */
export interface List {
  readonly asked: Asked;
  readonly as: string;
  readonly all: number;
  readonly shown: readonly { readonly subject: Subject; readonly record: SubjectRecord }[];
  readonly run: string;
  readonly now: number;
  /** When the ledger was counted (ms); 0 = not yet. */
  readonly asOf: number;
  readonly reader: Reader;
  /** Of the cluster that was asked for. */
  readonly paused: Paused | undefined;
}

export function listPage({ asked, as, all, shown, run, now, asOf, reader, paused }: List): Html {
  const rows = shown.map((one) => line(one, run, now));
  return html`<h1>${titleOf(asked)}</h1>
${pauseNote(asked.cluster, paused, now)}${asked.reason === "" ? "" : html`<p class="reason">${asked.reason}</p>\n`}<p class="about" role="status">
<b>${all}</b> ${all === 1 ? "subject" : "subjects"}${as === "" ? "" : html`: <code>${asked.q}</code> is ${as}`}.
${asOf === 0 ? "The ledger is being counted for the first time: only a whole user id is found yet." : html`Counted ${moment(asOf, now)}.`}</p>
<div class="actions"><a href="/">All clusters</a>${buttons(asked, reader, paused !== undefined)}</div>
${rows.length === 0 ? "" : table("Subjects", ["User", "Cluster", "State", "Reason", "Since", "Next try"], rows)}
${pager(asked, all)}`;
}

/** What can be done to all that was found. */
function buttons({ cluster, reason, state }: Asked, reader: Reader, isPaused: boolean): Value {
  if (reason !== "") return state === "failed" || state === "pending" ? retryButton(reader, reason, cluster) : undefined;
  return cluster === "" ? undefined : pauseButton(reader, cluster, isPaused);
}

export function titleOf({ q, cluster, state, reason }: Asked): string {
  const what = [q === "" ? "" : `“${q}”`, state ?? "", cluster === "" ? "" : `on ${cluster}`, reason === "" ? "" : "for one reason"];
  const title = what.filter((part) => part !== "").join(" ") || "everybody";
  return title[0]!.toUpperCase() + title.slice(1);
}

function line({ subject, record }: List["shown"][number], run: string, now: number): Cell[] {
  const row = statusOf(subject, record, run);
  const next = nextOf(record, now);
  const why = html`<span class="quiet">${next.why}</span>`;
  return [
    html`<a href="${subjectPath(subject)}">${subject.user}</a>`,
    html`<a href="${searchPath({ cluster: subject.cluster })}">${subject.cluster}</a>`,
    stateBadge(row.state),
    html`<span class="reason">${row.reason}</span>`,
    moment(sinceOf(record, row), now),
    next.at === null ? why : html`${moment(Date.parse(next.at), now)}, ${why}`,
  ];
}

function pager(asked: Asked, all: number): Html | "" {
  const pages = Math.ceil(all / PAGE_ROWS);
  if (pages <= 1) return "";
  const to = (page: number, word: string, rel: string): Html | "" =>
    page < 1 || page > pages ? "" : html`<a rel="${rel}" href="${searchPath({ ...asked, page })}">${word}</a>`;
  return html`<nav class="pager" aria-label="More">
${to(asked.page - 1, "Previous", "prev")} <span>Page ${asked.page} of ${pages}</span> ${to(asked.page + 1, "Next", "next")}
</nav>`;
}

// What the last runs did to a subject, each in the order in which it happened: fact, job, writes, outcome. Pure.
import type { HistoryEntry } from "../../shared/ledger/history.ts";
import { outcomeText } from "../../shared/ledger/history.ts";
import type { Html } from "./html.ts";
import { html } from "./html.ts";
import { isState, stateBadge } from "./layout.ts";
import { duration, moment } from "./times.ts";

export function timelinePart(entries: readonly HistoryEntry[], now: number): Html {
  if (entries.length === 0) return html`<p>Nothing yet.</p>`;
  return html`<ol class="timeline">${entries.map((entry) => html`<li>${runPart(entry, now)}</li>\n`)}</ol>`;
}

/** A run in the order of its parts. Clocks of two Redis may differ: no time is shown below nothing. */
function runPart({ fact, began, ended, cause, because, steps, outcome, reason, added, removed }: HistoryEntry, now: number): Html {
  const later = (from: number, to: number): Html => html` <span class="quiet">${duration(Math.max(0, to - from))} later</span>`;
  const end = isState(outcome) ? stateBadge(outcome) : html`<b>${outcomeText(outcome)}</b>`;
  return html`<p class="quiet">${moment(ended, now)}</p>
<dl>
${fact > 0 ? html`<div><dt>Fact</dt><dd>the newest came at <code>${new Date(fact).toISOString()}</code></dd></div>` : ""}
<div><dt>Job</dt><dd>by ${cause}${fact > 0 ? later(fact, began) : ""}${because.length > 0 ? html`<br>because of ${because.join(", ")}` : ""}</dd></div>
<div><dt>Writes</dt><dd>${steps.length > 0 ? html`<ol class="plain">${steps.map((step) => html`<li>${step}</li>`)}</ol>` : "none"}</dd></div>
${namesPart("Gains", added)}${namesPart("Loses", removed)}
<div><dt>Outcome</dt><dd>${end}${later(began, ended)}${reason === "" ? "" : html`<br><span class="reason">${reason}</span>`}</dd></div>
</dl>`;
}

const namesPart = (word: string, names: readonly string[]): Html | "" =>
  names.length === 0 ? "" : html`<div><dt>${word}</dt><dd><ul class="plain">${names.map((name) => html`<li class="id">${name}</li>`)}</ul></dd></div>`;

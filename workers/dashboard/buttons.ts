// The buttons of who may write, each a form of its own; what does much at once is asked for twice. And what a pause means to everybody. Where forms lead is forms.ts's. Pure.
import type { Paused } from "../../shared/ledger/cluster-row.ts";
import type { Subject } from "../../shared/subject.ts";
import type { Action, Forms } from "./forms.ts";
import { ACTIONS } from "./forms.ts";
import type { Html, Value } from "./html.ts";
import { html } from "./html.ts";
import { lasting } from "./times.ts";

/** Who reads, and which page it is that a form comes back to. */
export interface Reader extends Forms {
  readonly back: string;
}

export const reconcileButton = (reader: Reader, { cluster, user }: Subject): Value => button(reader, "reconcile", { cluster, user }, "Look now");

export function retryButton(reader: Reader, reason: string, cluster: string): Value {
  const about = html`Looks again at each that fails for this reason, ${cluster === "" ? "on every cluster" : html`on ${cluster}`}, a thousand at a time.`;
  return asked("Retry all of these", about, button(reader, "retry", { reason, cluster }, "Retry"));
}

export function pauseButton(reader: Reader, cluster: string, isPaused: boolean): Value {
  if (isPaused) return button(reader, "resume", { cluster }, "Resume this cluster");
  const about = html`Workers begin nothing on ${cluster} until somebody resumes it. <b>Removals of access wait, too:</b> who has lost a grant keeps it there meanwhile.`;
  return asked("Pause this cluster", about, button(reader, "pause", { cluster }, "Pause"));
}

function button({ csrf, back }: Reader, action: Action, fields: Readonly<Record<string, string>>, label: string): Html | undefined {
  if (csrf === undefined) return undefined;
  const hidden = Object.entries({ ...fields, csrf, back }).map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`);
  return html`<form method="post" action="${ACTIONS[action]}">${hidden}<button type="submit">${label}</button></form>`;
}

/** Opens to what it would do, and to the button that does it. */
const asked = (title: string, about: Html, form: Html | undefined): Value =>
  form && html`<details class="ask"><summary>${title}</summary><p>${about}</p>${form}</details>`;

export const pauseNote = (cluster: string, paused: Paused | undefined, now: number): Value =>
  paused &&
  html`<p class="notice" role="status">${cluster} is paused by ${paused.by} for ${lasting(paused.since, now)}: nothing is begun there until it is resumed.</p>\n`;

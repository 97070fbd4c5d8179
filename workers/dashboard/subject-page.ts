// One subject: how it stands and why, what its user may be and who says so, wanted against seen, and what the last runs did. Pure.
import type { Paused } from "../../shared/ledger/cluster-row.ts";
import type { Explanation } from "../../shared/ledger/explanation.ts";
import { originText } from "../../shared/ledger/explanation.ts";
import type { HistoryEntry } from "../../shared/ledger/history.ts";
import type { SubjectRecord } from "../../shared/ledger/record.ts";
import type { Reader } from "./buttons.ts";
import { pauseNote, reconcileButton } from "./buttons.ts";
import { sinceOf } from "./count.ts";
import type { Html } from "./html.ts";
import { html } from "./html.ts";
import type { Cell } from "./layout.ts";
import { searchPath, section, stateBadge, table } from "./layout.ts";
import { timelinePart } from "./timeline.ts";
import { lasting, moment } from "./times.ts";

export interface SubjectView {
  readonly explanation: Explanation;
  /** Undefined where the ledger has none. */
  readonly record: SubjectRecord | undefined;
  readonly history: readonly HistoryEntry[];
  readonly now: number;
  readonly reader: Reader;
  readonly paused: Paused | undefined;
}

export function subjectPage({ explanation, record, history, now, reader, paused }: SubjectView): Html {
  const { cluster, user, state, why, refused } = explanation;
  return html`<h1><span class="id">${user}</span> on <a class="id" href="${searchPath({ cluster })}">${cluster}</a></h1>
<p>${stateBadge(state)}${record ? html` <span class="quiet">for</span> ${lasting(sinceOf(record, explanation), now)}` : ""}</p>
${pauseNote(cluster, paused, now)}${why.map((text) => html`<p class="reason">${text}</p>\n`)}<div class="actions"><a href="${searchPath({ q: user })}">On every cluster</a>${reconcileButton(reader, { cluster, user })}</div>
${factsPart(explanation, record, now)}
${section("Wanted against seen", ABOUT_NAMES, namesPart(explanation))}
${refused.length === 0 ? "" : section("Left out", "", html`<ul class="plain">${refused.map((text) => html`<li class="reason">${text}</li>`)}</ul>`)}
${section("Bindings", "", bindingsPart(explanation))}
${section("Timeline", "The last runs that wrote something or changed how the subject stands, newest first; kept for 30 days.", timelinePart(history, now))}`;
}
const ABOUT_NAMES = "What the user may be by what is known now, who says so, and whether the last run that ended well saw it on the cluster.";

function factsPart({ next, login, removedAt, generation, observedGeneration }: Explanation, record: SubjectRecord | undefined, now: number): Html {
  const at = (time: string): Html => moment(Date.parse(time), now);
  const facts: [string, Html | string][] = [
    ["Next try", next.at === null ? next.why : html`${at(next.at)}, ${next.why}`],
    ["Generation", `${observedGeneration} of ${generation} settled`],
    ["Last change", moment(record?.changedAt ?? 0, now)],
    ["Last settled", moment(record?.settledAt ?? 0, now)],
  ];
  if (login) facts.push(["Login grant", html`${login.at === null ? "" : html`from ${at(login.at)} `}until ${at(login.ends)}`]);
  if (removedAt !== null) facts.push(["Removed", at(removedAt)]);
  return html`<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

const idOf = (text: string): Html => html`<span class="id">${text}</span>`;

/** Each name with its source. What is still there and no longer wanted stands last. */
function namesPart({ names, differs }: Explanation): Html {
  const wanted = names.map(({ resource, name, from, applied }): Cell[] => [
    resource,
    idOf(name),
    html`<ul class="plain">${from.map((origin) => html`<li>${originText(origin)}</li>`)}</ul>`,
    "yes",
    applied ? "yes" : html`<b>not yet</b>`,
  ]);
  const going = differs.removed.map((text): Cell[] => {
    const space = text.indexOf(" ");
    return [text.slice(0, space), idOf(text.slice(space + 1)), html`<span class="quiet">nobody any more</span>`, html`<b>no</b>`, "yes"];
  });
  if (wanted.length + going.length === 0) return html`<p>No impersonator is to be there, and none is known to be.</p>`;
  return table("Names", ["What", "Name", "From", "Wanted", "Seen"], [...wanted, ...going]);
}

/** Those of the user, and those of groups or everywhere that count while a login does. */
function bindingsPart({ grants, candidates }: Explanation): Html {
  const own = grants.map(({ id, kind, name }): Cell[] => [kind, idOf(name), "the user", idOf(id)]);
  const through = candidates.map((one): Cell[] => {
    const whom = "group" in one ? html`members of ${idOf(one.group)}, after a login` : "holders of a global role, after a login";
    return [one.kind, idOf(one.name), whom, idOf(one.id)];
  });
  if (own.length + through.length === 0) return html`<p>None is known.</p>`;
  return table("Bindings", ["Kind", "Binding", "For", "Known as"], [...own, ...through]);
}

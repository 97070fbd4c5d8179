// What every page has around it, and the small things that look the same everywhere: a state, a link to a subject, a table. Pure.
import type { State } from "../../shared/ledger/status.ts";
import type { Subject } from "../../shared/subject.ts";
import type { Html, Value } from "./html.ts";
import { html } from "./html.ts";

export interface Page {
  readonly title: string;
  /** What stands in the search field. */
  readonly q?: string;
  /** The address of the style sheet. */
  readonly styles: string;
  readonly main: Html;
  /** What was done by the form that led here. */
  readonly notice: string | undefined;
  /** The page is one to search from: the cursor stands in the field. */
  readonly searchFirst?: boolean;
}

export const layout = ({ title, q = "", styles, main, notice, searchFirst = false }: Page): Html => html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${styles}">
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header>
<a class="brand" href="/" accesskey="h">Understudy</a>
<form role="search" action="/" method="get">
<label for="q">User, cluster or group</label>
<input id="q" name="q" type="search" value="${q}" placeholder="u-ada, c-amber, github_org://1" accesskey="s" maxlength="1024"
 autocomplete="off" autocapitalize="none" spellcheck="false"${searchFirst ? html` autofocus` : ""}>
<button type="submit">Search</button>
</form>
<nav aria-label="Pages"><a href="/queues" accesskey="j">Queues</a></nav>
</header>
<main id="main">
${notice === undefined ? "" : html`<p class="notice done" role="status">${notice}</p>\n`}${main}
</main>
</body>
</html>
`;

const MARKS: Readonly<Record<State | "unknown", string>> = { failed: "✕", pending: "…", waiting: "‖", ready: "✓", removed: "–", unknown: "?" };
export const isState = (word: string): word is State => Object.hasOwn(MARKS, word) && word !== "unknown";
export const stateBadge = (state: State | "unknown"): Html =>
  html`<span class="state ${state}"><span aria-hidden="true">${MARKS[state]}</span> ${state}</span>`;

/** In a query, for a user may be called `..`. */
export const subjectPath = ({ cluster, user }: Subject): string => `/subject?${new URLSearchParams({ cluster, user }).toString()}`;

/** `/?cluster=c-amber&state=failed` */
export function searchPath(asked: Readonly<Record<string, string | number | undefined>>): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(asked)) if (value !== undefined && value !== "") query.set(key, String(value));
  return `/?${query.toString()}`;
}

export type Cell = Html | string | number;
/** `columns`: the heads; one that ends in `#` is of numbers. On a phone each cell says its head itself. */
export function table(caption: string, columns: readonly string[], rows: readonly (readonly Cell[])[]): Html {
  const heads = columns.map((column) => ({ name: column.replace(/#$/, ""), of: column.endsWith("#") ? "number" : "text" }));
  const cellOf = (cell: Cell, i: number): Html => html`<td class="${heads[i]!.of}" data-head="${heads[i]!.name}"><div>${cell}</div></td>`;
  return html`<table>
<caption class="unseen">${caption}</caption>
<thead><tr>${heads.map(({ name, of }) => html`<th scope="col" class="${of}">${name}</th>`)}</tr></thead>
<tbody>
${rows.map((cells) => html`<tr>${cells.map(cellOf)}</tr>\n`)}</tbody>
</table>`;
}

export const section = (title: string, about: string, body: Value): Html => html`<section>
<h2>${title}</h2>
${about === "" ? "" : html`<p class="about">${about}</p>\n`}${body}
</section>
`;

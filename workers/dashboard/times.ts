// Times as a person reads them: how long ago, how long still, and the exact one on demand. Pure.
import { inUnit } from "../../shared/duration.ts";
import type { Html } from "./html.ts";
import { html } from "./html.ts";

/** `3 min`, `2 d`; below ten seconds with a decimal, below one in ms. */
export function duration(ms: number): string {
  const { unit, count } = inUnit(ms);
  return `${unit === "s" && count < 10 ? count.toFixed(1) : Math.round(count)} ${unit}`;
}

/** How long something has been so, as `12 min`. `at` and `now` in ms. */
export function lasting(at: number, now: number): Html {
  const exact = new Date(at).toISOString();
  return html`<time datetime="${exact}" title="since ${exact}">${duration(Math.max(0, now - at))}</time>`;
}

/** `3 min ago`, `in 2 d`. `at` and `now` in ms; 0 or less = never. */
export function moment(at: number, now: number): Html {
  if (at <= 0) return html`<span class="quiet">–</span>`;
  const exact = new Date(at).toISOString();
  const away = Math.abs(at - now);
  const words = away < 1_000 ? "now" : at > now ? `in ${duration(away)}` : `${duration(away)} ago`;
  return html`<time datetime="${exact}" title="${exact}">${words}</time>`;
}

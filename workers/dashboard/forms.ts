// The forms that a page may show to its reader, and whether one that comes back was on such a page: a token that is the reader's own, and the browser's word
// for where it was sent from. Also where they lead, and what a page says afterwards.
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { GROUP_MAX } from "../../shared/ledger/ask.ts";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import type { Person } from "./access.ts";

/**
 * Where each form is posted. Hidden in each: `csrf`, and `back`, the page to come back to.
 * `reconcile`: cluster, user. `retry`: reason, cluster (or none: all). `pause` and `resume`: cluster.
 */
export const ACTIONS = { reconcile: "/actions/reconcile", retry: "/actions/retry", pause: "/actions/pause", resume: "/actions/resume" } as const;
export type Action = keyof typeof ACTIONS;
const PATHS: readonly unknown[] = Object.values(ACTIONS);
export const isAction = (path: string | undefined): boolean => PATHS.includes(path);

/** What a page needs to know of its reader. */
export interface Forms {
  readonly name: string;
  /** Undefined: the reader may not write, and sees no form. */
  readonly csrf: string | undefined;
}
export async function formsFor({ name, mayWrite }: Person, ledger: Ledger): Promise<Forms> {
  return { name, csrf: mayWrite ? tokenOf(name, await ledger.formsKey()) : undefined };
}

/** Whether the form was on a page that was made for this person. */
export async function isOwnToken(given: string, { name }: Person, ledger: Ledger): Promise<boolean> {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(tokenOf(name, await ledger.formsKey())));
}
const tokenOf = (name: string, key: string): string => createHmac("sha256", key).update(name).digest("base64url");

/** Whether a page of this dashboard sent it. Browsers leave Sec-Fetch-Site out on plain http; a proxy in front may have changed Host, which only the other one needs. */
export function isFromHere(headers: IncomingHttpHeaders): boolean {
  const site = headers["sec-fetch-site"];
  if (site !== undefined) return site === "same-origin";
  const { origin = "", host = "" } = headers;
  return host !== "" && (origin === `http://${host}` || origin === `https://${host}`);
}

/** A page of ours, with what was done for `noticeOf`; anything else leads to the first page. */
export function backTo(back: string, done: Action, count: number): string {
  const page = URL.canParse(back, HERE) ? new URL(back, HERE) : new URL(HERE);
  const { pathname, searchParams } = page.origin === HERE ? page : new URL(HERE);
  searchParams.set("done", done);
  searchParams.set("count", String(count));
  // Two slashes would begin the name of another host.
  return `${pathname.replace(/^\/+/, "/")}?${searchParams.toString()}`;
}
const HERE = "http://dashboard.invalid";

/** What a page says first when it is come back to; `query`: its own. Texts of ours and a number, because anybody can make a link. */
export function noticeOf(query: Readonly<Record<string, unknown>>): string | undefined {
  const count = Number(query["count"]);
  if (!Number.isSafeInteger(count) || count < 0) return undefined;
  switch (query["done"] as Action) {
    case "reconcile":
      return "It is looked at now.";
    case "retry":
      if (count >= GROUP_MAX) return `${count} people are looked at again, as many as at once: retry for the others.`;
      return count === 1 ? "1 person is looked at again." : `${count} people are looked at again.`;
    case "pause":
      return count === 0 ? "It was paused already." : "It is paused: what runs there ends, and nothing more is begun.";
    case "resume":
      return count === 0 ? "It was not paused." : "It is worked on again.";
    default:
      return undefined;
  }
}

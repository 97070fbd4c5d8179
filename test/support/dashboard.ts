// The dashboard for tests: started on a test's Redis, asked as a browser asks, and its forms sent as a page of it sends them.
import assert from "node:assert/strict";
import { request } from "undici";
import { configFrom } from "../../shared/run/config.ts";
import { openLog } from "../../shared/run/log.ts";
import type { Store } from "../../shared/run/redis.ts";
import { formsFor } from "../../workers/dashboard/forms.ts";
import { startDashboard } from "../../workers/dashboard/server.ts";
import type { TestRedis } from "./redis.ts";

export const PASSWORD = "pass:word-of-olga";
export const USERS = `olga:${PASSWORD},piet:password-of-piet`;
type Texts = Readonly<Record<string, string>>;

/** `lines` gets what it logs. */
export function dashboardOn({ url }: TestRedis, settings: Texts = {}, lines: string[] = []) {
  const read = configFrom({ UNDERSTUDY_REDIS_URL: url, UNDERSTUDY_DASHBOARD_LISTEN: "127.0.0.1:0", ...settings });
  assert.ok("config" in read, JSON.stringify(read));
  return startDashboard(read.config, openLog("debug", {}, { write: (line) => void lines.push(line) }), "1.2.3");
}

export interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly text: string;
}
export async function ask(url: string, method = "GET", headers: Readonly<Record<string, string | string[]>> = {}, body?: string): Promise<Answer> {
  const response = await request(url, { method: method as "GET", headers, ...(body === undefined ? {} : { body }) });
  return { status: response.statusCode, headers: response.headers, text: await response.body.text() };
}
export const basic = (name: string, password: string) => ({ authorization: `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}` });

/** The token that a page would hide in this person's forms. */
export async function tokenOf(name: string, { ledger }: Pick<Store, "ledger">): Promise<string> {
  return (await formsFor({ name, mayWrite: true }, ledger)).csrf!;
}

/** Sends a form as a page of the dashboard does. */
export function send(url: string, path: string, fields: Texts | URLSearchParams, headers: Readonly<Record<string, string | string[]>> = {}): Promise<Answer> {
  const { origin } = new URL(url);
  return ask(
    url + path,
    "POST",
    { "content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin", origin, ...headers },
    new URLSearchParams(fields as Record<string, string>).toString(),
  );
}

// A real Chromium that looks at pages as a person does, and keeps what went wrong on them.
import { after } from "node:test";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { chromium } from "playwright-core";

const QUIET = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"];
/** A loaded machine takes its time. */
const SLOW_MS = 60_000;

/** A window, and what a person would find in its console: errors, blocked content, requests that failed or were refused. */
export interface Window {
  readonly page: Page;
  readonly troubles: string[];
}

/** One Chromium for all tests of a file; each window is a person of its own. */
export async function browserForFile(): Promise<(options?: BrowserContextOptions) => Promise<Window>> {
  const browser: Browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: QUIET, timeout: SLOW_MS });
  after(() => browser.close());
  return async (options = {}) => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    context.setDefaultTimeout(SLOW_MS);
    const page = await context.newPage();
    const troubles: string[] = [];
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") troubles.push(message.text());
    });
    page.on("pageerror", (error) => troubles.push(error.message));
    page.on("requestfailed", (request) => troubles.push(`${request.url()} ${request.failure()?.errorText}`));
    page.on("response", (response) => {
      if (response.status() >= 400) troubles.push(`${response.status()} ${response.url()}`);
    });
    return { page, troubles };
  };
}

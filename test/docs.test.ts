// The documents say what the code says: settings, metrics, "Where is it?", dependencies, commands, sizes.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { SETTINGS } from "../shared/run/config.ts";
import { openMetrics } from "../shared/run/metrics.ts";

const read = (file: string): string => readFileSync(new URL(`../${file}`, import.meta.url), "utf8");
const readme = read("README.md");
const reference = read("docs/reference.md");
const architecture = read("ARCHITECTURE.md");
const manifest = JSON.parse(read("package.json")) as { dependencies: Record<string, string>; scripts: Record<string, string> };
const rows = (text: string, start: RegExp): string[][] =>
  text
    .split("\n")
    .filter((line) => start.test(line))
    .map((line) =>
      line
        .slice(1, -1)
        .split("|")
        .map((cell) => cell.trim()),
    );

test("the reference's table of settings is the code's, because a setting that is not written down is not there", () => {
  const wanted = Object.entries(SETTINGS as Record<string, { fallback?: string; about: string }>).map(([name, { fallback, about }]) => [
    `\`${name}\``,
    fallback ? `\`${fallback}\`` : "",
    about,
  ]);
  assert.deepEqual(rows(reference, /^\| `(UNDERSTUDY_|LOG_LEVEL)/), wanted);
});

test("the reference's table of metrics is the code's, because alerts are written from it", async () => {
  const metrics = (await openMetrics().registry.getMetricsAsJSON()).filter(({ name }) => name.startsWith("understudy_"));
  assert.deepEqual(
    rows(reference, /^\| `understudy_/),
    metrics.map(({ name, help }) => [`\`${name}\``, help]),
  );
});

test('every answer of "Where is it?" is there, because a wrong map is worse than none', () => {
  const answers = rows(architecture, /^\| .*\?\s*\| `/);
  assert.ok(answers.length >= 20, `${answers.length} answers`);
  for (const [question, file, symbols] of answers) {
    const text = read(file!.replaceAll("`", ""));
    for (const symbol of symbols!.split(",")) assert.match(text, new RegExp(`\\b${symbol.replaceAll("`", "").trim()}\\b`), `${question} ${file}: ${symbol}`);
  }
});

test("every file that ARCHITECTURE and CONTRIBUTING name is there", () => {
  for (const text of [architecture, read("CONTRIBUTING.md")]) {
    for (const [, file] of text.matchAll(/`((?:shared|producers|workers|deploy|test)\/[a-z0-9/.-]+\.(?:ts|lua|mjs|sh))`/g))
      assert.ok(existsSync(new URL(`../${file}`, import.meta.url)), file);
  }
});

test("each dependency has its reason in ARCHITECTURE", () => {
  const reasons = /## Dependencies[^\n]*\n([\s\S]*?)\n## /.exec(architecture)![1]!;
  for (const name of Object.keys(manifest.dependencies))
    assert.ok(reasons.includes(name) || (name.startsWith("@bull-board/") && reasons.includes("@bull-board")), name);
});

test("each script and command that the documents name is there", () => {
  const cli = read("deploy/cli.ts");
  const makefile = read("Makefile");
  for (const text of [readme, reference, read("CONTRIBUTING.md")]) {
    for (const [, script] of text.matchAll(/npm run ([a-z:]+)/g)) assert.ok(manifest.scripts[script!], `npm run ${script}`);
    for (const [, target] of text.matchAll(/^make ([a-z-]+)$/gm)) assert.match(makefile, new RegExp(`^${target}:`, "m"), `make ${target}`);
    for (const [, command] of text.matchAll(/npx understudy ([a-z]+)/g)) assert.ok(cli.includes(`"${command}"`), `understudy ${command}`);
  }
});

test("README and ARCHITECTURE fit in 200 lines each, because longer ones are not read", () => {
  for (const text of [readme, architecture]) assert.ok(text.split("\n").length <= 200);
});

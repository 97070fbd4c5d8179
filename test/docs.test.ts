// The documents say what the code says: settings, metrics, "Where is it?", dependencies, commands, sizes.
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { SETTINGS } from "../shared/run/config.ts";
import { openMetrics } from "../shared/run/metrics.ts";
import { understudy } from "./support/command.ts";

// Not its pathname, in which a space is written as %20.
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const read = (file: string): string => readFileSync(new URL(`../${file}`, import.meta.url), "utf8");
const readme = read("README.md");
const reference = read("docs/reference.md");
const operating = read("docs/operating.md");
const architecture = read("ARCHITECTURE.md");
/** What people copy from, by file name. */
const documents = new Map(["README.md", ...globSync("docs/*.md", { cwd: ROOT })].map((file) => [file, read(file)]));
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

const product = globSync(
  ["shared", "producers", "workers", "deploy"].map((folder) => `${folder}/**/*.{ts,lua}`),
  { cwd: ROOT },
)
  .map(read)
  .join("\n");

test("what operating.md quotes is said by the code, because a person looks for the very words", async () => {
  const names = (await openMetrics().registry.getMetricsAsJSON()).map(({ name }) => name);
  // In the first cell that is quoted; the rest of a row are commands and settings.
  for (const cells of rows(operating, /^\| [^|]*`/).concat(rows(operating, /^\| \w+ \| `/))) {
    const quoted = cells.find((cell) => cell.includes("`"))!;
    for (const [, text] of quoted.matchAll(/`([^`]+)`/g))
      for (const part of text!.split("…")) assert.ok(product.includes(part.trim()) || names.includes(part), `"${part}" of: ${cells.join(" | ")}`);
  }
});

test("every error after which a person must act or a job waits, and every line of level error, is in operating.md, because each needs a next step", () => {
  const longest = (text: string): string => text.split(/\$\{[^}]*\}/).toSorted((a, b) => b.length - a.length)[0]!;
  const errors = [...product.matchAll(/new (?:Terminal|Wait)Error\(\s*(?:"([^"]+)"|`([^`]+)`)/g)].map(([, plain, template]) => plain ?? template!);
  assert.ok(errors.length >= 9, String(errors.length));
  for (const text of errors) assert.ok(operating.includes(longest(text).trim().split(/[:;]/)[0]!), text);
  const lines = [...read("shared/run/log.ts").matchAll(/\["error", "([^"]+)"\]/g)].map(([, line]) => line!);
  assert.ok(lines.length >= 10, String(lines.length));
  for (const line of lines) assert.ok(operating.includes(`\`${line}\``), line);
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

test("each script that the documents name is there", () => {
  const makefile = read("Makefile");
  for (const text of [...documents.values(), read("CONTRIBUTING.md")]) {
    for (const [, script] of text.matchAll(/npm run ([a-z:]+)/g)) assert.ok(manifest.scripts[script!], `npm run ${script}`);
    for (const [, target] of text.matchAll(/^make ([a-z-]+)$/gm)) assert.match(makefile, new RegExp(`^${target}:`, "m"), `make ${target}`);
  }
});

test("each command line that the documents name is there, with every option, because people type what they read", async () => {
  // A line ends where the code, the cell or the command does.
  const lines = [...documents].flatMap(([file, text]) => [...text.matchAll(/npx understudy ([a-z]+)([^`|#\n\\]*)/g)].map((match) => [file, ...match] as const));
  assert.ok(lines.length >= 60, String(lines.length));
  const helps = new Map<string, string>();
  for (const command of new Set(lines.map(([, , name]) => name!))) {
    const { code, stdout } = await understudy([command, "--help"]);
    assert.equal(code, 0, `understudy ${command}`);
    assert.match(stdout, new RegExp(`^Usage: understudy ${command} `), `understudy ${command}`);
    helps.set(command, stdout);
  }
  for (const [file, line, command, rest] of lines)
    for (const [option] of rest!.matchAll(/--[a-z-]+/g)) assert.match(helps.get(command!)!, new RegExp(`^ *${option}\\b`, "m"), `${file}: ${line}`);
});

test("what moving back to Rancher deletes is what bootstrap printed, but for the namespace of all impersonators, because whoever goes would leave a right or take people's access along", async () => {
  const { stdout } = await understudy(["bootstrap", "--cluster", "c-one", "--output", "json"]);
  const { items } = JSON.parse(stdout) as { items: { kind: string; metadata: { name: string; namespace?: string } }[] };
  // What lies in the worker's own namespace goes with it.
  const printed = items.filter(({ metadata }) => metadata.namespace !== "understudy-system" && metadata.name !== "cattle-impersonation-system");
  const deleted = [...documents.get("docs/beside-rancher.md")!.matchAll(/^kubectl delete (\S+) ([^\n]+?)(?: -n (\S+))?$/gm)].flatMap(
    ([, kinds, names, namespace]) => kinds!.split(",").flatMap((kind) => names!.split(" ").map((name) => [kind, name, namespace ?? ""].join(" "))),
  );
  assert.deepEqual(deleted.toSorted(), printed.map(({ kind, metadata }) => [kind.toLowerCase(), metadata.name, metadata.namespace ?? ""].join(" ")).toSorted());
});

test("each setting and metric that the documents name is the code's, because an unknown setting is refused and an unknown metric never fires", async () => {
  const metrics = (await openMetrics().registry.getMetricsAsJSON()).map(({ name }) => name);
  for (const [file, text] of documents) {
    for (const [setting] of text.matchAll(/\bUNDERSTUDY_[A-Z][A-Z_]*/g))
      assert.ok(Object.hasOwn(SETTINGS, setting.replace(/_FILE$/, "")), `${file}: ${setting}`);
    for (const [metric] of text.matchAll(/\bunderstudy_[a-z_]+/g)) assert.ok(metrics.includes(metric), `${file}: ${metric}`);
  }
});

test("each file that the documents name or link to is there", () => {
  const here = (path: string): boolean => existsSync(new URL(`../${path}`, import.meta.url));
  for (const [file, text] of documents) {
    for (const [, path] of text.matchAll(/`((?:shared|producers|workers|deploy|test|docs)\/[a-z0-9/.-]+)`/g)) assert.ok(here(path!), `${file}: ${path}`);
    const folder = file.slice(0, file.lastIndexOf("/") + 1);
    for (const [, path] of text.matchAll(/\]\(((?!https?:)[^)#]+)\)/g)) assert.ok(here(`${folder}${path}`), `${file}: ${path}`);
  }
});

test("README fits in 200 lines and ARCHITECTURE in 250, because longer ones are not read", () => {
  assert.ok(readme.split("\n").length <= 200);
  assert.ok(architecture.split("\n").length <= 250);
});

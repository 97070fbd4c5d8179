// The gate for what no linter sums up: how long files and functions usually are, the share of comments, headers, names.
// The longest file and function allowed are rules in .oxlintrc.json.
import { execFileSync } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PRODUCT = ["shared", "producers", "workers", "deploy"];
const FILE_LINES_P90_MAX = 180;
const FUNCTION_LINES_P90_MAX = 25;
const COMMENT_PERCENT = { min: 10, max: 25 };
const HEADER_BELOW_LINES = 20;
/** Names that say nothing: a type, a constant or a helper lives where it is produced. */
const EMPTY_NAMES = new Set(["index", "util", "utils", "helper", "helpers", "common", "type", "types", "constant", "constants"]);

interface Source {
  readonly path: string;
  readonly lines: readonly string[];
}

function sourcesIn(folders: readonly string[]): Source[] {
  const paths = folders.flatMap((folder) => globSync(`${folder}/**/*.{ts,mjs,lua}`)).toSorted();
  return paths.map((path) => ({ path, lines: readFileSync(path, "utf8").trimEnd().split("\n") }));
}

/** Nine of ten are at most this long. */
function p90(lengths: readonly number[]): number {
  return lengths.toSorted((a, b) => a - b)[Math.ceil(lengths.length * 0.9) - 1] ?? 0;
}

/** Lines of every function that has more than one: told to allow none, the linter's own rule reports each with its place. */
function functionLines(folders: readonly string[]): number[] {
  const dir = mkdtempSync(join(tmpdir(), "understudy-sizes-"));
  try {
    const config = join(dir, "oxlintrc.json");
    const rules = { "max-lines-per-function": ["warn", { max: 0, IIFEs: true }] };
    writeFileSync(config, JSON.stringify({ categories: { correctness: "off" }, rules }));
    const oxlint = join(import.meta.dirname, "../../node_modules/oxlint/bin/oxlint");
    const args = [oxlint, "--config", config, "--disable-nested-config", "--format", "json", "--no-error-on-unmatched-pattern", ...folders];
    const text = execFileSync(process.execPath, args, { encoding: "utf8", maxBuffer: 2 ** 28 });
    return (JSON.parse(text) as Report).diagnostics.map(linesOf).filter((lines) => lines > 1);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

interface Report {
  readonly diagnostics: readonly Finding[];
}

interface Finding {
  readonly filename: string;
  /** Offset and length count bytes. */
  readonly labels: readonly [{ readonly span: { readonly offset: number; readonly length: number } }];
}

function linesOf({ filename, labels: [{ span }] }: Finding): number {
  const text = readFileSync(filename).subarray(span.offset, span.offset + span.length);
  return text.toString().split("\n").length;
}

/** Comments in percent of the lines that are not blank; a comment behind code does not count. */
function commentPercent(sources: readonly Source[]): number {
  const lines = sources.flatMap((source) => source.lines).filter((line) => line.trim() !== "");
  return lines.length === 0 ? 0 : (100 * lines.filter(isComment).length) / lines.length;
}

function isComment(line: string): boolean {
  return /^\s*(\/\/|\/\*|\*|--)/.test(line);
}

function problemsOf({ path, lines }: Source): string[] {
  const problems = [];
  const first = lines[0]?.startsWith("#!") ? lines[1] : lines[0];
  if (lines.length < HEADER_BELOW_LINES && !isComment(first ?? "")) {
    problems.push(`${path}: has ${lines.length} lines; open it with a comment that says why it stands alone`);
  }
  const empty = path.split(/[\\/]/).find((part) => EMPTY_NAMES.has(part.split(".")[0] ?? ""));
  if (empty !== undefined) problems.push(`${path}: "${empty}" says nothing; name it after what it owns`);
  for (const [at, line] of lines.entries()) {
    if (/lint-disable|@ts-/.test(line) && !line.includes(" -- ")) problems.push(`${path}:${at + 1}: an exception needs its reason on its line, after " -- "`);
  }
  return problems;
}

function sizesOf(folders: readonly string[]) {
  const files = sourcesIn(folders)
    .filter(({ path }) => !path.endsWith(".lua"))
    .map(({ lines }) => lines.length);
  const functions = functionLines(folders);
  return { files: files.length, fileLinesP90: p90(files), functions: functions.length, functionLinesP90: p90(functions) };
}

const product = sizesOf(PRODUCT);
const comments = commentPercent(sourcesIn(PRODUCT));
const problems = sourcesIn([...PRODUCT, "test"]).flatMap(problemsOf);
if (product.fileLinesP90 > FILE_LINES_P90_MAX) problems.push(`nine of ten files have up to ${product.fileLinesP90} lines: ${FILE_LINES_P90_MAX} at most`);
if (product.functionLinesP90 > FUNCTION_LINES_P90_MAX) {
  problems.push(`nine of ten functions have up to ${product.functionLinesP90} lines: ${FUNCTION_LINES_P90_MAX} at most`);
}
if (comments < COMMENT_PERCENT.min || comments > COMMENT_PERCENT.max) {
  problems.push(`${comments.toFixed(1)} % of the lines are comments: ${COMMENT_PERCENT.min} to ${COMMENT_PERCENT.max} % say why without saying what`);
}
console.log(`product ${JSON.stringify(product)} comments ${comments.toFixed(1)} %`);
console.log(`test    ${JSON.stringify(sizesOf(["test"]))}`);
for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;

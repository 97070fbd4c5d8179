// Takes each promise's protection out once and fails if its test stays green. A patch names its test in its first lines:
//   # file: test/unit/decide/plan.test.ts
//   # test: <a part of the test's name>
//   # out: what is taken out
// Usage: npm run test:mutations [-- NAME …]
import { spawn } from "node:child_process";
import { cp, mkdtemp, readFile, readdir, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = fileURLToPath(new URL(".", import.meta.url));
const TIMEOUT_MS = 300_000;

interface Mutation {
  readonly name: string;
  readonly file: string;
  readonly test: string;
  readonly out: string;
}

async function read(name: string): Promise<Mutation> {
  const text = await readFile(join(folder, name), "utf8");
  const field = (key: string): string => {
    const value = new RegExp(`^# ${key}: (.+)$`, "m").exec(text)?.[1];
    if (value === undefined) throw new Error(`${name} has no line "# ${key}: …"`);
    return value;
  };
  return { name, file: field("file"), test: field("test"), out: field("out") };
}

function run(command: string, args: readonly string[], cwd: string): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, [...args], { cwd, stdio: ["ignore", "pipe", "pipe"], timeout: TIMEOUT_MS });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
    child.once("close", (code) => resolve({ code, output }));
  });
}

/** `red` is what it has to be; anything else is a finding. */
async function judge({ name, file, test }: Mutation): Promise<"red" | "green" | "does not apply" | "no such test"> {
  const copy = await mkdtemp(join(tmpdir(), "understudy-mutation-"));
  try {
    const skip = new Set(["node_modules", ".git", ".understudy"].map((entry) => join(root, entry)));
    await cp(root, copy, { recursive: true, filter: (path) => !skip.has(path) });
    await symlink(join(root, "node_modules"), join(copy, "node_modules"));
    if ((await run("git", ["apply", "--whitespace=nowarn", join(folder, name)], copy)).code !== 0) return "does not apply";
    const pattern = test.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
    const { code, output } = await run(process.execPath, ["--test", "--test-reporter=tap", `--test-name-pattern=${pattern}`, file], copy);
    // The test itself has to fail: a file that cannot be loaded is red as well, and proves nothing.
    if (!new RegExp(`^\\s*(not )?ok \\d+ - .*${pattern}`, "m").test(output)) return "no such test";
    return code !== 0 && new RegExp(`^\\s*not ok \\d+ - .*${pattern}`, "m").test(output) ? "red" : "green";
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

const wanted = process.argv.slice(2);
const names = (await readdir(folder)).filter((name) => name.endsWith(".patch") && (wanted.length === 0 || wanted.some((part) => name.includes(part)))).sort();
let findings = names.length === 0 ? 1 : 0;
for (const mutation of await Promise.all(names.map(read))) {
  const began = performance.now();
  const verdict = await judge(mutation);
  if (verdict !== "red") findings += 1;
  console.log(
    `${verdict === "red" ? "red  " : "FOUND"} ${mutation.name}: without ${mutation.out}, "${mutation.test}" ${verdict === "red" ? "fails" : verdict} (${((performance.now() - began) / 1000).toFixed(1)} s)`,
  );
}
console.log(`${names.length - findings} passed, ${findings} failed`);
process.exitCode = findings > 0 ? 1 : 0;

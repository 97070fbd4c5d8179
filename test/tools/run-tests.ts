// Runs the test files that the globs name in one node --test, whose closing lines sum up everything. A glob without a
// match is an error: node itself would report `tests 0` and exit 0. Arguments with a dash go to node.
import { spawn } from "node:child_process";
import { globSync } from "node:fs";

const given = process.argv.slice(2);
const files = new Set<string>();
for (const glob of given.filter((argument) => !argument.startsWith("-"))) {
  const found = globSync(glob).toSorted();
  if (found.length === 0) {
    console.error(`no test file matches ${glob}`);
    process.exit(1);
  }
  for (const file of found) files.add(file);
}
if (files.size === 0) {
  console.error("usage: run-tests.ts GLOB... [--node-test-option...]");
  process.exit(2);
}

const options = ["--test-timeout=600000", ...given.filter((argument) => argument.startsWith("-"))];
const child = spawn(process.execPath, ["--test", ...options, ...files], { stdio: "inherit" });
// Ctrl-C reaches the child by itself; who ends only this process means the child too.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => child.kill("SIGTERM"));
child.once("exit", (code) => process.exit(code ?? 1));

// The command's first file, by a Node that is too old for the others.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { promisify } from "node:util";
import { CLI } from "../../support/house.ts";

const run = promisify(execFile);
/** This Node, saying that it is another one. */
const as = (version: string): string[] => [
  "--import",
  `data:text/javascript,Object.defineProperty(process, "versions", { value: { ...process.versions, node: "${version}" } })`,
];

for (const version of ["20.20.2", "22.18.0"])
  test(`Node ${version} is told which one is needed, because a stack helps nobody`, async () => {
    await assert.rejects(run(process.execPath, [...as(version), CLI, "--version"]), (error: { code: number; stdout: string; stderr: string }) => {
      assert.deepEqual([error.code, error.stdout], [1, ""]);
      assert.match(error.stderr, /^understudy needs Node 22\.19 or newer, and .+ is \d+\.\d+\.\d+: run `npm ci` once and then `npx understudy`.*\n$/);
      assert.ok(error.stderr.includes(` is ${version}: `));
      return true;
    });
  });

test("the command's first file links on any Node: a name that an old one does not export would end it before its sentence", () => {
  assert.doesNotMatch(readFileSync(CLI, "utf8"), /^\s*import\s*[\w{*"']/m);
});

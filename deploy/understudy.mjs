#!/usr/bin/env node
// The command `understudy`. Plain JavaScript that any Node can read, which imports nothing before it has looked at the Node, so that an old one gets a sentence and not a stack.
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

if (major < 22 || (major === 22 && minor < 19)) {
  console.error(
    `understudy needs Node 22.19 or newer, and ${process.execPath} is ${process.versions.node}: ` +
      "run `npm ci` once and then `npx understudy`, which brings its own Node",
  );
  process.exit(1);
}
if (!process.features.typescript) {
  console.error(`understudy runs TypeScript as it is, and ${process.execPath} ${process.versions.node} does not: use Node 24, and no --no-strip-types`);
  process.exit(1);
}
const { enableCompileCache } = await import("node:module");
// A third of a command's start is compiling, the same each time. Not in Node's usual folder, which is under /tmp for anybody to write. Where this cannot be written, nothing is kept.
enableCompileCache(`${import.meta.dirname}/../node_modules/.cache/node`);
await import("./cli.ts");

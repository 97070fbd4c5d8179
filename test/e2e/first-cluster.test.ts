// docs/first-cluster.md tells the truth: it is typed as it stands there, block by block, on real API servers with the real kubectl, and answered as it stands there.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { stringify } from "yaml";
import { type ApiServer, assets, freePort, startApiServer } from "../apiserver/start.ts";
import { makeRanchers } from "../support/rancher-impersonator.ts";
import { putCrtb, putUser } from "../support/rancher-objects.ts";
import { type TestRedis, startRedis } from "../support/redis.ts";
import { Terminal } from "../support/terminal.ts";
import { waitUntil } from "../support/wait-until.ts";

const PAGE = new URL("../../docs/first-cluster.md", import.meta.url);
const page = readFileSync(PAGE, "utf8");
const SLOW = { deadlineMs: 60_000, everyMs: 500 };

const cleanup = new AsyncDisposableStack();
after(() => cleanup.disposeAsync());
let one: ApiServer;
let rancher: ApiServer;
let redis: TestRedis;
let folder: string;
/** What is another one here than on the page, wherever it stands there. */
let addresses: Readonly<Record<string, string>>;
let env: Readonly<Record<string, string | undefined>>;
before(async () => {
  folder = cleanup.adopt(await mkdtemp(join(tmpdir(), "understudy guide ")), (path) => rm(path, { recursive: true, force: true }));
  [one, rancher] = (await Promise.all(
    [{ name: "c-one" }, { name: "rancher", crds: true }].map(async (options) => cleanup.adopt(await startApiServer(options), (server) => server.stop())),
  )) as [ApiServer, ApiServer];
  redis = cleanup.adopt(await startRedis({ persist: true }), (server) => server.stop());
  await rancher.call("POST", "/api/v1/namespaces", { metadata: { name: "c-one" } });
  for (const user of ["u-bob", "u-cleo"]) {
    await putUser(rancher, user);
    await putCrtb(rancher, "c-one", user, { userName: user });
  }
  const [hook, credentials, proxy] = [await freePort(), await freePort(), await freePort()].map((port) => `127.0.0.1:${port}`) as [string, string, string];
  addresses = {
    "127.0.0.1:8400": hook,
    "127.0.0.1:8403": credentials,
    "127.0.0.1:8404": "127.0.0.1:0",
    "127.0.0.1:8443": proxy,
    "redis://127.0.0.1:6379": redis.url,
  };
  env = {
    ...(await home()),
    UNDERSTUDY_HOOK_LISTEN: hook,
    UNDERSTUDY_DASHBOARD_LISTEN: "127.0.0.1:0",
    UNDERSTUDY_OPS_LISTEN: "127.0.0.1:0",
    PROXY_HOOK: `http://${hook}`,
    PROXY_CREDENTIALS: `http://${credentials}`,
    PROXY_LISTEN: proxy,
  };
});

/** A folder as after `git clone` and `npm ci`, and a home with the administrator's kubeconfig. */
async function home(): Promise<{ PATH: string; HOME: string; KUBECONFIG: string }> {
  const root = join(import.meta.dirname, "../..");
  await symlink(join(root, "deploy"), join(folder, "deploy"));
  const bin = join(folder, "bin");
  await mkdir(bin);
  // What npx does in the clone, without npm's second for each command: our own command, or the pinned node.
  const npx = `#!/bin/sh\ncommand=$1\nshift\ncase $command in understudy) set -- "${join(root, "deploy/understudy.mjs")}" "$@";; node) ;; *) exit 127;; esac\nexec node "$@"\n`;
  await writeFile(join(bin, "npx"), npx);
  await chmod(join(bin, "npx"), 0o755);
  const contexts = { "c-one": one, rancher };
  const each = <T>(of: (server: ApiServer, name: string) => T): (T & { name: string })[] =>
    Object.entries(contexts).map(([name, server]) => ({ name, ...of(server, name) }));
  const kubeconfig = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "c-one",
    clusters: each(({ url, ca }) => ({ cluster: { server: url, "certificate-authority-data": Buffer.from(ca).toString("base64") } })),
    users: each(({ adminToken }) => ({ user: { token: adminToken } })),
    contexts: each((_, name) => ({ context: { cluster: name, user: name } })),
  };
  await writeFile(join(folder, "kubeconfig"), stringify(kubeconfig), { mode: 0o600 });
  const path = [bin, dirname(process.execPath), await assets(), process.env["PATH"]].join(":");
  return { PATH: path, HOME: folder, KUBECONFIG: join(folder, "kubeconfig") };
}

interface Block {
  /** Of the comment above it, or of a comment alone. */
  readonly mark: string;
  readonly info: string;
  readonly text: string;
}
function blocksIn(text: string): Block[] {
  return [...text.matchAll(/^(?:<!-- (.*) -->\n)?(?:```(\w+)\n([\s\S]*?)^```$)|<!-- (Ctrl-C) -->/gm)].map(([, mark = "", info = "", lines = "", alone]) => ({
    mark: alone ?? mark,
    info,
    text: lines,
  }));
}
const here = (text: string): string => Object.entries(addresses).reduce((changed, [shown, real]) => changed.replaceAll(shown, real), text);
/** Words are compared, not the blanks of tables. */
const words = (text: string): string => text.replaceAll(/\s+/g, " ").trim();
const pattern = (shown: string): RegExp =>
  new RegExp(
    `^${words(shown)
      .replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&")
      .replaceAll(/ ?… ?/g, "[^]*?")}$`,
  );
/** Nothing that a test prints holds a token. */
const hidden = (text: string): string => text.replaceAll(/eyJ[\w.-]+|\b[0-9a-f]{64}\b/g, "…");

/** `$ command`, what it says, and `exit N` where that is not 0. */
function callsIn({ text }: Block): { command: string; answer: string; code: number }[] {
  return text
    .split(/^\$ /m)
    .slice(1)
    .map((call) => {
      const [command = "", ...said] = call.trimEnd().split("\n");
      const [, code] = /^exit (\d)$/.exec(said.at(-1) ?? "") ?? [];
      return { command, answer: (code === undefined ? said : said.slice(0, -1)).join("\n"), code: Number(code ?? 0) };
    });
}

/** A reader looks again at what takes a moment, and sends a login again that is under way; whatever else a command changes is typed once. */
async function answered(terminal: Terminal, { command, answer, code }: ReturnType<typeof callsIn>[number]): Promise<void> {
  const again = /^(npx understudy (check|plan|verify)|ada |curl \S+ (-X DELETE )?\S*\/v1\/logins)/.test(command);
  let said = await terminal.type(here(command));
  const asShown = (): boolean => said.code === code && pattern(answer).test(words(said.screen));
  if (again && !asShown())
    await waitUntil(
      `${command} is answered as shown`,
      async () => {
        said = await terminal.type(here(command));
        return asShown();
      },
      SLOW,
    ).catch(() => undefined);
  assert.equal(said.code, code, `${command}\n${hidden(said.screen)}`);
  assert.match(hidden(words(said.screen)), pattern(answer), command);
}

/** In a terminal of its own, when it has said that it runs. */
async function goingOn(lines: string): Promise<Terminal> {
  const other = cleanup.use(new Terminal(folder, env));
  await other.until(here(lines), /^ {2}dashboard {2}|^proxy listens on|"process started"/m);
  return other;
}

test("docs/first-cluster.md, typed from its first line to its last, does what it says, because a stranger has nothing else to go by", async () => {
  const terminal = cleanup.use(new Terminal(folder, env));
  const others: Terminal[] = [];
  const left: string[] = [];
  for (const block of blocksIn(page)) {
    // Cleo has come by Rancher's own proxy, Bob has not come yet.
    if (block.text.includes("--context rancher")) await makeRanchers(one, "u-cleo");
    if (block.mark === "Ctrl-C") for (const other of others.splice(0)) await other.interrupt();
    if (block.mark.startsWith("not run: ")) left.push(...block.text.trim().split("\n"));
    else if (block.mark.startsWith("goes on")) {
      const each = block.mark === "goes on" ? [block.text] : block.text.trim().split("\n");
      for (const lines of each) others.push(await goingOn(lines));
    } else if (block.info === "console") for (const call of callsIn(block)) await answered(terminal, call);
    else if (block.info === "sh") {
      const { code, screen } = await terminal.type(here(block.text));
      assert.equal(code, 0, `${block.text}\n${hidden(screen)}`);
    } else assert.ok(block.mark === "Ctrl-C", `a block that is neither: ${block.text}`);
  }
  assert.deepEqual(
    left.map((line) => line.split(" ")[0]),
    ["git", "npm", "make", "kind"],
    "only what cannot be run here is not",
  );
});

test("after the page's last line nothing of it is left, because that is its promise", async () => {
  const gone = async (server: ApiServer, path: string): Promise<true> =>
    waitUntil(`${path} is gone`, async () => (await server.call("GET", path)).status === 404, SLOW);
  for (const namespace of ["cattle-impersonation-system", "understudy-system", "team-ada"]) await gone(one, `/api/v1/namespaces/${namespace}`);
  // Cleo's is Rancher's own, and is left.
  for (const kind of ["clusterroles", "clusterrolebindings"]) {
    const { body } = await one.call("GET", `/apis/rbac.authorization.k8s.io/v1/${kind}`);
    assert.deepEqual(
      body.items.map(({ metadata }: { metadata: { name: string } }) => metadata.name).filter((name: string) => /understudy|impersonation-/.test(name)),
      ["cattle-impersonation-u-cleo"],
    );
  }
  const { body } = await one.call("GET", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies");
  assert.deepEqual(body.items, []);
  assert.ok(!existsSync(join(folder, "first")));
});

test("the page is short enough to be read, and what it links to is there", () => {
  assert.ok(page.split("\n").length <= 201);
  for (const [, link] of page.matchAll(/\]\(([^)h][^)]*)\)/g)) assert.ok(existsSync(new URL(link!, PAGE)), link);
});

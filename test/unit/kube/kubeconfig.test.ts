// Kubeconfigs: data is taken, and whatever runs, reads or trusts more is refused by name unless a setting allows it.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { accessFrom } from "../../../shared/kube/kubeconfig.ts";

type Allowance = Parameters<typeof accessFrom>[1][number];
const ALLOWANCES: readonly Allowance[] = ["exec", "authProvider", "files", "insecure", "proxy", "http"];
const CA = "-----BEGIN CERTIFICATE-----\nca\n-----END CERTIFICATE-----\n";
const base64 = (text: string): string => Buffer.from(text).toString("base64");

interface Parts {
  readonly cluster?: object;
  readonly user?: object;
  readonly more?: object;
}
/** A kubeconfig with a token, as JSON over many lines, which is YAML as well; `cluster` and `user` are added to it. */
function kubeconfig({ cluster = {}, user = { token: "t0ken" }, more = {} }: Parts = {}): string {
  return JSON.stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "main",
      clusters: [{ name: "c", cluster: { server: "https://10.0.0.1:6443/", "certificate-authority-data": base64(CA), ...cluster } }],
      users: [{ name: "u", user }],
      contexts: [{ name: "main", context: { cluster: "c", user: "u" } }],
      ...more,
    },
    undefined,
    2,
  );
}

const folder = mkdtempSync(join(tmpdir(), "understudy-kubeconfig-"));
after(() => rmSync(folder, { recursive: true }));
function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}
const tokenFile = file("token", "from-a-file");

test("a kubeconfig of nothing but data is taken", async () => {
  const access = accessFrom(kubeconfig(), []);
  assert.deepEqual(
    { server: access.server, tls: access.tls, proxyUrl: access.proxyUrl },
    { server: "https://10.0.0.1:6443", tls: { ca: CA }, proxyUrl: undefined },
  );
  assert.deepEqual(await access.authorize(), { authorization: "Bearer t0ken" });
});

test("a client certificate is data as well", () => {
  const { tls } = accessFrom(
    kubeconfig({ cluster: { "tls-server-name": "api.example.com" }, user: { "client-certificate-data": base64("cert"), "client-key-data": base64("key") } }),
    [],
  );
  assert.deepEqual(tls, { ca: CA, cert: "cert", key: "key", servername: "api.example.com" });
});

test("name and password are data as well", async () => {
  assert.deepEqual(await accessFrom(kubeconfig({ user: { username: "ann", password: "pass:word" } }), []).authorize(), {
    authorization: `Basic ${base64("ann:pass:word")}`,
  });
});

const more: readonly (readonly [what: string, allowance: Allowance, parts: Parts])[] = [
  ["an exec plugin", "exec", { user: { exec: { apiVersion: "client.authentication.k8s.io/v1", command: "/bin/true" } } }],
  ["an authProvider", "authProvider", { user: { "auth-provider": { name: "oidc", config: {} } } }],
  ["a CA file", "files", { cluster: { "certificate-authority-data": undefined, "certificate-authority": file("ca", CA) } }],
  ["a certificate file", "files", { user: { token: "t0ken", "client-certificate": file("cert", "cert") } }],
  ["a key file", "files", { user: { token: "t0ken", "client-key": file("key", "key") } }],
  ["a tokenFile", "files", { user: { tokenFile } }],
  ["a token-file", "files", { user: { "token-file": tokenFile } }],
  ["insecure-skip-tls-verify", "insecure", { cluster: { "insecure-skip-tls-verify": true, "certificate-authority-data": undefined } }],
  ["proxy-url", "proxy", { cluster: { "proxy-url": "http://127.0.0.1:3128" } }],
  ["a server without TLS", "http", { cluster: { server: "http://10.0.0.1:8080" } }],
  ["a server of another protocol", "http", { cluster: { server: "ftp://10.0.0.1" } }],
];
for (const [what, allowance, parts] of more) {
  test(`${what} is refused and answered with the setting that would allow it, because a kubeconfig is code`, () => {
    const others = ALLOWANCES.filter((other) => other !== allowance);
    for (const allow of [[], others])
      assert.throws(() => accessFrom(kubeconfig(parts), allow), new RegExp(`refused \\(UNDERSTUDY_KUBECONFIG_ALLOW=${allowance} would allow it\\)`));
  });

  test(`${what} is taken where ${allowance} is allowed`, () => {
    assert.ok(accessFrom(kubeconfig(parts), [allowance]).server);
  });
}

/** The same kubeconfig as others may write it. */
const spellings: readonly (readonly [how: string, text: (key: string) => string])[] = [
  ["on one line", (key) => JSON.stringify(JSON.parse(kubeconfig({ user: { [key]: tokenFile } })))],
  ["in flow style", (key) => yaml(`{${key}: ${tokenFile}}`)],
  ["in single quotes", (key) => yaml(`\n      '${key}': ${tokenFile}`)],
  ["as an explicit key", (key) => yaml(`\n      ? ${key}\n      : ${tokenFile}`)],
  ["with an escape", (key) => yaml(`{"${key.replace("k", "\\x6b")}": ${tokenFile}}`)],
];
function yaml(user: string): string {
  return `apiVersion: v1\nkind: Config\ncurrent-context: main\nclusters:\n  - name: c\n    cluster: {server: "https://10.0.0.1:6443"}\ncontexts:\n  - name: main\n    context: {cluster: c, user: u}\nusers:\n  - name: u\n    user: ${user}\n`;
}
for (const key of ["tokenFile", "token-file"]) {
  for (const [how, text] of spellings) {
    test(`a ${key} is refused ${how} too, because YAML has many spellings and the file's content would be sent to the server named beside it`, () => {
      assert.throws(() => accessFrom(text(key), []), /UNDERSTUDY_KUBECONFIG_ALLOW=files would allow it/);
    });
  }
}

test("a token file that is refused is not even read, because reading may hang or tell what is there", () => {
  assert.throws(() => accessFrom(kubeconfig({ user: { "token-file": join(folder, "missing") } }), []), /UNDERSTUDY_KUBECONFIG_ALLOW=files would allow it/);
});

test("an allowed tokenFile is what authorizes, or the calls would be anonymous", async () => {
  assert.deepEqual(await accessFrom(kubeconfig({ user: { tokenFile } }), ["files"]).authorize(), { authorization: "Bearer from-a-file" });
});

test("allowed files and an allowed proxy are used", () => {
  const parts = {
    cluster: { "certificate-authority-data": undefined, "certificate-authority": file("ca", CA), "proxy-url": "http://127.0.0.1:3128" },
    user: { "client-certificate": file("cert", "cert"), "client-key": file("key", "key") },
  };
  const access = accessFrom(kubeconfig(parts), ["files", "proxy"]);
  assert.deepEqual([access.tls, access.proxyUrl], [{ ca: CA, cert: "cert", key: "key" }, "http://127.0.0.1:3128"]);
});

test("an allowed insecure server is the only one whose certificate is not checked", () => {
  assert.equal(accessFrom(kubeconfig({ cluster: { "insecure-skip-tls-verify": true } }), ["insecure"]).tls.rejectUnauthorized, false);
  assert.equal(accessFrom(kubeconfig({ cluster: { "insecure-skip-tls-verify": false } }), [...ALLOWANCES]).tls.rejectUnauthorized, undefined);
});

test("everything that is refused is said at once, because a kubeconfig is put right in one go", () => {
  const text = kubeconfig({
    cluster: { server: "http://10.0.0.1", "proxy-url": "http://p", "insecure-skip-tls-verify": true },
    user: { exec: { command: "x" }, tokenFile },
  });
  assert.throws(
    () => accessFrom(text, []),
    (error: Error) => {
      for (const allowance of ["exec", "files", "insecure", "proxy", "http"]) assert.match(error.message, new RegExp(`ALLOW=${allowance} `));
      return true;
    },
  );
});

test("only the current context counts, because the others are not used", () => {
  const text = kubeconfig({
    more: {
      users: [
        { name: "u", user: { token: "t0ken" } },
        { name: "other", user: { exec: { command: "x" } } },
      ],
    },
  });
  assert.equal(accessFrom(text, []).server, "https://10.0.0.1:6443");
});

const broken: readonly (readonly [what: string, text: string, says: RegExp])[] = [
  ["nothing", "", /kubeconfig|current-context/],
  ["a text", "c4nary", /kubeconfig|current-context/],
  ["what is no YAML", "c4nary: [", /cannot be read as a kubeconfig/],
  ["a list", "[c4nary]", /kubeconfig|current-context/],
  ["a number", "7", /kubeconfig|current-context/],
  ["null", "null", /kubeconfig|current-context/],
  ["no current context", kubeconfig({ user: { token: "c4nary" }, more: { "current-context": undefined } }), /current-context "" names no cluster/],
  ["a context that is missing", kubeconfig({ user: { token: "c4nary" }, more: { "current-context": "gone" } }), /current-context "gone" names no cluster/],
  ["a cluster that is missing", kubeconfig({ user: { token: "c4nary" }, more: { clusters: [] } }), /names no cluster/],
  ["a user who is missing", kubeconfig({ user: { token: "c4nary" }, more: { users: [] } }), /names no user/],
  ["a cluster without a server", kubeconfig({ cluster: { server: undefined }, user: { token: "c4nary" } }), /cannot be read as a kubeconfig/],
];
for (const [what, text, says] of broken) {
  test(`a kubeconfig with ${what} says what is missing and nothing of what it holds`, () => {
    assert.throws(
      () => accessFrom(text, [...ALLOWANCES]),
      (error: Error) => {
        assert.match(error.message, says);
        assert.ok(!`${error.message} ${error.stack}`.includes("c4nary"), error.message);
        return true;
      },
    );
  });
}

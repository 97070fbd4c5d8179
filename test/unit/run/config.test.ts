// Settings: every problem at once, each with its setting, and never the value of a secret.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SETTINGS } from "../../../shared/run/config.ts";
import { anyCharacter } from "../../support/builders.ts";
import { type Environment, configOf, problemsOf } from "../../support/config.ts";

test("without any setting the defaults are safe: loopback, strict, no secret, nothing allowed", () => {
  const config = configOf({ PATH: "/bin", HOME: "/root" });
  assert.deepEqual(
    { ...config, dashboardUsers: [...config.dashboardUsers] },
    {
      redisUrl: undefined,
      redisPrefix: "understudy",
      source: "logins",
      managementKubeconfig: undefined,
      clustersDir: undefined,
      clusterSecretsNamespace: undefined,
      hookListen: { host: "127.0.0.1", port: 8400 },
      hookSecrets: [],
      credentialsListen: undefined,
      credentialsSecrets: [],
      forwardAuthUserHeader: undefined,
      tokenMode: "secret",
      dashboardListen: { host: "127.0.0.1", port: 8401 },
      dashboardUsers: [],
      dashboardTrustedHeader: undefined,
      dashboardWrite: [],
      opsListen: { host: "127.0.0.1", port: 8402 },
      profile: "strict",
      facts: "newest",
      install: "understudy",
      adopt: false,
      requireFence: false,
      globalRoles: ["admin"],
      denyPrefixes: ["system:", "kubeadm:", "eks:", "aks:", "gke:", "openshift:"],
      groupsMax: 500,
      removalsMax: 0.2,
      loginGrantMs: 30 * 86_400_000,
      resyncMs: 30 * 60_000,
      readySettleMs: 0,
      kubeconfigAllow: [],
      concurrency: 16,
      logLevel: "info",
    },
  );
});

test("an empty setting is an unset one, because that is how templates leave things out", () => {
  assert.deepEqual(configOf(Object.fromEntries(Object.keys(SETTINGS).map((name) => [name, ""]))), configOf());
});

/** A value that is wrong for each setting that can be wrong. */
const wrong: Environment = {
  UNDERSTUDY_REDIS_URL: "http://redis:6379",
  UNDERSTUDY_REDIS_PREFIX: "a:b",
  UNDERSTUDY_SOURCE: "ldap",
  UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE: "Fleet/one",
  UNDERSTUDY_HOOK_LISTEN: "8400",
  UNDERSTUDY_HOOK_SECRETS: "short",
  UNDERSTUDY_DASHBOARD_LISTEN: "localhost:99999",
  UNDERSTUDY_DASHBOARD_USERS: "admin",
  UNDERSTUDY_DASHBOARD_TRUSTED_HEADER: "X User",
  UNDERSTUDY_DASHBOARD_WRITE: "olga",
  UNDERSTUDY_OPS_LISTEN: "::1:8402",
  UNDERSTUDY_PROFILE: "loose",
  UNDERSTUDY_FACTS: "oldest",
  UNDERSTUDY_INSTALL: "My_Install",
  UNDERSTUDY_GROUPS_MAX: "0",
  UNDERSTUDY_REMOVALS_MAX: "20",
  UNDERSTUDY_LOGIN_GRANT: "30",
  UNDERSTUDY_RESYNC: "often",
  UNDERSTUDY_READY_SETTLE: "1h",
  UNDERSTUDY_KUBECONFIG_ALLOW: "exec,everything",
  UNDERSTUDY_CONCURRENCY: "1.5",
  UNDERSTUDY_TOKEN_MODE: "both",
  UNDERSTUDY_ADOPT: "yes",
  UNDERSTUDY_REQUIRE_FENCE: "yes",
  UNDERSTUDY_CREDENTIALS_LISTEN: "8403",
  UNDERSTUDY_CREDENTIALS_SECRETS: "short too",
  UNDERSTUDY_FORWARD_AUTH_USER_HEADER: "Authorization",
  LOG_LEVEL: "loud",
};
/** Any text will do for these. */
const free = ["UNDERSTUDY_MANAGEMENT_KUBECONFIG", "UNDERSTUDY_CLUSTERS_DIR", "UNDERSTUDY_GLOBAL_ROLES", "UNDERSTUDY_DENY_PREFIXES"];

test("each setting that can be wrong is tried here, so that this file keeps up with the product", () => {
  assert.deepEqual([...Object.keys(wrong), ...free].sort(), Object.keys(SETTINGS).sort());
});

for (const [name, value] of Object.entries(wrong)) {
  test(`${name}=${value} is refused in one line with its name, because a wrong setting must not become a default`, () => {
    const problems = problemsOf({ [name]: value });
    assert.equal(problems.length, 1, problems.join("; "));
    assert.match(problems[0]!, new RegExp(`^${name}: \\S`));
  });
}

test("all wrong settings are reported at once, because nobody wants to start a process twenty times", () => {
  const problems = problemsOf({ ...wrong, UNDERSTUDY_NONSENSE: "1" });
  for (const name of [...Object.keys(wrong), "UNDERSTUDY_NONSENSE"])
    assert.ok(
      problems.some((problem) => problem.startsWith(`${name}: `)),
      name,
    );
});

test("a source without its kubeconfig is reported together with all the rest", () => {
  assert.match(problemsOf({ UNDERSTUDY_SOURCE: "rancher" }).join("; "), /^UNDERSTUDY_SOURCE: rancher needs UNDERSTUDY_MANAGEMENT_KUBECONFIG$/);
  const problems = problemsOf({ UNDERSTUDY_SOURCE: "rancher", UNDERSTUDY_GROUPS_MAX: "many" });
  for (const name of ["UNDERSTUDY_GROUPS_MAX", "UNDERSTUDY_SOURCE"])
    assert.ok(
      problems.some((problem) => problem.startsWith(`${name}: `)),
      `${name} in ${problems.join("; ")}`,
    );
});

test("no problem repeats a value, because values are secrets and problems are logged", () => {
  const canary = "hunter2canary";
  for (const name of Object.keys(SETTINGS)) {
    for (const value of [canary, `${canary}:x`, `a:${canary},${canary}`, `redis://:${canary}@redis:6379 `]) {
      for (const problem of problemsOf({ [name]: value })) assert.ok(!problem.includes(canary), problem);
    }
  }
  assert.ok(!problemsOf({ UNDERSTUDY_HOOK_SECRT: canary }).join().includes(canary));
});

const misspelt: readonly (readonly [given: string, nearest: string])[] = [
  ["UNDERSTUDY_HOOK_SECRET", "UNDERSTUDY_HOOK_SECRETS"],
  ["UNDERSTUDY_REDIS_URI", "UNDERSTUDY_REDIS_URL"],
  ["UNDERSTUDY_CLUSTER_DIR", "UNDERSTUDY_CLUSTERS_DIR"],
  ["UNDERSTUDY_HOOK_SECRET_FILE", "UNDERSTUDY_HOOK_SECRETS"],
  ["UNDERSTUDY_GROUP_MAX", "UNDERSTUDY_GROUPS_MAX"],
  ["UNDERSTUDY_", "UNDERSTUDY_FACTS"],
];
for (const [given, nearest] of misspelt) {
  test(`${given} is refused and answered with a known name, because a misspelt setting would be a silent default`, () => {
    const [problem, ...more] = problemsOf({ [given]: "x" });
    assert.deepEqual(more, []);
    assert.match(problem!, given === "UNDERSTUDY_" ? /^UNDERSTUDY_: .*nearest is (UNDERSTUDY|LOG)_/ : new RegExp(`^${given}: .*nearest is ${nearest}$`));
  });
}

test("a setting's name with _FILE is a known one, because mounted secrets are read from files", () => {
  assert.deepEqual(problemsOf({ UNDERSTUDY_HOOK_SECRETS_FILE: "/run/secrets/hook", UNDERSTUDY_REDIS_URL_FILE: "/run/secrets/redis" }), []);
});

test("variables of others are ignored, because an environment is shared", () => {
  assert.deepEqual(problemsOf({ UNDERSTUDYX: "1", KUBECONFIG: "/x", understudy_hook_listen: "1" }), []);
});

const durations: readonly (readonly [text: string, ms: number])[] = [
  ["1s", 1000],
  ["90s", 90_000],
  ["30m", 1_800_000],
  ["1.5h", 5_400_000],
  ["30d", 2_592_000_000],
  ["1000ms", 1000],
];
for (const [text, ms] of durations)
  test(`a login grant of ${text} is ${ms} ms`, () => assert.equal(configOf({ UNDERSTUDY_LOGIN_GRANT: text }).loginGrantMs, ms));
for (const text of ["30", "-1d", "1 d", "1w", "d", "1d1h", "1e3s", "Infinity", `${"9".repeat(400)}d`, "0", "999ms", "0x10s", "٣d"]) {
  test(`a login grant of ${text.slice(0, 12)} is refused, because it is no duration or none to live with`, () =>
    assert.match(problemsOf({ UNDERSTUDY_LOGIN_GRANT: text }).join(), /^UNDERSTUDY_LOGIN_GRANT: \S/));
}
test("no wait before ready is 0 or a short duration, because a proxy waits for it", () => {
  assert.deepEqual(
    ["0", "0s", "250ms", "10s"].map((text) => configOf({ UNDERSTUDY_READY_SETTLE: text }).readySettleMs),
    [0, 0, 250, 10_000],
  );
});

const listens: readonly (readonly [text: string, host: string, port: number])[] = [
  ["127.0.0.1:8400", "127.0.0.1", 8400],
  ["0.0.0.0:0", "0.0.0.0", 0],
  ["localhost:65535", "localhost", 65535],
  ["[::]:8400", "::", 8400],
  ["[::1]:8400", "::1", 8400],
  ["[fe80::1]:1", "fe80::1", 1],
  ["hook.example.com:443", "hook.example.com", 443],
];
for (const [text, host, port] of listens)
  test(`${text} listens on ${host}, port ${port}`, () => assert.deepEqual(configOf({ UNDERSTUDY_HOOK_LISTEN: text }).hookListen, { host, port }));
for (const text of [
  "8400",
  ":8400",
  "127.0.0.1",
  "127.0.0.1:",
  "127.0.0.1:65536",
  "127.0.0.1:-1",
  "::1:8400",
  "[::1]",
  "[::1:8400",
  "http://127.0.0.1:8400",
  "a b:1",
  "127.0.0.1:8400 ",
]) {
  test(`${JSON.stringify(text)} is no address to listen on`, () =>
    assert.match(problemsOf({ UNDERSTUDY_OPS_LISTEN: text }).join(), /^UNDERSTUDY_OPS_LISTEN: .*host:port/));
}

test("lists are split at commas and trimmed, so that secrets can be rotated", () => {
  const config = configOf({
    UNDERSTUDY_HOOK_SECRETS: " whsec_0123456789abcdef, ,fedcba9876543210 ,",
    UNDERSTUDY_GLOBAL_ROLES: "admin,restricted-admin",
    UNDERSTUDY_KUBECONFIG_ALLOW: "exec, files",
    UNDERSTUDY_DENY_PREFIXES: "system:,corp:",
  });
  assert.deepEqual(config.hookSecrets, ["whsec_0123456789abcdef", "fedcba9876543210"]);
  assert.deepEqual(
    [config.globalRoles, config.kubeconfigAllow, config.denyPrefixes],
    [
      ["admin", "restricted-admin"],
      ["exec", "files"],
      ["system:", "corp:"],
    ],
  );
});

test("a dashboard's user has a name and a password that may have colons", () => {
  assert.deepEqual(
    [...configOf({ UNDERSTUDY_DASHBOARD_USERS: "ann:pass:word1,bob:12345678" }).dashboardUsers],
    [
      ["ann", "pass:word1"],
      ["bob", "12345678"],
    ],
  );
  for (const users of ["ann", ":12345678", "ann:1234567", "ann:", "ann:12345678,bob"])
    assert.match(problemsOf({ UNDERSTUDY_DASHBOARD_USERS: users }).join(), /^UNDERSTUDY_DASHBOARD_USERS: /, users);
});

test("who may write on the dashboard has to be somebody there, because a misspelt name would be noticed when it is needed", () => {
  const users = { UNDERSTUDY_DASHBOARD_USERS: "olga:12345678,piet:12345678" };
  const header = { UNDERSTUDY_DASHBOARD_TRUSTED_HEADER: "X-User" };
  assert.deepEqual(configOf({ ...users, UNDERSTUDY_DASHBOARD_WRITE: "olga, piet" }).dashboardWrite, ["olga", "piet"]);
  assert.deepEqual(configOf({ ...header, UNDERSTUDY_DASHBOARD_WRITE: "zoe" }).dashboardTrustedHeader, "x-user");
  assert.deepEqual(configOf({ UNDERSTUDY_DASHBOARD_WRITE: "*" }).dashboardWrite, ["*"]);
  assert.match(problemsOf({ ...users, UNDERSTUDY_DASHBOARD_WRITE: "olga,zoe" }).join(), /^UNDERSTUDY_DASHBOARD_WRITE: each name has to be one of/);
  assert.match(problemsOf({ UNDERSTUDY_DASHBOARD_WRITE: "olga" }).join(), /^UNDERSTUDY_DASHBOARD_WRITE: names need/);
  assert.match(problemsOf({ ...users, ...header }).join(), /^UNDERSTUDY_DASHBOARD_TRUSTED_HEADER: set it or UNDERSTUDY_DASHBOARD_USERS, not both$/);
});

test("the source is rancher where a management kubeconfig is given, and what is said where it is said", () => {
  assert.equal(configOf({ UNDERSTUDY_MANAGEMENT_KUBECONFIG: "/m.yaml" }).source, "rancher");
  assert.equal(configOf({ UNDERSTUDY_MANAGEMENT_KUBECONFIG: "/m.yaml", UNDERSTUDY_SOURCE: "logins" }).source, "logins");
});

test("numbers have bounds, because a zero or a billion would be a typing error", () => {
  assert.deepEqual(
    [
      configOf({ UNDERSTUDY_REMOVALS_MAX: "0%" }).removalsMax,
      configOf({ UNDERSTUDY_REMOVALS_MAX: "100%" }).removalsMax,
      configOf({ UNDERSTUDY_GROUPS_MAX: "5000" }).groupsMax,
    ],
    [0, 1, 5000],
  );
  for (const [name, value] of [
    ["UNDERSTUDY_REMOVALS_MAX", "101%"],
    ["UNDERSTUDY_REMOVALS_MAX", "-1%"],
    ["UNDERSTUDY_GROUPS_MAX", "5001"],
    ["UNDERSTUDY_CONCURRENCY", "0"],
    ["UNDERSTUDY_CONCURRENCY", "1e2"],
  ] as const) {
    assert.match(problemsOf({ [name]: value }).join(), new RegExp(`^${name}: `), value);
  }
});

test("any environment is answered, never thrown at, because the answer is what people read", () => {
  const anyEnvironment = fc.dictionary(fc.constantFrom(...Object.keys(SETTINGS), "UNDERSTUDY_X", "PATH"), fc.string({ unit: anyCharacter, maxLength: 20 }), {
    maxKeys: 6,
  });
  fc.assert(
    fc.property(anyEnvironment, (environment) => {
      for (const problem of problemsOf(environment)) assert.match(problem, /^(UNDERSTUDY_\w*|LOG_LEVEL): [^\n]+$/);
    }),
  );
});

// Environment → Config, or every problem at once. Pure: reading the environment and `NAME_FILE` files is deploy/cli.ts's.
import { z } from "zod";
import type { Profile } from "../decide/rules.ts";
import { DEFAULT_DENY_PREFIXES } from "../subject.ts";
import { conflictsIn } from "./setting-conflicts.ts";
import type { Listen } from "./setting-values.ts";
import { UNITS, duration, headerName, list, listen, listenOrOff, nearestTo, percent, secrets, users, whole } from "./setting-values.ts";

/** What a kubeconfig may use besides data. */
const ALLOWANCES = ["exec", "authProvider", "files", "insecure", "proxy", "http"] as const;
export type Allowance = (typeof ALLOWANCES)[number];

/** All settings of all processes; each ignores what is not its own. Durations in ms, shares from 0 to 1. */
export interface Config {
  readonly redisUrl: string | undefined;
  readonly redisPrefix: string;
  readonly source: "rancher" | "logins";
  readonly managementKubeconfig: string | undefined;
  readonly clustersDir: string | undefined;
  readonly clusterSecretsNamespace: string | undefined;
  readonly hookListen: Listen;
  readonly hookSecrets: readonly string[];
  /** undefined: there is no credentials listener. */
  readonly credentialsListen: Listen | undefined;
  readonly credentialsSecrets: readonly string[];
  /** In lower case; undefined: no forward authentication. */
  readonly forwardAuthUserHeader: string | undefined;
  readonly tokenMode: "secret" | "request";
  readonly dashboardListen: Listen;
  readonly dashboardUsers: ReadonlyMap<string, string>;
  /** In lower case; undefined: no auth proxy stands before the dashboard. */
  readonly dashboardTrustedHeader: string | undefined;
  /** Who may write, by name; `*` is everybody who may look. Empty: nobody. */
  readonly dashboardWrite: readonly string[];
  readonly opsListen: Listen;
  readonly profile: Profile;
  readonly facts: "newest" | "userattribute";
  readonly install: string;
  /** Rancher's own objects become ours. */
  readonly adopt: boolean;
  /** Workers leave a cluster alone whose admission policy does not hold them back. */
  readonly requireFence: boolean;
  readonly globalRoles: readonly string[];
  readonly denyPrefixes: readonly string[];
  readonly groupsMax: number;
  readonly removalsMax: number;
  readonly loginGrantMs: number;
  readonly resyncMs: number;
  readonly readySettleMs: number;
  readonly kubeconfigAllow: readonly Allowance[];
  readonly concurrency: number;
  readonly logLevel: string;
}

/** Said by whatever works on clusters, where neither setting that brings them is there. */
export const NO_CLUSTERS =
  "UNDERSTUDY_CLUSTERS_DIR: set it to a folder with one kubeconfig for each cluster, or UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE to a namespace of the management cluster with a Secret for each";

/** Setting → its schema, what stands in while it is unset, and a line of documentation; docs/reference.md's table is this one (test/docs.test.ts). */
export const SETTINGS = {
  UNDERSTUDY_REDIS_URL: {
    schema: z
      .string()
      .regex(/^(redis|rediss|unix):\/\/\S+$/, "write redis://host:6379, rediss://… or unix:///path/redis.sock")
      .optional(),
    about: "the Redis that holds ledger and queues; `dev` starts its own without it",
  },
  UNDERSTUDY_REDIS_PREFIX: {
    schema: z.string().regex(/^[A-Za-z0-9_-]{1,32}$/, "up to 32 letters, digits, - or _"),
    fallback: "understudy",
    about: "prefix of every Redis key",
  },
  UNDERSTUDY_SOURCE: {
    schema: z.enum(["rancher", "logins"]).optional(),
    about: "where grants come from; `rancher` when a management kubeconfig is given, else `logins`",
  },
  UNDERSTUDY_MANAGEMENT_KUBECONFIG: { schema: z.string().min(1).optional(), about: "path of the management cluster's kubeconfig" },
  UNDERSTUDY_CLUSTERS_DIR: {
    schema: z.string().min(1).optional(),
    about: "folder of kubeconfigs, one a downstream cluster; the file name is its id; followed while running",
  },
  UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE: {
    schema: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "up to 63 lower case letters, digits or -")
      .optional(),
    about: "namespace on the management cluster of labelled Secrets with a kubeconfig each, beside the folder or instead; the name is the id; followed as well",
  },
  UNDERSTUDY_HOOK_LISTEN: { schema: z.string().transform(listen), fallback: "127.0.0.1:8400", about: "address of the login hook (producer)" },
  UNDERSTUDY_HOOK_SECRETS: { schema: secrets, fallback: "", about: "secrets of the login hook, a comma list for rotation; `whsec_<base64>` or plain text" },
  UNDERSTUDY_CREDENTIALS_LISTEN: {
    schema: z.string().transform(listenOrOff),
    fallback: "off",
    about: "address of the credentials listener (producer): `POST /v1/credentials`, `GET /v1/forward-auth`, `GET /v1/revocations`",
  },
  UNDERSTUDY_CREDENTIALS_SECRETS: { schema: secrets, fallback: "", about: "bearer secrets of the credentials listener, none of them the hook's" },
  UNDERSTUDY_FORWARD_AUTH_USER_HEADER: {
    schema: z.string().transform(headerName).optional(),
    about: "header in which a proxy names the person to `/v1/forward-auth`",
  },
  UNDERSTUDY_TOKEN_MODE: {
    schema: z.enum(["secret", "request"]),
    fallback: "secret",
    about: "`secret`: a token Secret each, as Rancher does; `request`: tokens of an hour by TokenRequest, in no Secret",
  },
  UNDERSTUDY_DASHBOARD_LISTEN: { schema: z.string().transform(listen), fallback: "127.0.0.1:8401", about: "address of the dashboard" },
  UNDERSTUDY_DASHBOARD_USERS: { schema: users, fallback: "", about: "`name:password` pairs; needed unless the dashboard listens on loopback" },
  UNDERSTUDY_DASHBOARD_TRUSTED_HEADER: {
    schema: z.string().transform(headerName).optional(),
    about: "instead of users: header in which an auth proxy names the person; nobody but that proxy may reach the dashboard then",
  },
  UNDERSTUDY_DASHBOARD_WRITE: {
    schema: list,
    fallback: "",
    about: "names that may reconcile, retry and pause there, a comma list, or `*` for everybody who may look; without it the dashboard is read-only",
  },
  UNDERSTUDY_OPS_LISTEN: { schema: z.string().transform(listen), fallback: "127.0.0.1:8402", about: "address of `/livez`, `/readyz` and `/metrics`" },
  UNDERSTUDY_PROFILE: {
    schema: z.enum(["strict", "rancher"]),
    fallback: "strict",
    about: "`rancher` adds the two extras that Rancher's own proxy sends, with any value",
  },
  UNDERSTUDY_FACTS: { schema: z.enum(["newest", "userattribute"]), fallback: "newest", about: "`userattribute` ignores groups and extras of logins" },
  UNDERSTUDY_INSTALL: {
    schema: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/, "up to 32 lower case letters, digits or -"),
    fallback: "understudy",
    about: "whose the objects are, where several installations share a cluster",
  },
  UNDERSTUDY_GLOBAL_ROLES: { schema: list, fallback: "admin", about: "global roles whose holders get an impersonator at login on every cluster" },
  UNDERSTUDY_DENY_PREFIXES: {
    schema: list.transform((prefixes) => [...new Set(["system:", ...prefixes])]),
    fallback: DEFAULT_DENY_PREFIXES.join(","),
    about: "user ids and groups with these prefixes are refused",
  },
  UNDERSTUDY_GROUPS_MAX: { schema: whole(1, 5000), fallback: "500", about: "more groups than this are refused, never cut off" },
  UNDERSTUDY_REMOVALS_MAX: { schema: percent, fallback: "20%", about: "share of a cluster's subjects that one import or resync may remove" },
  UNDERSTUDY_LOGIN_GRANT: {
    schema: z
      .string()
      .transform(duration)
      .pipe(
        z
          .number()
          .min(1000, "at least 1s")
          .max(3650 * UNITS["d"]!, "at most 3650d"),
      ),
    fallback: "30d",
    about: "how long a login keeps an impersonator that has no binding of its own",
  },
  UNDERSTUDY_RESYNC: {
    schema: z.string().transform(duration).pipe(z.number().min(1000, "at least 1s")),
    fallback: "30m",
    about: "how often each cluster is compared with the ledger",
  },
  UNDERSTUDY_READY_SETTLE: {
    schema: z.string().transform(duration).pipe(z.number().max(10_000, "at most 10s")),
    fallback: "0",
    about: "extra wait before `ready`; 250ms behind several API servers",
  },
  UNDERSTUDY_KUBECONFIG_ALLOW: {
    schema: list.pipe(z.array(z.enum(ALLOWANCES, `one of ${ALLOWANCES.join(", ")}`))),
    fallback: "",
    about: "what kubeconfigs may use besides data: exec, authProvider, files, insecure, proxy, http",
  },
  UNDERSTUDY_CONCURRENCY: { schema: whole(1, 1000), fallback: "16", about: "subjects that one worker process works on at once, in each queue" },
  UNDERSTUDY_ADOPT: {
    schema: z.enum(["true", "false"]),
    fallback: "false",
    about:
      "`true` takes over impersonators that Rancher made, as they stand (same objects, same token); wider ones wait, with the reason. Else all are left alone",
  },
  UNDERSTUDY_REQUIRE_FENCE: {
    schema: z.enum(["true", "false"]),
    fallback: "false",
    about: "`true` writes nothing on a cluster where the fence of `bootstrap` is not on; its subjects wait",
  },
  LOG_LEVEL: { schema: z.enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"]), fallback: "info", about: "pino's level; logs go to stderr" },
} as const satisfies Record<string, { schema: z.ZodType; fallback?: string; about: string }>;
type Name = keyof typeof SETTINGS;
const NAMES = Object.keys(SETTINGS) as Name[];
type Shape = { [N in Name]: (typeof SETTINGS)[N]["schema"] };

/** @returns the config, or every problem, each with its setting and the fix. Ignores variables that are not ours. */
export function configFrom(environment: Readonly<Record<string, string | undefined>>): { config: Config } | { problems: string[] } {
  const problems = unknownNames(environment);
  const given: Record<string, string> = {};
  for (const name of NAMES) {
    const setting: { schema: z.ZodType; fallback?: string } = SETTINGS[name];
    const value = environment[name] || setting.fallback;
    if (value !== undefined) given[name] = value;
  }
  problems.push(...conflictsIn(given, (name) => SETTINGS[name].schema.safeParse(given[name]).data));
  const shape = Object.fromEntries(NAMES.map((name) => [name, SETTINGS[name].schema])) as Shape;
  const parsed = z.object(shape).safeParse(given);
  if (!parsed.success) problems.push(...parsed.error.issues.map((issue) => `${String(issue.path[0])}: ${issue.message}`));
  if (!parsed.success || problems.length > 0) return { problems: [...new Set(problems)] };
  return { config: configOf(parsed.data) };
}

function configOf(s: z.output<z.ZodObject<Shape>>): Config {
  return {
    redisUrl: s.UNDERSTUDY_REDIS_URL,
    redisPrefix: s.UNDERSTUDY_REDIS_PREFIX,
    source: s.UNDERSTUDY_SOURCE ?? (s.UNDERSTUDY_MANAGEMENT_KUBECONFIG ? "rancher" : "logins"),
    managementKubeconfig: s.UNDERSTUDY_MANAGEMENT_KUBECONFIG,
    clustersDir: s.UNDERSTUDY_CLUSTERS_DIR,
    clusterSecretsNamespace: s.UNDERSTUDY_CLUSTER_SECRETS_NAMESPACE,
    hookListen: s.UNDERSTUDY_HOOK_LISTEN,
    hookSecrets: s.UNDERSTUDY_HOOK_SECRETS,
    credentialsListen: s.UNDERSTUDY_CREDENTIALS_LISTEN,
    credentialsSecrets: s.UNDERSTUDY_CREDENTIALS_SECRETS,
    forwardAuthUserHeader: s.UNDERSTUDY_FORWARD_AUTH_USER_HEADER,
    tokenMode: s.UNDERSTUDY_TOKEN_MODE,
    dashboardListen: s.UNDERSTUDY_DASHBOARD_LISTEN,
    dashboardUsers: s.UNDERSTUDY_DASHBOARD_USERS,
    dashboardTrustedHeader: s.UNDERSTUDY_DASHBOARD_TRUSTED_HEADER,
    dashboardWrite: s.UNDERSTUDY_DASHBOARD_WRITE,
    opsListen: s.UNDERSTUDY_OPS_LISTEN,
    profile: s.UNDERSTUDY_PROFILE,
    facts: s.UNDERSTUDY_FACTS,
    install: s.UNDERSTUDY_INSTALL,
    adopt: s.UNDERSTUDY_ADOPT === "true",
    requireFence: s.UNDERSTUDY_REQUIRE_FENCE === "true",
    globalRoles: s.UNDERSTUDY_GLOBAL_ROLES,
    denyPrefixes: s.UNDERSTUDY_DENY_PREFIXES,
    groupsMax: s.UNDERSTUDY_GROUPS_MAX,
    removalsMax: s.UNDERSTUDY_REMOVALS_MAX,
    loginGrantMs: s.UNDERSTUDY_LOGIN_GRANT,
    resyncMs: s.UNDERSTUDY_RESYNC,
    readySettleMs: s.UNDERSTUDY_READY_SETTLE,
    kubeconfigAllow: s.UNDERSTUDY_KUBECONFIG_ALLOW,
    concurrency: s.UNDERSTUDY_CONCURRENCY,
    logLevel: s.LOG_LEVEL,
  };
}

/** A misspelt setting would be a silent default. */
function unknownNames(environment: Readonly<Record<string, string | undefined>>): string[] {
  return Object.keys(environment)
    .filter((name) => name.startsWith("UNDERSTUDY_") && !NAMES.includes(name as Name) && !NAMES.includes(name.replace(/_FILE$/, "") as Name))
    .map((name) => `${name}: there is no such setting; the nearest is ${nearestTo(name, NAMES)}`);
}

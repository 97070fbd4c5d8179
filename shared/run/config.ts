// Environment → Config, or every problem at once. Pure: reading the environment and `NAME_FILE` files is deploy/cli.ts's.
import { z } from "zod";
import type { Profile } from "../decide/rules.ts";
import { DEFAULT_DENY_PREFIXES } from "../subject.ts";

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
  readonly hookListen: Listen;
  readonly hookSecrets: readonly string[];
  readonly dashboardListen: Listen;
  readonly dashboardUsers: ReadonlyMap<string, string>;
  readonly opsListen: Listen;
  readonly profile: Profile;
  readonly facts: "newest" | "userattribute";
  readonly install: string;
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
export interface Listen {
  readonly host: string;
  readonly port: number;
}

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const duration = (text: string, context: z.core.$RefinementCtx): number => {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  if (match) return Number(match[1]) * UNITS[match[2]!]!;
  if (text === "0") return 0;
  context.addIssue("write a duration such as 90s, 30m or 30d");
  return z.NEVER;
};
const listen = (text: string, context: z.core.$RefinementCtx): Listen => {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text);
  if (match && Number(match[3]) <= 65535) return { host: match[1] ?? match[2]!, port: Number(match[3]) };
  context.addIssue("write host:port, such as 127.0.0.1:8400 or [::]:8400");
  return z.NEVER;
};
const listOf = (text: string): string[] =>
  text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
const list = z.string().transform(listOf);
const percent = z
  .string()
  .regex(/^([1-9]?\d|100)%$/, "write a percentage such as 20%")
  .transform((text) => Number(text.slice(0, -1)) / 100);
const whole = (min: number, max: number) => z.string().regex(/^\d+$/, "write a whole number").transform(Number).pipe(z.number().min(min).max(max));
const laterOnly = (only: string) =>
  z
    .string()
    .refine((text) => text === only || text === "", `this version knows only ${only === "" ? "leaving it unset" : only}`)
    .optional();
const secrets = list.pipe(
  z.array(
    z
      .string()
      .min(16, "each secret needs at least 16 characters: openssl rand -base64 32")
      .regex(/^(?!whsec_)|^whsec_([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/, "what follows whsec_ is base64"),
  ),
);
const users = list.transform((pairs, context) => {
  const found = new Map<string, string>();
  for (const pair of pairs) {
    const colon = pair.indexOf(":");
    if (colon < 1 || pair.length - colon < 9) context.addIssue("write name:password pairs, a password of at least 8 characters");
    else found.set(pair.slice(0, colon), pair.slice(colon + 1));
  }
  return found;
});

/** Setting → its schema, what stands in while it is unset, and a line of documentation; README's table is this one (test/docs.test.ts). */
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
  UNDERSTUDY_HOOK_LISTEN: { schema: z.string().transform(listen), fallback: "127.0.0.1:8400", about: "address of the login hook (producer)" },
  UNDERSTUDY_HOOK_SECRETS: { schema: secrets, fallback: "", about: "secrets of the login hook, a comma list for rotation; `whsec_<base64>` or plain text" },
  UNDERSTUDY_DASHBOARD_LISTEN: { schema: z.string().transform(listen), fallback: "127.0.0.1:8401", about: "address of the dashboard" },
  UNDERSTUDY_DASHBOARD_USERS: { schema: users, fallback: "", about: "`name:password` pairs; needed unless the dashboard listens on loopback" },
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
  UNDERSTUDY_TOKEN_MODE: { schema: laterOnly("secret"), about: "`secret`; `request` is not there yet" },
  UNDERSTUDY_ADOPT: { schema: laterOnly("false"), about: "`false`; taking over Rancher's objects is not there yet" },
  UNDERSTUDY_CREDENTIALS_LISTEN: { schema: laterOnly("off"), about: "`off`; the credentials listener is not there yet" },
  LOG_LEVEL: { schema: z.enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"]), fallback: "info", about: "pino's level; logs go to stderr" },
} as const satisfies Record<string, { schema: z.ZodType; fallback?: string; about: string }>;
type Name = keyof typeof SETTINGS;
const NAMES = Object.keys(SETTINGS) as Name[];

/** @returns the config, or every problem, each with its setting and the fix. Ignores variables that are not ours. */
export function configFrom(environment: Readonly<Record<string, string | undefined>>): { config: Config } | { problems: string[] } {
  const problems = unknownNames(environment);
  const given: Record<string, string> = {};
  for (const name of NAMES) {
    const setting: { schema: z.ZodType; fallback?: string } = SETTINGS[name];
    const value = environment[name] || setting.fallback;
    if (value !== undefined) given[name] = value;
  }
  if (given["UNDERSTUDY_SOURCE"] === "rancher" && given["UNDERSTUDY_MANAGEMENT_KUBECONFIG"] === undefined)
    problems.push("UNDERSTUDY_SOURCE: rancher needs UNDERSTUDY_MANAGEMENT_KUBECONFIG");
  const shape = Object.fromEntries(NAMES.map((name) => [name, SETTINGS[name].schema])) as { [N in Name]: (typeof SETTINGS)[N]["schema"] };
  const parsed = z.object(shape).safeParse(given);
  if (!parsed.success) problems.push(...parsed.error.issues.map((issue) => `${String(issue.path[0])}: ${issue.message}`));
  if (!parsed.success || problems.length > 0) return { problems: [...new Set(problems)] };
  const s = parsed.data;
  const source = s.UNDERSTUDY_SOURCE ?? (s.UNDERSTUDY_MANAGEMENT_KUBECONFIG ? "rancher" : "logins");
  return {
    config: {
      redisUrl: s.UNDERSTUDY_REDIS_URL,
      redisPrefix: s.UNDERSTUDY_REDIS_PREFIX,
      source,
      managementKubeconfig: s.UNDERSTUDY_MANAGEMENT_KUBECONFIG,
      clustersDir: s.UNDERSTUDY_CLUSTERS_DIR,
      hookListen: s.UNDERSTUDY_HOOK_LISTEN,
      hookSecrets: s.UNDERSTUDY_HOOK_SECRETS,
      dashboardListen: s.UNDERSTUDY_DASHBOARD_LISTEN,
      dashboardUsers: s.UNDERSTUDY_DASHBOARD_USERS,
      opsListen: s.UNDERSTUDY_OPS_LISTEN,
      profile: s.UNDERSTUDY_PROFILE,
      facts: s.UNDERSTUDY_FACTS,
      install: s.UNDERSTUDY_INSTALL,
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
    },
  };
}

/** A misspelt setting would be a silent default. */
function unknownNames(environment: Readonly<Record<string, string | undefined>>): string[] {
  return Object.keys(environment)
    .filter((name) => name.startsWith("UNDERSTUDY_") && !NAMES.includes(name as Name) && !NAMES.includes(name.replace(/_FILE$/, "") as Name))
    .map((name) => {
      const nearest = NAMES.map((known) => ({ known, far: distance(name, known) })).sort((a, b) => a.far - b.far)[0]!;
      return `${name}: there is no such setting; the nearest is ${nearest.known}`;
    });
}

/** Levenshtein. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length]!;
}

// pino on stderr, with every text that the product logs. A line says what happened, in the past tense; what varies is in its fields.
import pino from "pino";

export type Fields = Readonly<Record<string, unknown>>;
const JWT = /eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+)*/g;
const BEARER = /(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}/gi;
/** Takes tokens out of a text that somebody else wrote. */
export const withoutSecrets = (text: string): string => text.replace(JWT, "[token]").replace(BEARER, "$1 [secret]").slice(0, 2000);

interface ErrorFields {
  readonly type: string;
  readonly message: string;
  readonly code?: unknown;
  readonly stack: string;
  readonly cause?: ErrorFields;
}
/** Only what is known to be harmless: error classes of libraries carry requests, headers and bodies. */
export function errorFields(error: unknown): ErrorFields {
  if (!(error instanceof Error)) return { type: typeof error, message: withoutSecrets(String(error)), stack: "" };
  const code = (error as { code?: unknown }).code;
  return {
    type: error.name,
    message: withoutSecrets(error.message),
    stack: withoutSecrets(error.stack ?? ""),
    ...(typeof code === "string" || typeof code === "number" ? { code } : {}),
    ...(error.cause instanceof Error ? { cause: errorFields(error.cause) } : {}),
  };
}

/** Every text, with its level: info = something changed, debug = nothing to do, warn = a person may want to look, error = a person must. */
const TEXTS = {
  // processes
  started: ["info", "process started"],
  stopping: ["info", "process stopping"],
  stopped: ["info", "process stopped"],
  stopOverdue: ["warn", "stop took too long; work was handed back"],
  listening: ["info", "listener opened"],
  redisTrouble: ["warn", "redis connection troubled"],
  redisWarning: ["warn", "redis could lose what it holds"],
  unexpected: ["error", "unexpected error met"],
  // workers
  reconciled: ["info", "impersonator reconciled"],
  unchanged: ["debug", "subject looked at"],
  parked: ["debug", "impersonator waits for its token"],
  handedBack: ["debug", "subject handed back"],
  tryFailed: ["warn", "subject failed and is tried again"],
  terminal: ["error", "subject failed until a person acts"],
  lockLost: ["warn", "lock lost; the run was ended"],
  jobRefused: ["error", "job refused"],
  versionSkipped: ["error", "record of a newer version left alone"],
  gateClosed: ["warn", "cluster gate closed"],
  gateOpened: ["info", "cluster gate opened"],
  importMissing: ["warn", "work paused until the import stands"],
  importBack: ["info", "work resumed"],
  fenceOff: ["error", "cluster left alone: its fence is not on"],
  fenceOn: ["info", "cluster worked on again: its fence is on"],
  swept: ["info", "forgotten subjects woken"],
  resynced: ["info", "cluster resynced"],
  resyncFailed: ["warn", "resync of a cluster failed and is tried again"],
  orphanFound: ["warn", "objects without a grant found"],
  // clusters
  clusterAppeared: ["info", "cluster appeared"],
  clusterChanged: ["info", "cluster credentials changed"],
  clusterGone: ["warn", "cluster is no longer configured"],
  clusterProblem: ["error", "kubeconfig cannot be used"],
  watchRetried: ["info", "watch ended and is tried again"],
  drifted: ["warn", "object changed by another hand"],
  tampered: ["error", "object widened by another hand"],
  alienBinding: ["error", "impersonator bound by another hand"],
  alienUnseen: ["warn", "RoleBindings cannot be listed; others that bind an impersonator stay unseen"],
  // producers
  imported: ["info", "sources imported"],
  importFailed: ["warn", "import failed and is tried again"],
  importAgain: ["warn", "redis was replaced during the import; it begins again"],
  olderSource: ["warn", "management cluster is older than the ledger; its lists are taken whole"],
  removalsHeld: ["error", "removals held back; they need a person's word"],
  removalsAllowed: ["info", "removals that were held back may go on"],
  bindingRefused: ["warn", "binding refused"],
  loginAnswered: ["info", "login answered"],
  loginRefused: ["warn", "login refused"],
  credentialRefused: ["warn", "credential refused"],
  streamCut: ["warn", "stream of revocations cut; its client did not read"],
  requestFailed: ["error", "request failed"],
} as const satisfies Record<string, readonly ["debug" | "info" | "warn" | "error", string]>;

/** What an auditor reads: who may act as whom since when, and why, and what people did on the dashboard. Written whatever the level, but for `silent`, by a logger of its own name. */
const AUDIT = {
  accessGranted: "access granted",
  accessChanged: "access changed",
  accessRevoked: "access revoked",
  credentialGiven: "credential given",
  lookAsked: "look asked for",
  clusterPaused: "cluster paused",
  clusterResumed: "cluster resumed",
} as const;
const AUDIT_NAME = "understudy.audit";

export type Log = Readonly<Record<keyof typeof TEXTS | keyof typeof AUDIT, (fields?: Fields) => void>>;

/** `to` defaults to stderr: stdout belongs to a command's own answer. `auditLevel`: of the lines for auditors, which are `info`. */
export function openLog(
  level: string,
  bindings: Fields = {},
  to: pino.DestinationStream = pino.destination({ dest: 2, sync: true }),
  auditLevel = level === "silent" ? "silent" : "info",
): Log {
  const logger = pino(
    {
      level,
      base: { pid: process.pid, ...bindings },
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: errorFields },
      redact: { paths: ["token", "*.token", "secret", "*.secret", "authorization", "*.authorization", "data", "*.data"], censor: "[secret]" },
    },
    to,
  );
  const said = Object.entries(TEXTS).map(([name, [method, text]]) => [name, (fields: Fields = {}) => logger[method](fields, text)]);
  const auditor = logger.child({ name: AUDIT_NAME }, { level: auditLevel });
  const audited = Object.entries(AUDIT).map(([name, text]) => [name, (fields: Fields = {}) => auditor.info(fields, text)]);
  const log = Object.fromEntries([...said, ...audited]) as Log;
  return { ...log, redisTrouble: seldom(log.redisTrouble) };
}

const SELDOM_MS = 5_000;
/** Every connection and timer meets the same outage: one line in five seconds says how many were left out. */
function seldom(say: (fields?: Fields) => void): (fields?: Fields) => void {
  let next = 0;
  let leftOut = 0;
  return (fields = {}) => {
    if (performance.now() < next) {
      leftOut += 1;
      return;
    }
    next = performance.now() + SELDOM_MS;
    say({ ...fields, ...(leftOut > 0 ? { leftOut } : {}) });
    leftOut = 0;
  };
}

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
    type: error.name, message: withoutSecrets(error.message), stack: withoutSecrets(error.stack ?? ""),
    ...(typeof code === "string" || typeof code === "number" ? { code } : {}), ...(error.cause instanceof Error ? { cause: errorFields(error.cause) } : {}),
  };
}

export type Log = ReturnType<typeof openLog>;

/** `to` defaults to stderr: stdout belongs to a command's own answer. */
export function openLog(level: string, bindings: Fields = {}, to: pino.DestinationStream = pino.destination({ dest: 2, sync: true })) {
  const logger = pino({
    level, base: { pid: process.pid, ...bindings }, timestamp: pino.stdTimeFunctions.isoTime, serializers: { err: errorFields },
    redact: { paths: ["token", "*.token", "secret", "*.secret", "authorization", "*.authorization", "data", "*.data"], censor: "[secret]" },
  }, to);
  const say = (method: "debug" | "info" | "warn" | "error", text: string) => (fields: Fields = {}): void => logger[method](fields, text);
  return {
    // processes
    started: say("info", "process started"),
    stopping: say("info", "process stopping"),
    stopped: say("info", "process stopped"),
    stopOverdue: say("warn", "stop took too long; work was handed back"),
    listening: say("info", "listener opened"),
    redisTrouble: say("warn", "redis connection troubled"),
    redisWarning: say("warn", "redis could lose what it holds"),
    unexpected: say("error", "unexpected error met"),
    // workers
    reconciled: say("info", "impersonator reconciled"),
    unchanged: say("debug", "subject looked at"),
    parked: say("debug", "impersonator waits for its token"),
    handedBack: say("debug", "subject handed back"),
    tryFailed: say("warn", "subject failed and is tried again"),
    terminal: say("error", "subject failed until a person acts"),
    lockLost: say("warn", "lock lost; the run was ended"),
    jobRefused: say("error", "job refused"),
    versionSkipped: say("error", "record of a newer version left alone"),
    gateClosed: say("warn", "cluster gate closed"),
    gateOpened: say("info", "cluster gate opened"),
    importMissing: say("warn", "work paused until the import stands"),
    importBack: say("info", "work resumed"),
    swept: say("info", "forgotten subjects woken"),
    resynced: say("info", "cluster resynced"),
    resyncFailed: say("warn", "resync of a cluster failed and is tried again"),
    orphanFound: say("warn", "objects without a grant found"),
    // clusters
    clusterAppeared: say("info", "cluster appeared"),
    clusterChanged: say("info", "cluster credentials changed"),
    clusterGone: say("warn", "cluster is no longer configured"),
    clusterProblem: say("error", "kubeconfig cannot be used"),
    watchRetried: say("warn", "watch ended and is tried again"),
    // producers
    imported: say("info", "sources imported"),
    importFailed: say("warn", "import failed and is tried again"),
    importAgain: say("warn", "redis was replaced during the import; it begins again"),
    olderSource: say("warn", "management cluster is older than the ledger; its lists are taken whole"),
    removalsHeld: say("error", "removals held back; they need a person's word"),
    bindingRefused: say("warn", "binding refused"),
    loginAnswered: say("info", "login answered"),
    loginRefused: say("warn", "login refused"),
    requestFailed: say("error", "request failed"),
  };
}

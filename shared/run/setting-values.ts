// How settings are written: durations, addresses, lists, shares, secrets, and names that are nearly right. What each setting means is config.ts's. Pure.
import { z } from "zod";

export interface Listen {
  readonly host: string;
  readonly port: number;
}

export const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
export const duration = (text: string, context: z.core.$RefinementCtx): number => {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  if (match) return Number(match[1]) * UNITS[match[2]!]!;
  if (text === "0") return 0;
  context.addIssue("write a duration such as 90s, 30m or 30d");
  return z.NEVER;
};
export const listen = (text: string, context: z.core.$RefinementCtx): Listen => {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text);
  if (match && Number(match[3]) <= 65535) return { host: match[1] ?? match[2]!, port: Number(match[3]) };
  context.addIssue("write host:port, such as 127.0.0.1:8400 or [::]:8400");
  return z.NEVER;
};
export const listenOrOff = (text: string, context: z.core.$RefinementCtx): Listen | undefined => (text === "off" ? undefined : listen(text, context));
/** In lower case. One that a client may set, or that means something else here, would let a client name the person. */
export const headerName = (text: string, context: z.core.$RefinementCtx): string => {
  const name = text.toLowerCase();
  if (!/^[a-z0-9!#$%&'*+.^_`|~-]{1,64}$/.test(name)) context.addIssue("write the name of an HTTP header, such as X-Forwarded-User");
  else if (/^(authorization$|impersonate-|x-understudy-)/.test(name))
    context.addIssue("Authorization, Impersonate-… and X-Understudy-… cannot name the person: use another header");
  return name;
};
export const listOf = (text: string): string[] =>
  text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
export const list = z.string().transform(listOf);
export const percent = z
  .string()
  .regex(/^([1-9]?\d|100)%$/, "write a percentage such as 20%")
  .transform((text) => Number(text.slice(0, -1)) / 100);
export const whole = (min: number, max: number) => z.string().regex(/^\d+$/, "write a whole number").transform(Number).pipe(z.number().min(min).max(max));
export const secrets = list.pipe(
  z.array(
    z
      .string()
      .min(16, "each secret needs at least 16 characters: openssl rand -base64 32")
      .regex(/^(?!whsec_)|^whsec_([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/, "what follows whsec_ is base64"),
  ),
);
export const users = list.transform((pairs, context) => {
  const found = new Map<string, string>();
  for (const pair of pairs) {
    const colon = pair.indexOf(":");
    if (colon < 1 || pair.length - colon < 9) context.addIssue("write name:password pairs, a password of at least 8 characters");
    else found.set(pair.slice(0, colon), pair.slice(colon + 1));
  }
  return found;
});

/** The known name that a misspelt one was most likely to be. */
export const nearestTo = (name: string, known: readonly string[]): string =>
  known.map((other) => ({ other, far: distance(name, other) })).sort((a, b) => a.far - b.far)[0]!.other;

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

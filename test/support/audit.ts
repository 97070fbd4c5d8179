// What our processes did to one subject, from the audit log of its API server: every process has its own User-Agent, so it shows who worked when.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import type { ApiServer } from "../apiserver/start.ts";
import { nameOf } from "../../shared/names.ts";

export interface SubjectCall {
  readonly agent: string;
  readonly verb: string;
  readonly resource: string;
  readonly name: string;
  readonly code: number;
  /** RFC 3339 with microseconds, so that they compare as text. */
  readonly from: string;
  readonly to: string;
}

interface AuditEvent {
  readonly verb: string;
  readonly requestURI: string;
  readonly userAgent?: string;
  readonly user: { readonly username: string };
  readonly objectRef?: { readonly resource: string; readonly name?: string };
  readonly responseStatus?: { readonly code: number };
  readonly requestReceivedTimestamp: string;
  readonly stageTimestamp: string;
}

/** The end of the log as it is now, for a later `callsOf`. */
export async function auditEnd(server: ApiServer): Promise<number> {
  return (await readFile(server.auditLog, "utf8")).lastIndexOf("\n") + 1;
}

/** Calls of the worker processes for each of these users, reviews with the impersonators' tokens included, in the order of their arrival. */
export async function callsOf(server: ApiServer, users: readonly string[], since = 0): Promise<Map<string, SubjectCall[]>> {
  const calls = new Map<string, SubjectCall[]>(users.map((user) => [user, []]));
  const userOf = new Map(users.map((user) => [nameOf(user), user]));
  const log = await readFile(server.auditLog, "utf8");
  // The server may be in the middle of a line.
  for (const line of log.slice(since, log.lastIndexOf("\n") + 1).split("\n")) {
    if (!line.includes("understudy/") || !line.includes(" worker ")) continue;
    const event = JSON.parse(line) as AuditEvent;
    const user = userOf.get(subjectNameOf(event));
    if (user === undefined || event.verb === "watch") continue;
    const { userAgent: agent = "", verb, objectRef, responseStatus, requestReceivedTimestamp: from, stageTimestamp: to } = event;
    calls.get(user)!.push({ agent, verb, resource: objectRef?.resource ?? "", name: objectRef?.name ?? "", code: responseStatus?.code ?? 0, from, to });
  }
  for (const list of calls.values()) list.sort((a, b) => (a.from < b.from ? -1 : 1));
  return calls;
}

/** The impersonator's name, wherever a call carries it. */
function subjectNameOf({ requestURI, user, objectRef }: AuditEvent): string {
  if (objectRef?.resource === "selfsubjectreviews") return user.username.slice(user.username.lastIndexOf(":") + 1);
  const selected = /cattle\.io\/service-account\.name=([^&,]+)/.exec(decodeURIComponent(requestURI))?.[1];
  return selected ?? (objectRef?.name ?? "").replace(/-token-[0-9a-f]{10}$/, "");
}

export const isWrite = ({ verb, resource }: SubjectCall): boolean =>
  resource !== "selfsubjectreviews" && ["create", "update", "patch", "delete", "deletecollection"].includes(verb);
/** `update clusterroles`, … of the writes that were accepted, in order. */
export const writesIn = (calls: readonly SubjectCall[]): string[] =>
  calls.filter((call) => isWrite(call) && call.code < 300).map(({ verb, resource }) => `${verb} ${resource}`);

/** Runs of calls of one agent, in order. */
function blocksOf(calls: readonly SubjectCall[]): SubjectCall[][] {
  const blocks: SubjectCall[][] = [];
  for (const call of calls) {
    const last = blocks.at(-1);
    if (last?.[0]!.agent === call.agent) last.push(call);
    else blocks.push([call]);
  }
  return blocks;
}

/** The reads that begin a pass are sent together; everything else of a subject comes one after the other. */
const LOOKS = new Set(["get clusterroles", "get clusterrolebindings", "get serviceaccounts", "list secrets"]);
const keyOf = ({ verb, resource }: SubjectCall): string => `${verb} ${resource}`;
/** What only the beginning of a run can have led to, and so never comes first after another process' call. */
const NEVER_FIRST = new Set(["create serviceaccounts", "create secrets", "create clusterroles", "create clusterrolebindings", "create selfsubjectreviews"]);
/** After these a run goes on, so another process' call never comes next. (A change of the role may be a run's last write: newer facts kept coming.) */
const NEVER_LAST = new Set(["create serviceaccounts", "create secrets", "create clusterroles"]);

/** Never two runs in one subject at once, neither of two processes nor of one. */
export function assertOneAtATime(calls: readonly SubjectCall[]): void {
  for (const [at, call] of calls.entries()) {
    const together = calls.slice(at + 1).filter((other) => other.from < call.to);
    for (const other of together) {
      const oneLook = other.agent === call.agent && LOOKS.has(keyOf(call)) && LOOKS.has(keyOf(other)) && keyOf(call) !== keyOf(other);
      assert.ok(oneLook, `at work at the same time:\n${around(calls, other)}`);
    }
  }
  for (const block of blocksOf(calls)) {
    const [first, last] = [block[0]!, block.at(-1)!];
    assert.ok(!NEVER_FIRST.has(keyOf(first)), `a run was cut in two, and goes on:\n${around(calls, first)}`);
    assert.ok(last === calls.at(-1) || last.code >= 300 || !NEVER_LAST.has(keyOf(last)), `a run was cut in two, and stops:\n${around(calls, last)}`);
  }
}

/** The calls before and after this one, for people. */
function around(calls: readonly SubjectCall[], call: SubjectCall): string {
  const at = calls.indexOf(call);
  const text = (other: SubjectCall): string =>
    `${other === call ? ">" : " "} ${other.from.slice(11, 26)} to ${other.to.slice(11, 26)} ${other.agent.split(" ").at(-1)} ${keyOf(other)} ${other.name} ${other.code}`;
  return calls
    .slice(Math.max(0, at - 12), at + 6)
    .map(text)
    .join("\n");
}

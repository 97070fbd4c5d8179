// What the tests of interleavings say again and again: a fact that is told but not yet worked on, a call that has had its answer.
import assert from "node:assert/strict";
import type { ApiServer } from "../apiserver/start.ts";
import type { StatusRow } from "../../shared/ledger/status.ts";
import { type SubjectCall, auditEnd, callsOf, isWrite } from "./audit.ts";
import type { House } from "./house.ts";
import { objectsOf } from "./impersonator.ts";
import type { CallName, Trap } from "./traps.ts";
import { waitUntil } from "./wait-until.ts";

/** Time for a take-over that waits for locks and for BullMQ's check of stalled jobs, 15 s each, on a busy machine. */
export const TAKE_OVER_MS = 90_000;

/** Sends a login until it is stored, and does not wait for what comes of it. A binding that entitles may be a moment behind. */
export async function logIn(house: House, user: string, cluster: string, groups?: readonly string[], provider = "github"): Promise<void> {
  await waitUntil(`the login of ${user} is stored`, async () => {
    const { status } = await house.hook("POST", "/v1/logins", { user, cluster, provider, ...(groups ? { groups } : {}) });
    return status < 300;
  });
}

/** Does something, and waits until the ledger has heard of it (not until it is worked on). */
export async function told(house: House, cluster: string, user: string, act: () => Promise<unknown>): Promise<void> {
  const before = (await house.row(cluster, user))?.generation ?? 0;
  await act();
  await waitUntil(`the ledger knows the news of ${user}`, async () => ((await house.row(cluster, user))?.generation ?? 0) > before);
}

/** Waits until all that is known of the subject is settled as this. */
export async function settledAs(house: House, cluster: string, user: string, state: StatusRow["state"], deadlineMs = TAKE_OVER_MS): Promise<StatusRow> {
  return waitUntil(
    `${cluster}/${user} is ${state}`,
    async () => {
      const row = await house.row(cluster, user);
      if (row?.state === state && row.observedGeneration >= row.generation) return row;
      throw new Error(`it is ${JSON.stringify(row)}`);
    },
    { deadlineMs, everyMs: 50 },
  );
}

/** Lets a held call go on, waits until the API server has answered it, and returns it: whoever sent it may no longer be there to hear. */
export async function landed(server: ApiServer, { user, agent, call }: { user: string; agent: string; call: CallName }, trap: Trap): Promise<SubjectCall> {
  const since = await auditEnd(server);
  trap.release();
  const [verb, resource] = auditNames(call);
  const isIt = (one: SubjectCall): boolean => one.agent === agent && one.verb === verb && one.resource === resource;
  return waitUntil(`${call} of ${user} is answered`, async () => (await callsOf(server, [user], since)).get(user)!.find(isIt), { everyMs: 200 });
}
const auditNames = (call: CallName): [verb: string, resource: string] => {
  const [method, kind] = call.split(" ") as [string, string];
  return [{ GET: "get", LIST: "list", POST: "create", PUT: "update", DELETE: "delete" }[method]!, `${kind.toLowerCase()}s`];
};

/** The writes for a user by one process, refused ones with their status. */
export async function writesBy(server: ApiServer, user: string, agent: string): Promise<string[]> {
  const calls = (await callsOf(server, [user])).get(user)!.filter((call) => call.agent === agent && isWrite(call));
  return calls.map(({ verb, resource, code }) => `${verb} ${resource} ${code}`);
}

/** The one Secret of a user, which must be the one that the account names. */
export async function onlySecretOf(server: ApiServer, user: string): Promise<string> {
  const { account, secrets } = await objectsOf(server, user);
  const names = secrets.map((secret) => String(secret.metadata.name));
  assert.deepEqual(
    names.map((name) => `cattle-impersonation-system/${name}`),
    [account?.metadata.annotations["rancher.io/service-account.secret-ref"]],
  );
  return names[0]!;
}

/** Waits until the workers have handed the subject back `times` more times for this reason. */
export async function handedBack(house: House, user: string, reason: string, times = 1): Promise<void> {
  const count = (): number =>
    house.processes.flatMap(({ lines }) => lines).filter((line) => line["msg"] === "subject handed back" && line["user"] === user && line["reason"] === reason)
      .length;
  const before = count();
  await waitUntil(`${user} is handed back: ${reason}`, () => count() >= before + times);
}

export const SEALED_BY = "understudy.io/sealed-by";

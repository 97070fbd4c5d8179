// What a test may know of a running house, by public faces only: that a change is settled, what was called meanwhile, what a metric says.
import type { StatusRow } from "../../shared/ledger/status.ts";
import type { ApiServer } from "../apiserver/start.ts";
import type { HouseOptions, Process } from "./house.ts";
import { House } from "./house.ts";
import { type Called, callsSince } from "./impersonator.ts";
import { waitUntil } from "./wait-until.ts";

const DEADLINE_MS = 60_000;

/** A house whose first resync is over: it would look at subjects that a test counts the calls of. */
export async function openQuiet(options: HouseOptions = {}): Promise<House> {
  const house = await House.open(options);
  const resynced = (cluster: string): Promise<number> => metricOf([house.producer], "understudy_resync_last_success_timestamp_seconds", { cluster });
  await waitUntil("every cluster was resynced once", async () => (await Promise.all([...house.clusters.keys()].map(resynced))).every((at) => at > 0), {
    deadlineMs: DEADLINE_MS,
  });
  return house;
}

export interface Settled {
  readonly clusters: readonly string[];
  readonly user: string;
  readonly state?: StatusRow["state"];
}
/** Does something that changes subjects, and waits until that change is settled on each: a state that it had before does not count. */
export async function settledAfter(house: House, where: Settled | readonly Settled[], act: () => Promise<unknown>): Promise<StatusRow[]> {
  const subjects = [where].flat().flatMap(({ clusters, user, state = "ready" }) => clusters.map((cluster) => ({ cluster, user, state })));
  const before = await Promise.all(subjects.map(async ({ cluster, user }) => (await house.row(cluster, user))?.generation ?? 0));
  await act();
  return Promise.all(
    subjects.map(({ cluster, user, state }, i) => house.waitFor(cluster, user, state, { generation: before[i]! + 1, deadlineMs: DEADLINE_MS })),
  );
}

/** Every call of our processes to this cluster meanwhile. */
export async function callsDuring(server: ApiServer, act: () => Promise<unknown>): Promise<Called[]> {
  const { position } = await callsSince(server, 0);
  await act();
  return (await callsSince(server, position)).calls;
}

/** A metric summed over processes and over all labels that are not named. */
export async function metricOf(processes: readonly Process[], name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
  const texts = await Promise.all(processes.map(async ({ started }) => (await fetch(`${started["ops"]}/metrics`)).text()));
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  const lines = texts.flatMap((text) => text.split("\n")).filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return lines.filter((line) => wanted.every((label) => line.includes(label))).reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

/** Sends a login until it is answered `ready`: what entitles to it may not have reached the producer yet, and then nothing is stored. */
export async function loggedIn(house: House, ...login: Parameters<House["login"]>): Promise<Record<string, unknown>> {
  return waitUntil(
    `${login[0]} is logged in`,
    async () => {
      const { status, body } = await house.login(...login);
      if (status === 200) return body;
      throw new Error(`${status} ${JSON.stringify(body)}`);
    },
    { deadlineMs: DEADLINE_MS },
  );
}

/** Why a subject waits, once its User is told, for which it waits too. */
export async function whyItWaits(house: House, cluster: string, user: string): Promise<string> {
  return waitUntil(
    `${user} waits, and not for its User`,
    async () => {
      const row = await house.row(cluster, user);
      return row?.state === "waiting" && row.reason !== "user unknown" && row.reason;
    },
    { deadlineMs: DEADLINE_MS },
  );
}

/** The middle one. */
export const median = (numbers: readonly number[]): number => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!;

/** Waits until a producer's drift watch of a cluster is live, the resync that it asked for over: from then on a repeated login of this bound user is no reason to look. */
export async function watched(house: House, cluster: string, user: string, from?: Process): Promise<void> {
  await loggedIn(house, user, cluster, {}, from);
  await waitUntil(
    `the drift watch of ${cluster} is live`,
    async () => {
      const before = await house.row(cluster, user);
      const { status } = await house.login(user, cluster, {}, from);
      return status === 200 && (await house.row(cluster, user))?.generation === before?.generation;
    },
    { deadlineMs: DEADLINE_MS, everyMs: 200 },
  );
}

/** Its log lines with this message, of one user where one is named. */
export const linesOf = ({ lines }: Process, msg: string, user?: string): Process["lines"] =>
  lines.filter((line) => line["msg"] === msg && (user === undefined || line["user"] === user));

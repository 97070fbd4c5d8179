// How the three queues stand now, from BullMQ. Reads only.
import type { Queue } from "bullmq";
import type { QueueName } from "../../shared/jobs.ts";
import { QUEUES } from "../../shared/jobs.ts";
import type { QueueLine } from "./home-page.ts";

/** What a person may want to know of a queue. */
export const ABOUT: Readonly<Record<QueueName, string>> = {
  binding: "what adds or changes a grant, drift, resync and sweep",
  login: "people who wait at the login hook",
  deletion: "what removes a grant",
};

export const queueLines = (queues: Readonly<Record<QueueName, Queue>>): Promise<QueueLine[]> => Promise.all(QUEUES.map((name) => lineOf(name, queues[name])));

async function lineOf(name: QueueName, queue: Queue): Promise<QueueLine> {
  const [paused, counts, first, firstInBackground] = await Promise.all([
    queue.isPaused(),
    queue.getJobCounts("waiting", "prioritized", "active", "delayed", "failed"),
    queue.getJobs(["waiting"], 0, 0, true),
    queue.getJobs(["prioritized"], 0, 0, true),
  ]);
  const { waiting = 0, prioritized = 0, active = 0, delayed = 0, failed = 0 } = counts;
  const added = [...first, ...firstInBackground].map(({ timestamp }) => timestamp);
  return { name, about: ABOUT[name], paused, waiting: waiting + prioritized, active, delayed, failed, oldest: added.length > 0 ? Math.min(...added) : 0 };
}

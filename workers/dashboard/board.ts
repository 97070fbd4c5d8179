// bull-board for the three queues, under /queues. Always read-only: what retries a job there passes the ledger by. A job's name is its subject, `cluster/user`.
import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { FastifyAdapter } from "@bull-board/fastify";
import type { FastifyPluginCallback } from "fastify";
import type { QueueName } from "../../shared/jobs.ts";
import { JobData, QUEUES } from "../../shared/jobs.ts";
import type { Log } from "../../shared/run/log.ts";
import type { Store } from "../../shared/run/redis.ts";
import { subjectPath } from "./layout.ts";
import { ABOUT } from "./queue-lines.ts";

export const BOARD = "/queues";

/** To be registered under `BOARD`. */
export function board({ queues }: Store, log: Log): FastifyPluginCallback {
  const serverAdapter = new FastifyAdapter().setBasePath(BOARD);
  const adapterOf = (name: QueueName): BullMQAdapter =>
    new BullMQAdapter(queues[name], { readOnlyMode: true, description: ABOUT[name], externalJobUrl: ({ data }) => linkTo(data) });
  createBullBoard({
    queues: QUEUES.map(adapterOf),
    serverAdapter,
    options: { uiConfig: { boardTitle: "Understudy", hideDocsLink: true } },
  });
  // Its own answer tells the error's text.
  serverAdapter.setErrorHandler((error) => {
    const { statusCode = 500 } = error as { statusCode?: number };
    if (statusCode >= 500) log.requestFailed({ err: error, route: BOARD });
    return { status: statusCode >= 500 ? 500 : 400, body: { error: { key: "ERRORS.INTERNAL_SERVER_ERROR" } } };
  });
  return serverAdapter.registerPlugin();
}

/** Where a job leads: to its subject's page. Data that no version of ours wrote leads nowhere. */
function linkTo(data: unknown): { href: string; displayText?: string } {
  const job = JobData.safeParse(data);
  return job.success ? { href: subjectPath(job.data), displayText: "its person's page" } : { href: BOARD, displayText: "not a job of this version" };
}

// The page `/`: how everything stands, a search, and one subject. Reads the ledger and the queues; changes nothing.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { clusterRowOf, heldIn } from "../../shared/ledger/cluster-row.ts";
import { explanationOf } from "../../shared/ledger/explanation.ts";
import { historyOf } from "../../shared/ledger/history.ts";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import type { Config } from "../../shared/run/config.ts";
import { problem } from "../../shared/run/http.ts";
import type { Log } from "../../shared/run/log.ts";
import type { Store } from "../../shared/run/redis.ts";
import type { Subject } from "../../shared/subject.ts";
import { ClusterId, subjectKey } from "../../shared/subject.ts";
import type { Person } from "./access.ts";
import type { Reader } from "./buttons.ts";
import type { ClusterCount, Count } from "./count.ts";
import { formsFor, noticeOf } from "./forms.ts";
import type { ClusterLine, Home } from "./home-page.ts";
import { homePage } from "./home-page.ts";
import type { Page } from "./layout.ts";
import { layout } from "./layout.ts";
import type { List } from "./list-page.ts";
import { listPage, titleOf } from "./list-page.ts";
import { Overview } from "./overview.ts";
import { queueLines } from "./queue-lines.ts";
import type { Asked, Found } from "./search.ts";
import { PAGE_ROWS, askedFrom, asksNothing, search } from "./search.ts";
import { subjectPage } from "./subject-page.ts";

const CSS = readFileSync(new URL("page.css", import.meta.url), "utf8");
/** Its content is in its address, so a browser may keep it for good. */
const STYLES = `/assets/page.css?${createHash("sha256").update(CSS).digest("hex").slice(0, 12)}`;
/** These pages have no script and no style of their own; bull-board's policy is wider. */
const POLICY = "default-src 'none';style-src 'self';img-src 'self' data:;form-action 'self';base-uri 'none';frame-ancestors 'none'";
const SubjectAsked = z.object({ cluster: ClusterId, user: z.string().min(1).max(1024) });

/** A plugin: counts the ledger from when it is registered until the server closes. */
export const pages =
  (store: Store, config: Config, log: Log, personOf: (request: FastifyRequest) => Person): FastifyPluginAsync =>
  async (app: FastifyInstance): Promise<void> => {
    const { ledger } = store;
    const overview = new Overview(ledger, log);
    const readerOf = async (request: FastifyRequest): Promise<Reader> => ({ ...(await formsFor(personOf(request), ledger)), back: request.url });
    const send = (request: FastifyRequest, reply: FastifyReply, page: Omit<Page, "styles" | "notice">): FastifyReply =>
      reply
        .header("content-security-policy", POLICY)
        .header("cache-control", "no-store")
        .type("text/html; charset=utf-8")
        .send(layout({ ...page, styles: STYLES, notice: noticeOf(request.query as Record<string, unknown>) }).toString());
    app.addHook("onClose", () => overview[Symbol.asyncDispose]());
    app.get("/assets/page.css", async (_request, reply) =>
      reply.type("text/css; charset=utf-8").header("cache-control", "max-age=31536000, immutable").send(CSS),
    );
    app.get("/", async (request, reply) => {
      const asked = askedFrom(request.query);
      const count = await overview.latest();
      if (asksNothing(asked)) return send(request, reply, { title: "Understudy", searchFirst: true, main: homePage(await homeOf(store, count)) });
      const found = count ? search(count, overview.people, asked) : { rows: [], as: "" };
      const list = await listOf(ledger, asked, found, { asOf: count?.asOf ?? 0, reader: await readerOf(request) });
      return send(request, reply, { title: `${titleOf(asked)} · Understudy`, q: asked.q, searchFirst: true, main: listPage(list) });
    });
    app.get("/subject", async (request, reply) => {
      const subject = SubjectAsked.safeParse(request.query);
      if (!subject.success) return problem(reply, 404, "no such subject: /subject?cluster=c-amber&user=u-ada");
      return send(request, reply, {
        title: `${subjectKey(subject.data)} · Understudy`,
        main: await subjectMain(ledger, subject.data, config, await readerOf(request)),
      });
    });
  };

async function homeOf({ ledger, queues }: Store, count: Count | undefined): Promise<Home> {
  const clusterLine = async (cluster: string, counted: ClusterCount, now: number): Promise<ClusterLine> => {
    const fields = await ledger.clusterFields(cluster);
    const orphans = fields["orphans"] === undefined ? undefined : Number(fields["orphans"]);
    return { ...clusterRowOf(cluster, fields, counted.backlog, now), count: counted, held: heldIn(fields), orphans };
  };
  const [now, { complete }] = await Promise.all([ledger.now(), ledger.mark()]);
  const [clusters, lines] = await Promise.all([
    Promise.all([...(count?.clusters ?? [])].map(([cluster, counted]) => clusterLine(cluster, counted, now))),
    queueLines(queues),
  ]);
  return { now, count, imported: complete, clusters, queues: lines };
}

/** The rows of one page as they are now, whatever the count said of them. */
async function listOf(ledger: Ledger, asked: Asked, { rows, as }: Found, page: Pick<List, "asOf" | "reader">): Promise<List> {
  const [now, { run }, paused] = await Promise.all([ledger.now(), ledger.mark(), asked.cluster === "" ? undefined : ledger.pausedAt(asked.cluster)]);
  const from = (asked.page - 1) * PAGE_ROWS;
  // Somebody who is newer than the count is found by the whole id.
  const fresh = rows.length === 0 && asked.q !== "" ? await subjectsOf(ledger, asked.q) : [];
  const subjects = [...rows.slice(from, from + PAGE_ROWS), ...fresh];
  const records = await Promise.all(subjects.map((subject) => ledger.record(subject)));
  const shown = subjects.flatMap((subject, i) => (records[i] && records[i].gen > 0 ? [{ subject, record: records[i] }] : []));
  return { asked, as, all: Math.max(rows.length, shown.length), shown, run, now, ...page, paused };
}
async function subjectsOf(ledger: Ledger, user: string): Promise<Subject[]> {
  return (await ledger.clusters()).map((cluster) => ({ cluster, user }));
}

async function subjectMain(ledger: Ledger, subject: Subject, settings: Config, reader: Reader) {
  const [record, person, { run }, history, now, paused] = await Promise.all([
    ledger.record(subject),
    ledger.userRecord(subject.user),
    ledger.mark(),
    historyOf(ledger, subject),
    ledger.now(),
    ledger.pausedAt(subject.cluster),
  ]);
  return subjectPage({ explanation: explanationOf(subject, record, { person, run, now, settings }), record, history, now, reader, paused });
}

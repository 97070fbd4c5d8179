// What a person who may write can do on the dashboard: look at one subject now, look again at all that fail for one reason, pause a cluster and resume it.
// Each is a form of one of its pages, is in the audit log, and writes to the ledger and the queues only: never to a cluster.
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import type { Group } from "../../shared/ledger/ask.ts";
import { lookAgain, lookAgainAt, wakeUnsettled } from "../../shared/ledger/ask.ts";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import { problem } from "../../shared/run/http.ts";
import type { Log } from "../../shared/run/log.ts";
import type { Subject } from "../../shared/subject.ts";
import { ClusterId, ID_LENGTH_MAX } from "../../shared/subject.ts";
import type { Person } from "./access.ts";
import type { Action } from "./forms.ts";
import { ACTIONS, backTo, isFromHere, isOwnToken } from "./forms.ts";

const BODY_BYTES_MAX = 64 * 1024;

/** Browsers send line ends as CRLF. */
const text = z.string().transform((value) => value.replaceAll("\r\n", "\n"));
const FIELDS = { csrf: z.string(), back: z.string().default("/") };
const FORMS = {
  reconcile: z.strictObject({ ...FIELDS, cluster: ClusterId, user: z.string().min(1).max(ID_LENGTH_MAX) }),
  retry: z.strictObject({
    ...FIELDS,
    reason: text.pipe(z.string().min(1)),
    cluster: z.union([ClusterId, z.literal("").transform(() => undefined)]).optional(),
  }),
  pause: z.strictObject({ ...FIELDS, cluster: ClusterId }),
  resume: z.strictObject({ ...FIELDS, cluster: ClusterId }),
} as const satisfies Record<Action, z.ZodType>;
type Form<A extends Action> = z.output<(typeof FORMS)[A]>;

/** What actions are done with. */
interface Desk {
  readonly ledger: Ledger;
  readonly log: Log;
  readonly personOf: (request: FastifyRequest) => Person;
}

/** To be registered where somebody may write. */
export function actions(desk: Desk): FastifyPluginAsync {
  return async (app) => {
    app.removeAllContentTypeParsers();
    app.addContentTypeParser(
      "application/x-www-form-urlencoded",
      { parseAs: "string", bodyLimit: BODY_BYTES_MAX },
      async (_request: FastifyRequest, body: string) => new URLSearchParams(body),
    );
    app.addHook("onRequest", async (request, reply) => {
      if (!desk.personOf(request).mayWrite) return problem(reply, 403, "UNDERSTUDY_DASHBOARD_WRITE does not name you");
      return isFromHere(request.headers) ? undefined : problem(reply, 403, "this was sent by a page that is not the dashboard's");
    });
    const add = <A extends Action>(action: A, act: Act<A>): void => addAction(app, desk, action, act);
    add("reconcile", lookAtOne);
    add("retry", lookAtGroup);
    add("pause", pause);
    add("resume", resume);
  };
}

/** Returns how many subjects or clusters it was done to. */
type Act<A extends Action> = (form: Form<A>, by: string, desk: Desk) => Promise<number>;

function addAction<A extends Action>(app: FastifyInstance, desk: Desk, action: A, act: Act<A>): void {
  app.post(ACTIONS[action], async (request, reply): Promise<FastifyReply> => {
    const person = desk.personOf(request);
    const read = readForm(action, request.body);
    if ("problem" in read) return problem(reply, 400, read.problem);
    const { form } = read;
    if (!(await isOwnToken(form.csrf, person, desk.ledger))) return problem(reply, 403, "this form is not yours, or too old: load the page again");
    if (form.cluster !== undefined && !(await desk.ledger.clusters()).includes(form.cluster))
      return problem(reply, 404, "nobody was ever known on such a cluster");
    const count = await act(form, person.name, desk);
    return reply.redirect(backTo(form.back, action, count), 303);
  });
}

/** Each field once, and none besides. Names the places, and no value. */
function readForm<A extends Action>(action: A, body: unknown): { readonly form: Form<A> } | { readonly problem: string } {
  const fields = body instanceof URLSearchParams ? [...body] : [];
  const names = fields.map(([name]) => name);
  if (new Set(names).size < names.length) return { problem: "a field came twice" };
  const read = FORMS[action].safeParse(Object.fromEntries(fields));
  if (read.success) return { form: read.data as Form<A> };
  return { problem: read.error.issues.map((issue) => `${issue.path.join(".") || "form"}: ${issue.message}`).join("; ") };
}

async function lookAtOne({ cluster, user }: Subject, by: string, { ledger, log }: Desk): Promise<number> {
  await lookAgain(ledger, { cluster, user });
  log.lookAsked({ by, cluster, user });
  return 1;
}

async function lookAtGroup({ reason, cluster }: Group, by: string, { ledger, log }: Desk): Promise<number> {
  let count = 0;
  // Each is told where it is done, for what comes after it may go wrong.
  await lookAgainAt(ledger, { reason, cluster }, (subject) => {
    count += 1;
    log.lookAsked({ by, ...subject, reason });
  });
  return count;
}

async function pause({ cluster }: Form<"pause">, by: string, { ledger, log }: Desk): Promise<number> {
  if (!(await ledger.pauseCluster(cluster, { by, since: await ledger.now() }))) return 0;
  log.clusterPaused({ by, cluster });
  return 1;
}

async function resume({ cluster }: Form<"resume">, by: string, { ledger, log }: Desk): Promise<number> {
  if (!(await ledger.resumeCluster(cluster))) return 0;
  log.clusterResumed({ by, cluster });
  // Their jobs would come back by themselves, but later.
  await wakeUnsettled(ledger, cluster);
  return 1;
}

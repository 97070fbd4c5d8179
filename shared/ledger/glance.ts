// What the page has to know of every subject: a few fields of each record, in pages, and which groups its user has. Reads only.
import type { Redis } from "ioredis";
import type { Facts, Subject } from "../subject.ts";
import { canonical, subjectKey, subjectOf } from "../subject.ts";
import type { SubjectRecord } from "./record.ts";
import { recordOf } from "./record.ts";

/** Where a shard lies. */
interface Place {
  readonly redis: Redis;
  readonly tag: string;
}
/** `record`: without what its user may be and without what was applied. `factsN`: rises with every change of the user's facts, on all clusters. */
export interface Glance {
  readonly subject: Subject;
  readonly record: SubjectRecord;
  readonly factsN: number;
}

const FIELDS = ["gen", "obs", "conf", "result", "since", "reason", "alien", "fails", "retryAt", "lastFail", "settledAt", "changedAt"] as const;
const AT_ONCE = 500;
const recordKey = (tag: string, subject: Subject): string => `${tag}:rec:${subjectKey(subject)}`;

/** Every subject of a cluster, a page at a time; one may come twice. */
export async function* glances({ redis, tag }: Place, cluster: string): AsyncGenerator<Glance[]> {
  let cursor = "0";
  do {
    const [next, keys] = await redis.sscan(`${tag}:subjects:${cluster}`, cursor, "COUNT", AT_ONCE);
    cursor = next;
    yield await glancesOf({ redis, tag }, keys.map(subjectOf));
  } while (cursor !== "0");
}

async function glancesOf({ redis, tag }: Place, subjects: readonly Subject[]): Promise<Glance[]> {
  const rows = await inOneGo(redis, subjects, (pipeline, subject) => pipeline.hmget(recordKey(tag, subject), ...FIELDS, "factsN"));
  return subjects.flatMap((subject, position) => {
    const values = rows[position] as (string | null)[];
    const fields = new Map(FIELDS.flatMap((field, i) => (values[i] == null ? [] : [[field, values[i]]])));
    // A record that only remembers ends of bindings never was a subject.
    return Number(fields.get("gen") ?? 0) > 0 ? [{ subject, record: recordOf(fields), factsN: Number(values[FIELDS.length] ?? 0) }] : [];
  });
}

/** The groups that providers say of each subject's user. */
export async function groupsOf({ redis, tag }: Place, subjects: readonly Subject[]): Promise<string[][]> {
  const rows = await inOneGo(redis, subjects, (pipeline, subject) => pipeline.hget(recordKey(tag, subject), "facts"));
  return rows.map((text) => {
    const facts = text === null ? undefined : (JSON.parse(text as string) as Facts);
    return canonical(Object.values(facts?.providers ?? {}).flatMap(({ groups = [] }) => groups));
  });
}

type Pipeline = ReturnType<Redis["pipeline"]>;
/** One command for each subject, sent together. @throws whatever Redis answers to one of them. */
async function inOneGo(redis: Redis, subjects: readonly Subject[], command: (pipeline: Pipeline, subject: Subject) => Pipeline): Promise<unknown[]> {
  if (subjects.length === 0) return [];
  const pipeline = redis.pipeline();
  for (const subject of subjects) command(pipeline, subject);
  const answers = (await pipeline.exec()) ?? [];
  return answers.map(([error, value]) => {
    if (error) throw error;
    return value;
  });
}

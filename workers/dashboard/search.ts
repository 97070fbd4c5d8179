// What a search finds in a count: by user, cluster or group as it is written, else by a part of a user or group. Pure.
import { z } from "zod";
import type { Count, Row } from "./count.ts";
import { STATES } from "./count.ts";
import type { People } from "./people.ts";

const TEXT_MAX = 1024;
export const PAGE_ROWS = 50;

/** The edge: an address that somebody has typed. What means nothing is as if it were not there. */
const Asked = z.object({
  q: z.string().trim().max(TEXT_MAX).catch(""),
  cluster: z.string().max(TEXT_MAX).catch(""),
  state: z.enum(STATES).optional().catch(undefined),
  reason: z.string().max(4096).catch(""),
  page: z.coerce.number().int().min(1).max(1_000_000).catch(1),
});
export type Asked = z.infer<typeof Asked>;
export const askedFrom = (query: unknown): Asked => Asked.parse(query);
export const asksNothing = ({ q, cluster, state, reason }: Asked): boolean => q + cluster + reason === "" && state === undefined;

/** `as`: what the text was taken for. */
export interface Found {
  readonly rows: readonly Row[];
  readonly as: string;
}

export function search(count: Count, people: People, { q, cluster, state, reason }: Asked): Found {
  const { isMeant, as } = meaningOf(q, count, people);
  const rows = count.rows.filter(
    (row) =>
      (cluster === "" || row.cluster === cluster) && (state === undefined || row.state === state) && (reason === "" || row.reason === reason) && isMeant(row),
  );
  return { rows, as };
}

function meaningOf(q: string, count: Count, people: People): { isMeant: (row: Row) => boolean; as: string } {
  if (q === "") return { isMeant: () => true, as: "" };
  const isCluster = count.clusters.has(q);
  const members = people.membersOf(q);
  const meanings = [people.has(q) ? "a user" : "", isCluster ? "a cluster" : "", members ? "a group" : ""].filter((word) => word !== "");
  if (meanings.length > 0) {
    return { isMeant: ({ user, cluster }) => user === q || (isCluster && cluster === q) || members?.has(user) === true, as: meanings.join(" and ") };
  }
  const part = q.toLowerCase();
  const inGroups = new Set<string>();
  for (const group of people.groups) if (group.toLowerCase().includes(part)) for (const user of people.membersOf(group) ?? []) inGroups.add(user);
  return { isMeant: ({ user }) => inGroups.has(user) || user.toLowerCase().includes(part), as: "part of the id of a user or group" };
}

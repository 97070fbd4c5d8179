// `--cluster` and `--user` as commands take them that are about one.
import type { Subject } from "../../shared/subject.ts";
import { ClusterId, ID_LENGTH_MAX } from "../../shared/subject.ts";
import { UsageError } from "../settings.ts";

/** @throws UsageError for an id that no cluster can have. */
export function clusterFrom({ cluster = "" }: { readonly cluster?: string }): string {
  const read = ClusterId.safeParse(cluster);
  if (!read.success) throw new UsageError(`--cluster: ${read.error.issues[0]!.message}`);
  return read.data;
}

/** @throws UsageError for ids that can name no subject. */
export function subjectFrom(options: { readonly cluster?: string; readonly user?: string }): Subject {
  const cluster = clusterFrom(options);
  const { user = "" } = options;
  if (user === "" || user.length > ID_LENGTH_MAX) throw new UsageError(`--user: 1 to ${ID_LENGTH_MAX} characters`);
  return { cluster, user };
}

// Forward authentication: a proxy's question about a request of a person, read from its headers. Who may ask and what is answered is credentials.ts's.
import type { IncomingMessage } from "node:http";
import type { Subject } from "../shared/subject.ts";
import { single, utf8 } from "../shared/run/http.ts";
import { ClusterId, ID_LENGTH_MAX } from "../shared/subject.ts";

type Headers = IncomingMessage["headersDistinct"];
export type Forwarded = Subject | { readonly status: 400 | 401; readonly detail: string };

/**
 * The person from the header that a setting names, the cluster from X-Understudy-Cluster, or else from the path in X-Forwarded-Uri:
 * `/<cluster>/…`, `/clusters/<cluster>/…` or `/k8s/clusters/<cluster>/…`. A header that comes twice has been added by the client as well.
 */
export function forwardedFrom(headers: Headers, userHeader: string): Forwarded {
  for (const name of [userHeader, CLUSTER_HEADER, URI_HEADER])
    if ((headers[name]?.length ?? 0) > 1) return { status: 400, detail: `${name} came more than once; the proxy has to strip the client's` };
  const given = single(headers, userHeader);
  if (!given) return { status: 401, detail: `${userHeader} names no person` };
  const user = utf8(given);
  if (user === undefined || user.length > ID_LENGTH_MAX) return { status: 400, detail: `${userHeader}: up to ${ID_LENGTH_MAX} characters in UTF-8` };
  const cluster = single(headers, CLUSTER_HEADER) ?? clusterIn(single(headers, URI_HEADER) ?? "");
  if (!ClusterId.safeParse(cluster).success)
    return { status: 400, detail: "cluster: name it in X-Understudy-Cluster, or send X-Forwarded-Uri with a path such as /clusters/<cluster>/…" };
  return { user, cluster: cluster! };
}
const CLUSTER_HEADER = "x-understudy-cluster";
const URI_HEADER = "x-forwarded-uri";

/** Undefined for a path that a proxy behind this one might read in another way: one cluster's token would go to another. */
function clusterIn(uri: string): string | undefined {
  const path = uri.split(/[?#]/, 1)[0]!;
  if (/\/\/|\\|(^|\/)(\.|%2e){1,2}(\/|$)|%2f|%5c/i.test(path)) return undefined;
  return /^(?:\/k8s)?(?:\/clusters)?\/([^/]+)/.exec(path)?.[1];
}

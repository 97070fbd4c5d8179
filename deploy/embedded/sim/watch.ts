// One watch: the changes after a version that a selector lets through, bookmarks in between, as one JSON object a line.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
import type { ServerResponse } from "node:http";
import { Refusal } from "./refusal.ts";
import type { Selector } from "./selectors.ts";
import { selectorOf } from "./selectors.ts";
import type { Change, Store, Thing } from "./store.ts";
import { apiVersionOf } from "./resources.ts";
import type { Asked } from "./verbs.ts";

const SECONDS = 1800;
/** A real server's come once a minute, and before the end; whoever looks at a simulated one does not want to wait so long. */
const BOOKMARK_MS = 10_000;

/** Writes until the time is over or the caller goes. `shown` is how an object is sent. */
export function serveWatch(store: Store, { target: { resource, namespace }, query }: Asked, response: ServerResponse, shown: (object: Thing) => object): void {
  const selects = selectorOf(query.get("labelSelector"), query.get("fieldSelector"));
  const isHere = (object: Thing): boolean => (namespace === undefined || object.metadata.namespace === namespace) && selects(object);
  const write = (type: string, object: object): void => void response.write(`${JSON.stringify({ type, object })}\n`);
  const tell = (change: Change): void => {
    if (change.resource !== resource) return;
    const type = typeFor(change, isHere);
    if (type) write(type, shown(change.object));
  };
  const bookmark = (): void => {
    if (query.get("allowWatchBookmarks") !== "true") return;
    const metadata = { resourceVersion: String(store.version), creationTimestamp: null };
    write("BOOKMARK", shown({ kind: resource.kind, apiVersion: apiVersionOf(resource), metadata } as unknown as Thing));
  };
  const from = query.get("resourceVersion") ?? "";
  response.writeHead(200, { "content-type": "application/json" });
  response.flushHeaders();
  try {
    if (from === "" || from === "0") for (const object of store.list(resource, namespace).filter(isHere)) write("ADDED", shown(object));
    else for (const change of store.since(Number(from))) tell(change);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    write("ERROR", error.body);
    return void response.end();
  }
  const unfollow = store.follow(tell);
  const bookmarks = setInterval(bookmark, BOOKMARK_MS);
  const end = setTimeout(() => (bookmark(), response.end()), 1000 * (Number(query.get("timeoutSeconds")) || SECONDS));
  response.once("close", () => {
    unfollow();
    clearInterval(bookmarks);
    clearTimeout(end);
  });
}

/** What begins to be selected is added, and what ceases to be is deleted. */
function typeFor({ type, object, before }: Change, selects: Selector): Change["type"] | undefined {
  const was = before !== undefined && selects(before);
  const is = type !== "DELETED" && selects(object);
  if (is) return was ? "MODIFIED" : "ADDED";
  return was ? "DELETED" : undefined;
}

// What a request's headers say: whose token, as whom, by which program, and in which form the answer is wanted.
import type { IncomingMessage } from "node:http";
import type { Impersonation } from "./rbac.ts";
import type { Thing } from "./store.ts";

export const bearerIn = ({ headers }: IncomingMessage): string | undefined => /^Bearer (.+)$/i.exec(headers.authorization ?? "")?.[1];
/** The field manager of a write. */
export const managerIn = ({ headers }: IncomingMessage): string => (headers["user-agent"] ?? "unknown").split("/")[0]!;

const EXTRA = "impersonate-extra-";
/** https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation */
export function impersonationIn({ rawHeaders }: IncomingMessage): Impersonation {
  const groups: string[] = [];
  const extra: Record<string, string[]> = {};
  let user: string | undefined;
  let uid: string | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase();
    const value = Buffer.from(rawHeaders[i + 1]!, "latin1").toString();
    if (name === "impersonate-user") user = value;
    else if (name === "impersonate-uid") uid = value;
    else if (name === "impersonate-group") groups.push(value);
    else if (name.startsWith(EXTRA)) (extra[decodeURIComponent(name.slice(EXTRA.length))] ??= []).push(value);
  }
  return { user, uid, groups, extra };
}

const AS = /as=PartialObjectMetadata(?:List)?;/;
/** Whole objects, or their metadata alone. https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches */
export function viewFor(accept: string): { one: (object: object) => object; list: (list: object) => object } {
  // kubectl names several forms; the first that is served is metadata only where nothing else was asked for.
  if (!AS.test(accept.split(",")[0]!)) return { one: (object) => object, list: (list) => list };
  const one = (object: object): object => ({ kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: (object as Thing).metadata });
  const list = (whole: object): object => {
    const { metadata, items } = whole as { metadata: object; items: object[] };
    return { kind: "PartialObjectMetadataList", apiVersion: "meta.k8s.io/v1", metadata, items: items.map(one) };
  };
  return { one, list };
}

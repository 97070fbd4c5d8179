// Names, labels and annotations of the objects on a downstream cluster (Rancher's names and shapes, so that both can be read alike). Pure.
import { createHash } from "node:crypto";

export const NAMESPACE = "cattle-impersonation-system";
export const PREFIX = "cattle-impersonation-";

/** Rancher: on all of an impersonator's objects, and on the namespace. */
export const IMPERSONATOR_LABEL = "authz.cluster.cattle.io/impersonator";
export const SECRET_ACCOUNT_LABEL = "cattle.io/service-account.name";
/** Kubernetes: which ServiceAccount a token Secret is for. */
export const SECRET_ACCOUNT_ANNOTATION = "kubernetes.io/service-account.name";
/** Kubernetes: preset at creation, or a lagging token controller takes the Secret for the previous account's and deletes it. */
export const SECRET_ACCOUNT_UID_ANNOTATION = "kubernetes.io/service-account.uid";
/** Rancher: on the ServiceAccount, `<namespace>/<name>` of the one Secret that counts. */
export const SECRET_REF_ANNOTATION = "rancher.io/service-account.secret-ref";
/** The id, byte for byte: the name may be a slug of it. */
export const USER_ANNOTATION = "understudy.io/user";
/** Which installation made it; another's is foreign and never swept. */
export const INSTALL_ANNOTATION = "understudy.io/install";
/** On the ClusterRole: until when the login grant runs (RFC 3339). What Redis forgets, the role remembers. */
export const LOGIN_ENDS_ANNOTATION = "understudy.io/login-ends";
/** On the ClusterRole: the run that took over from a dead or paused one; changes the resourceVersion, which is the point. */
export const SEALED_BY_ANNOTATION = "understudy.io/sealed-by";

const DIRECT_LENGTH_MAX = 42; // 63, the limit of a label value, less the prefix
const direct = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** Also read by the fence, in CEL: plain enough for both. */
export const SLUG_END = /-[0-9a-f]{16}$/;

/**
 * The part of the object names that stands for the user: the id itself where Kubernetes allows it, else a slug and 64 bits of SHA-256.
 * No id that is used as it is ends like a slug, so the two forms never meet.
 */
export function slugOf(user: string): string {
  if (user.length <= DIRECT_LENGTH_MAX && direct.test(user) && !SLUG_END.test(user)) return user;
  const hash = createHash("sha256").update(user, "utf8").digest("hex").slice(0, 16);
  const readable = user
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+/, "")
    .slice(0, DIRECT_LENGTH_MAX - 17)
    .replace(/-+$/, "");
  return `${readable || "x"}-${hash}`;
}

/** Name of the ClusterRole, ServiceAccount and ClusterRoleBinding of a user. */
export function nameOf(user: string): string {
  return PREFIX + slugOf(user);
}

/** The user of an object's name; undefined where the name is no impersonator's, or a slug, which does not say whose. */
export function userOf(name: string): string | undefined {
  const user = name.slice(PREFIX.length);
  return name.startsWith(PREFIX) && user !== "" && slugOf(user) === user ? user : undefined;
}

/** Name of a token Secret: chosen once by whoever makes the ServiceAccount, so that any number of racers make one Secret. */
export function secretNameOf(user: string, nonce: string): string {
  return `${nameOf(user)}-token-${nonce}`;
}

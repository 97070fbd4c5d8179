// Refusals with the status, reason and words of a real API server, as far as a client may go by them.
import type { V1StatusDetails } from "@kubernetes/client-node";
import type { Resource } from "./resources.ts";
import { called } from "./resources.ts";

/** https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/ */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: number;
  readonly reason: string;
  readonly details: V1StatusDetails | undefined;

  constructor(status: number, reason: string, message: string, details?: V1StatusDetails) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.details = details;
  }
  get body(): object {
    const { status: code, reason, message, details } = this;
    return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, ...(details ? { details } : {}), code };
  }
}

const of = ({ group, plural }: Resource, name: string, causes?: V1StatusDetails["causes"]): V1StatusDetails => ({
  name,
  ...(group === "" ? {} : { group }),
  kind: plural,
  ...(causes ? { causes } : {}),
});
export const notFound = (resource: Resource, name: string): Refusal =>
  new Refusal(404, "NotFound", `${called(resource)} "${name}" not found`, of(resource, name));
export const alreadyExists = (resource: Resource, name: string): Refusal =>
  new Refusal(409, "AlreadyExists", `${called(resource)} "${name}" already exists`, of(resource, name));
export const conflict = (resource: Resource, name: string, why: string): Refusal =>
  new Refusal(409, "Conflict", `Operation cannot be fulfilled on ${called(resource)} "${name}": ${why}`, of(resource, name));
export const invalid = (resource: Resource, name: string, field: string, message: string): Refusal =>
  new Refusal(
    422,
    "Invalid",
    `${resource.kind} "${name}" is invalid: ${field}: ${message}`,
    of(resource, name, [{ reason: "FieldValueInvalid", message, field }]),
  );
export const terminating = (resource: Resource, name: string, namespace: string): Refusal =>
  new Refusal(
    403,
    "Forbidden",
    `${called(resource)} "${name}" is forbidden: unable to create new content in namespace ${namespace} because it is being terminated`,
    of(resource, name, [{ reason: "NamespaceTerminating", message: `namespace ${namespace} is being terminated`, field: "metadata.namespace" }]),
  );
export const expired = (message: string): Refusal => new Refusal(410, "Expired", message);
export const badRequest = (message: string): Refusal => new Refusal(400, "BadRequest", message);
export const unauthorized = (): Refusal => new Refusal(401, "Unauthorized", "Unauthorized");
export const noSuchPath = (): Refusal => new Refusal(404, "NotFound", "the server could not find the requested resource");
export const notAllowed = (): Refusal => new Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");

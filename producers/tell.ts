// What the watches and the hook have noticed → the ledger. Every way in ends in submit: the fact first, then the job. Decides nothing.
import type { Ledger } from "../shared/ledger/ledger.ts";
import type { Learned, Submission, Submitted, Told } from "../shared/ledger/told.ts";
import type { UserRecord } from "../shared/ledger/record.ts";
import type { Cause, QueueName } from "../shared/jobs.ts";
import type { Candidate, Subject } from "../shared/subject.ts";
import { BUILT_IN_GROUPS, canonical } from "../shared/subject.ts";
import type { Bindings } from "./bindings.ts";
import { candidateFrom, grantFrom } from "./bindings.ts";
import type { Binding } from "./rancher.ts";

/** The groups of a user over all providers. */
export const groupsOf = ({ facts }: Pick<UserRecord, "facts">): string[] => canonical(Object.values(facts.providers).flatMap((values) => values.groups ?? []));

/**
 * Submits with the candidates that the bindings of this process make for the subject, then looks at them again: one may have come or gone meanwhile,
 * and whoever looked for subjects with a login grant then did not find this one.
 */
export async function submitWithCandidates(
  ledger: Ledger,
  bindings: Bindings,
  subject: Subject,
  told: Submission & { readonly copy: UserRecord },
  cause: Cause,
  queue: QueueName,
): Promise<Submitted> {
  const current = (): Told<Candidate>[] => bindings.candidatesFor(subject.cluster, subject.user, groupsOf(told.copy));
  let sent = current();
  const submitted = await ledger.submit(subject, { ...told, candidates: [...(told.candidates ?? []), ...sent] }, cause, queue);
  for (;;) {
    const now = current();
    const gone = sent.filter(({ id }) => !now.some((other) => other.id === id)).map(({ id }) => ({ id, rv: bindings.goneAt(id), live: undefined }));
    const come = now.filter(({ id }) => !sent.some((other) => other.id === id));
    if (gone.length === 0 && come.length === 0) return submitted;
    sent = now;
    await ledger.submit(subject, { candidates: [...gone, ...come] }, cause, queue);
  }
}

/** A user's own binding came, changed or went. */
export async function tellGrant(ledger: Ledger, bindings: Bindings, subject: Subject, grant: Told<{ id: string; kind: string; name: string }>): Promise<void> {
  const copy = await ledger.learn(subject.user, { join: subject.cluster });
  const queue = grant.live ? "binding" : "deletion";
  await submitWithCandidates(ledger, bindings, subject, { grants: [grant], copy }, queue, queue);
}

export const tellBinding = (ledger: Ledger, bindings: Bindings, binding: Binding, cluster: string, user: string): Promise<void> =>
  tellGrant(ledger, bindings, { cluster, user }, grantFrom(binding));

/** What is known of a user changed: the user's record first, then a copy to every subject. */
export async function tellUser(ledger: Ledger, bindings: Bindings, user: string, learned: Learned): Promise<UserRecord> {
  const copy = await ledger.learn(user, learned);
  const queue = learned.user && !learned.user.live?.enabled ? "deletion" : "binding";
  await Promise.all(copy.clusters.map((cluster) => submitWithCandidates(ledger, bindings, { cluster, user }, { copy }, "facts", queue)));
  return copy;
}

/** A group or global binding came: whoever of its holders has a login grant is told. */
export async function tellCandidate(ledger: Ledger, binding: Binding, clusters: readonly string[]): Promise<void> {
  const { holder } = binding;
  const candidates = [candidateFrom(binding)];
  for (const cluster of binding.cluster === undefined ? clusters : [binding.cluster]) {
    for await (const { subject, record } of ledger.subjects(cluster)) {
      if (!record.login) continue;
      const groups = [...BUILT_IN_GROUPS, ...[...Object.values(record.facts?.providers ?? {}), record.restored ?? {}].flatMap((values) => values.groups ?? [])];
      if ("user" in holder ? holder.user === subject.user : groups.includes(holder.group)) await ledger.submit(subject, { candidates }, "binding", "binding");
    }
  }
}

/** It went, or is another one under the same name: whoever holds it is told, login grant or not. */
export async function tellHolders(ledger: Ledger, id: string, rv: string, clusters: readonly string[], bindings: Bindings): Promise<void> {
  for (const cluster of clusters) {
    for await (const { subject, record } of ledger.subjects(cluster)) {
      const told = bindings.candidateOn(cluster, id) ?? { id, rv, live: undefined };
      if (record.candidates.some((candidate) => candidate.id === id)) await ledger.submit(subject, { candidates: [told] }, "deletion", "deletion");
    }
  }
}

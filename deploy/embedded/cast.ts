// Who plays which part in a demo: picked from whatever people and bindings there are, so that another sample tells the same story. Pure.
import type { SampleObject } from "./sample.ts";

/** Somebody who has a binding of their own. */
export interface Holder {
  readonly user: string;
  readonly cluster: string;
  readonly binding: SampleObject;
}
/** Undefined where a sample has nobody for a part: that act is left out. */
export interface Cast {
  /** Logs in with a provider that nothing is known from yet. */
  readonly login: Holder | undefined;
  /** Is entitled by a group's binding alone. */
  readonly member: { readonly user: string; readonly group: string; readonly cluster: string } | undefined;
  readonly admin: string | undefined;
  /** Has one binding on that cluster, which is deleted. */
  readonly leaves: Holder | undefined;
  /** Somebody changes that role by hand. */
  readonly drift: Holder | undefined;
  /** Shows what a token may do; and as whom it may not. */
  readonly proof: Holder | undefined;
  readonly other: string;
}

const textIn = (object: SampleObject, field: string): string | undefined =>
  typeof object[field] === "string" && object[field] !== "" ? object[field] : undefined;
/** The cluster of a binding. */
export const clusterOf = (object: SampleObject): string | undefined => textIn(object, "clusterName") ?? textIn(object, "projectName")?.split(":")[0];

export function castFrom(sample: readonly SampleObject[], globalRoles: readonly string[]): Cast {
  const of = (...kinds: SampleObject["kind"][]): SampleObject[] => sample.filter(({ kind }) => kinds.includes(kind));
  const people = of("User").filter((user) => user["enabled"] !== false);
  const enabled = new Set(people.map(({ metadata }) => metadata.name));
  const known = new Set(of("UserAttribute").map(({ metadata }) => metadata.name));
  const bindings = of("ClusterRoleTemplateBinding", "ProjectRoleTemplateBinding");
  const holders = bindings.flatMap((binding): Holder[] => {
    const [user, cluster] = [textIn(binding, "userName"), clusterOf(binding)];
    return user !== undefined && cluster !== undefined && enabled.has(user) ? [{ user, cluster, binding }] : [];
  });
  const only = ({ user, cluster }: Holder): boolean => holders.filter((one) => one.user === user && one.cluster === cluster).length === 1;
  const global = of("GlobalRoleBinding").filter((one) => globalRoles.includes(textIn(one, "globalRoleName") ?? ""));
  const admin = global.map((one) => textIn(one, "userName")).find((user) => user !== undefined && enabled.has(user));
  // Whoever holds a global role keeps access when a binding goes.
  const leavers = holders.toReversed().filter((one) => only(one) && one.user !== admin);
  const taken = new Set<string | undefined>();
  const take = <T extends { readonly user: string }>(...choices: (T | undefined)[]): T | undefined => {
    const one = choices.find((choice) => choice && !taken.has(choice.user));
    taken.add(one?.user);
    return one;
  };
  const proof = take(
    holders.find(({ user }) => known.has(user)),
    holders[0],
  );
  const leaves = take(...leavers.filter(({ binding }) => binding.kind === "ProjectRoleTemplateBinding"), ...leavers);
  const login = take(...holders.filter(({ user }) => !known.has(user)), ...holders) ?? proof;
  const member = bindings.flatMap((binding) => {
    const [group, cluster] = [textIn(binding, "groupPrincipalName"), clusterOf(binding)];
    const user = people.map(({ metadata }) => metadata.name).find((name) => name !== admin && !holders.some((one) => one.user === name));
    return group !== undefined && cluster !== undefined && user !== undefined ? [{ user, group, cluster }] : [];
  })[0];
  const drift = take(...holders) ?? login;
  const other = people.map(({ metadata }) => metadata.name).find((name) => name !== proof?.user) ?? "u-nobody";
  return { login, member, admin, leaves, drift, proof, other };
}

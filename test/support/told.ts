// Bindings, Users, logins and lists for tests of what producers tell the ledger: all of it in memory, but for the Redis.
import type { KubernetesObject } from "@kubernetes/client-node";
import { Bindings } from "../../producers/bindings.ts";
import { type LoginParts, storeLogin } from "../../producers/logins.ts";
import type { Binding } from "../../producers/rancher.ts";
import { decide } from "../../shared/decide/identity.ts";
import type { Kind } from "../../shared/decide/plan.ts";
import { type CallOptions, ClusterClient, type List } from "../../shared/kube/client.ts";
import { knowledgeOf } from "../../shared/ledger/record.ts";
import type { Subject } from "../../shared/subject.ts";
import { aPolicy } from "./builders.ts";
import { DAY, type Bench } from "./ledger.ts";
import type { ObjectModel } from "./object-model.ts";

export const CLUSTER = "c-amber";
export const [TEAM, OTHER_TEAM] = ["github_team://one", "github_team://two"];
/** A signal that never ends anything. */
export const going = new AbortController().signal;

/** A ClusterRoleTemplateBinding of `CLUSTER`. */
export function aCrtb(name: string, holder: Binding["holder"], rv: string): Binding {
  return { id: `clusterroletemplatebindings:${CLUSTER}/${name}`, kind: "ClusterRoleTemplateBinding", name: `${CLUSTER}/${name}`, rv, cluster: CLUSTER, holder };
}

/** What the watches have told, as of a resourceVersion. */
export function bindingsAt(rv: string, all: readonly Binding[], users: readonly string[]): Bindings {
  const bindings = new Bindings();
  bindings.loaded = true;
  for (const binding of all) bindings.put(binding);
  for (const user of users) bindings.users.set(user, { rv, live: { enabled: true, principalid: [`local://${user}`], username: [user] } });
  for (const kind of ["clusterroletemplatebindings", "users"] as const) bindings.versions.set(kind, rv);
  return bindings;
}

export function loginParts({ ledger }: Bench, bindings: Bindings, clusters: readonly string[] = [CLUSTER]): LoginParts {
  return {
    ledger,
    bindings,
    config: { source: "rancher", facts: "newest", loginGrantMs: 30 * DAY },
    clusters: () => [...clusters],
    seenAt: async () => Date.now(),
  };
}

/** Logs a member of the groups in, who counts on `CLUSTER`. */
export async function logIn(bench: Bench, bindings: Bindings, user: string, groups: readonly string[]): Promise<void> {
  const login = { user, cluster: CLUSTER, provider: "github", values: [["groups", groups]] } as const;
  await storeLogin(loginParts(bench, bindings), login, await bench.now(), [CLUSTER]);
}

/** What the next run would decide by what is known now. */
export async function decisionOn({ ledger, now }: Bench, subject: Subject) {
  const record = await ledger.record(subject);
  return record ? decide(knowledgeOf(subject.user, record, await now()), aPolicy()) : undefined;
}
export const isEntitled = async (bench: Bench, user: string): Promise<boolean> => (await decisionOn(bench, { cluster: CLUSTER, user }))?.kind === "present";

const KINDS: Readonly<Record<string, Kind>> = {
  clusterroles: "ClusterRole",
  serviceaccounts: "ServiceAccount",
  secrets: "Secret",
  clusterrolebindings: "ClusterRoleBinding",
};
/** A cluster that lists what these models hold, and no RoleBinding. */
export const listing = (models: readonly ObjectModel[]): ListedCluster => new ListedCluster((path) => itemsOf(models, path));

type Items = (path: string, query: NonNullable<CallOptions["query"]>) => readonly KubernetesObject[] | Promise<readonly KubernetesObject[]>;
/** What the models hold of the kind that a path lists. */
export const itemsOf = (models: readonly ObjectModel[], path: string): KubernetesObject[] =>
  models.flatMap((model): KubernetesObject[] => {
    const kind = KINDS[path.split("/").at(-1)!];
    return kind === undefined ? [] : model.all(kind);
  });

/** A cluster that answers lists, and nothing else. */
export class ListedCluster extends ClusterClient {
  readonly #items: Items;

  /** `items` may throw: that list cannot be had. */
  constructor(items: Items) {
    super(CLUSTER, { server: "http://127.0.0.1:1", tls: {}, proxyUrl: undefined, authorize: async () => ({}) }, "test");
    this.#items = items;
  }

  override async list<T extends KubernetesObject>(path: string, query: CallOptions["query"] = {}): Promise<List<T>> {
    return { items: [...(await this.#items(path, query))] as T[], resourceVersion: "1" };
  }
}

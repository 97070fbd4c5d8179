// Another controller with a User-Agent of its own, which takes a role for its own and writes its own rules into it whenever it sees others.
import type { V1ClusterRole, V1PolicyRule } from "@kubernetes/client-node";
import type { ApiServer } from "../apiserver/start.ts";
import { nameOf } from "../../shared/names.ts";
import { waitUntil } from "./wait-until.ts";

const EVERY_MS = 20;

export class Rival {
  readonly #server: ApiServer;
  readonly #path: string;
  readonly #agent: string;
  readonly #end = new AbortController();
  #running: Promise<unknown> | undefined;
  /** How often it wrote. */
  writes = 0;

  /** `agent`: its User-Agent, of which an API server takes the part before the slash as its name. */
  constructor(server: ApiServer, user: string, agent: string) {
    this.#server = server;
    this.#path = `/apis/rbac.authorization.k8s.io/v1/clusterroles/${nameOf(user)}`;
    this.#agent = agent;
  }

  /** Undefined where the role is not there. */
  async role(): Promise<V1ClusterRole | undefined> {
    const { status, body } = await this.#server.call("GET", this.#path);
    return status === 200 ? (body as V1ClusterRole) : undefined;
  }

  /** One write of these rules over whatever is there; false where somebody else was faster, or there is nothing. */
  async write(rules: readonly V1PolicyRule[]): Promise<boolean> {
    const role = await this.role();
    if (!role) return false;
    const { status } = await this.#server.call("PUT", this.#path, { ...role, rules }, { "user-agent": this.#agent });
    if (status === 200) this.writes += 1;
    return status === 200;
  }

  /** Writes `rules` as often as it sees others, until `stop`. */
  start(rules: readonly V1PolicyRule[]): void {
    const wanted = JSON.stringify(rules);
    const fight = async (): Promise<void> => {
      const role = await this.role();
      if (role && JSON.stringify(role.rules) !== wanted) await this.write(rules);
    };
    const untilStopped = async (): Promise<boolean> => {
      await fight();
      return this.#end.signal.aborted;
    };
    this.#running = waitUntil("the rival is stopped", untilStopped, { everyMs: EVERY_MS, deadlineMs: 600_000 });
  }

  async stop(): Promise<void> {
    this.#end.abort();
    // Where its API server has gone as well it has nothing left to do.
    await this.#running?.catch(() => undefined);
  }
}

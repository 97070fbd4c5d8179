// The acts in which something goes wrong: another hand on a role, and a cluster that is unplugged. Both are put right without a person.
import type { V1ClusterRole } from "@kubernetes/client-node";
import type { Ledger } from "../../shared/ledger/ledger.ts";
import type { StatusRow } from "../../shared/ledger/status.ts";
import { statusRows } from "../commands/status.ts";
import { roleNames, rolePath, until } from "./answers.ts";
import type { Holder } from "./cast.ts";
import { create } from "./fleet.ts";
import type { SampleObject } from "./sample.ts";
import { type Act, type Stage, adminOf } from "./stage.ts";

const MASTERS = "system:masters";

/** Somebody makes a person an administrator by hand. */
export const hands = ({ user, cluster }: Holder): Act => ({
  title: `Somebody adds ${MASTERS} to the role of ${user} on ${cluster}, by hand`,
  async play(stage, tally) {
    const ask = adminOf(stage, cluster);
    const role = (await ask("GET", rolePath(user))).body as V1ClusterRole;
    const rules = [...(role.rules ?? []), { verbs: ["impersonate"], apiGroups: [""], resources: ["groups"], resourceNames: [MASTERS] }];
    const { status } = await ask("PUT", rolePath(user), { ...role, rules });
    const began = performance.now();
    tally.expect(status === 200, `PUT the role with it: ${status}`);
    const names = await until(
      () => roleNames(ask, user),
      (seen) => !seen.some(({ name }) => name === MASTERS),
    );
    tally.expect(!names.some(({ name }) => name === MASTERS), `put back: after ${Math.round(performance.now() - began)} ms the role allows it no more`);
  },
});

/** Somebody new gets access on two clusters, of which one cannot be reached; the second act shows that it caught up while others went on. */
export function unplugging(): readonly [Act, Act] {
  let user = "";
  let plugged = 0;
  const awayIn = ({ fleet }: Stage) => fleet.downstream.at(-1)!;
  return [
    {
      title: "A cluster is unplugged while somebody new is given access",
      async play(stage, tally) {
        const { fleet, ledger } = stage;
        const [here, away] = [fleet.downstream[0]!, awayIn(stage)];
        user = await someoneNew(stage);
        away.cable.unplug();
        stage.say(`  ${away.name} is unplugged`);
        await giveAccess(stage, user, [here.name, away.name]);
        const began = performance.now();
        const first = await rowWhen(ledger, { cluster: here.name, user }, ({ state }) => state === "ready");
        tally.expect(first?.state === "ready", `${here.name}/${user} is ${first?.state} after ${Math.round(performance.now() - began)} ms`);
        const waits = await rowWhen(ledger, { cluster: away.name, user }, ({ state, reason }) => state === "pending" && reason !== "");
        tally.expect(waits?.state === "pending", `${away.name}/${user} is ${waits?.state}: ${waits?.reason}`);
        away.cable.plug();
        plugged = performance.now();
        stage.say(`  ${away.name} is plugged in again`);
      },
    },
    {
      title: "The cluster that was unplugged catches up, and nobody has to ask",
      async play(stage, tally) {
        const cluster = awayIn(stage).name;
        const caught = await rowWhen(stage.ledger, { cluster, user }, ({ state }) => state === "ready");
        tally.expect(
          caught?.state === "ready",
          `${cluster}/${user} is ${caught?.state}, at most ${Math.round(performance.now() - plugged)} ms after it was plugged in`,
        );
      },
    },
  ];
}

/** An id that the sample does not have. */
async function someoneNew({ fleet, cast }: Stage): Promise<string> {
  const path = "/apis/management.cattle.io/v3/users";
  for (const name of ["u-new", "u-newcomer", `u-new-${cast.other.replace(/^u-/, "")}`])
    if ((await fleet.management.ask("GET", `${path}/${name}`)).status === 404) return name;
  throw new Error("every name for somebody new is taken");
}

async function giveAccess({ fleet }: Stage, user: string, clusters: readonly string[]): Promise<void> {
  const { ask } = fleet.management;
  await create(ask, { kind: "User", metadata: { name: user }, displayName: "Somebody New", enabled: true });
  for (const cluster of clusters) {
    // The namespace of a cluster in which nobody had a binding yet is not there.
    await ask("POST", "/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name: cluster } });
    const binding: SampleObject = {
      kind: "ClusterRoleTemplateBinding",
      metadata: { name: `crtb-${user}`, namespace: cluster },
      clusterName: cluster,
      roleTemplateName: "cluster-member",
      userName: user,
    };
    await create(ask, binding);
  }
}

/** The first row that will do, or the last one when the time is over. */
function rowWhen(
  ledger: Ledger,
  { cluster, user }: { readonly cluster: string; readonly user: string },
  will: (row: StatusRow) => boolean,
): Promise<StatusRow | undefined> {
  return until(
    async () => (await statusRows({ ledger }, { cluster, user })).subjects[0],
    (row) => row !== undefined && will(row),
  );
}

// A stray Secret that a resync tells of while a run has already looked at the cluster: that run looks once more, for no other would come for it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { nameOf } from "../../shared/names.ts";
import { loggedIn, watched } from "../support/evidence.ts";
import { NAMESPACE, assertActsAsExactly } from "../support/impersonator.ts";
import { putCrtb, putUser } from "../support/rancher-objects.ts";
import { settledAs } from "../support/scenes.ts";
import { openTrappedHouse } from "../support/traps.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";

test("a stray Secret told of after a run's look is deleted by that run, because it reads of it and would forget it by settling", async () => {
  await using trapped = await openTrappedHouse({ clusters: [CLUSTER], workers: 1, settings: { UNDERSTUDY_RESYNC: "30d" } });
  const { house } = trapped;
  const server = house.cluster(CLUSTER);
  // So long that an object's name does not say whose it is: a resync has to find out.
  const user = `u-${"late-".repeat(12)}stray`;
  await putUser(house.management!, user);
  await putCrtb(house.management!, CLUSTER, "late", { userName: user });
  await loggedIn(house, user, CLUSTER, { groups: ["github_team://1"] });
  await watched(house, CLUSTER, user);
  const look = trapped.at(CLUSTER).hold(user, "GET ClusterRole");
  assert.equal((await house.command(["enqueue", "--cluster", CLUSTER, "--user", user])).code, 0);
  await look.caught();
  const heard = house.producer.lines.length;
  const path = `/api/v1/namespaces/${NAMESPACE}/secrets`;
  const metadata = { name: "not-named-like-one", annotations: { "kubernetes.io/service-account.name": nameOf(user) } };
  assert.equal((await server.call("POST", path, { type: "kubernetes.io/service-account-token", metadata })).status, 201);
  const told = (): boolean => house.producer.lines.slice(heard).some(({ msg, woken }) => msg === "cluster resynced" && Number(woken) > 0);
  await waitUntil("a resync tells of it", told);
  look.release();
  await waitUntil("it has gone", async () => (await server.call("GET", `${path}/${metadata.name}`)).status === 404);
  await settledAs(house, CLUSTER, user, "ready");
  await assertActsAsExactly(server, { user, groups: ["github_team://1"] });
});

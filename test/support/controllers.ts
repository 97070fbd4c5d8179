// Waits until the controller-manager has dealt with everything that happened before: what it still had to delete is then deleted.
import { randomBytes } from "node:crypto";
import type { ApiServer } from "../apiserver/start.ts";
import { NAMESPACE } from "./impersonator.ts";
import { waitUntil } from "./wait-until.ts";

/** One account with a token and a dependent goes the way of all those before it: both controllers work their queues off in order. */
export async function controllersCaughtUp(server: ApiServer): Promise<void> {
  const home = `/api/v1/namespaces/${NAMESPACE}`;
  const name = `barrier-${randomBytes(4).toString("hex")}`;
  const { body: account } = await server.call("POST", `${home}/serviceaccounts`, { metadata: { name } });
  await server.call("POST", `${home}/secrets`, {
    type: "kubernetes.io/service-account-token",
    metadata: { name, annotations: { "kubernetes.io/service-account.name": name } },
  });
  const ownerReferences = [{ apiVersion: "v1", kind: "ServiceAccount", name, uid: account.metadata.uid }];
  await server.call("POST", `${home}/configmaps`, { metadata: { name, ownerReferences } });
  await waitUntil("the token controller fills", async () => Boolean((await server.call("GET", `${home}/secrets/${name}`)).body.data?.token), {
    deadlineMs: 60_000,
  });
  await server.call("DELETE", `${home}/serviceaccounts/${name}`);
  for (const kind of ["secrets", "configmaps"]) {
    await waitUntil(`the controllers remove ${kind}`, async () => (await server.call("GET", `${home}/${kind}/${name}`)).status === 404, { deadlineMs: 60_000 });
  }
}

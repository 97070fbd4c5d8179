// Fewer names, taken away by a worker that died before it could say so: whoever takes over tells it, also where its own proof is still to come.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openStream } from "../support/event-stream.ts";
import { loggedIn } from "../support/evidence.ts";
import { assertActsAsExactly } from "../support/impersonator.ts";
import { putCrtb, putUser } from "../support/rancher-objects.ts";
import { TAKE_OVER_MS, logIn, settledAs } from "../support/scenes.ts";
import { openTrappedHouse, processOf } from "../support/traps.ts";
import { waitUntil } from "../support/wait-until.ts";

const CLUSTER = "c-one";
const SECRET = "a-secret-for-credentials-0123456789";

test("a narrowing whose worker died is told by the next one before its proof, because a proxy's open streams must not wait for it", async () => {
  await using trapped = await openTrappedHouse({
    clusters: [CLUSTER],
    workers: 1,
    settings: { UNDERSTUDY_RESYNC: "30d", UNDERSTUDY_CREDENTIALS_LISTEN: "127.0.0.1:0", UNDERSTUDY_CREDENTIALS_SECRETS: SECRET },
  });
  const { house } = trapped;
  const traps = trapped.at(CLUSTER);
  const user = "u-narrow";
  await putUser(house.management!, user);
  await putCrtb(house.management!, CLUSTER, user, { userName: user });
  await loggedIn(house, user, CLUSTER, { groups: ["github_team://1", "github_team://2"] });
  const stream = await openStream(`${house.producer.started["credentials"]}/v1/revocations`, { authorization: `Bearer ${SECRET}` });
  try {
    const told = (): unknown[] => stream.events().filter(({ data }) => (data as { user?: string }).user === user);
    const trap = traps.hold(user, "PUT ClusterRole", "after");
    await logIn(house, user, CLUSTER, ["github_team://1"]);
    await processOf(house, await trap.caught()).stop("SIGKILL");
    trap.release();
    assert.deepEqual(told(), [], "the dead one has told nobody");
    const end = traps.give(user, "POST Review", () => ({ answer: 403 }));
    await house.start("worker");
    const parked = await waitUntil(
      "the next one waits for its proof",
      async () => {
        const row = await house.row(CLUSTER, user);
        return row?.reason === "the API server does not see the change yet" && row;
      },
      { deadlineMs: TAKE_OVER_MS },
    );
    assert.equal(parked.state, "pending");
    await waitUntil("it is told", () => told().length > 0);
    end();
    await settledAs(house, CLUSTER, user, "ready");
    await assertActsAsExactly(house.cluster(CLUSTER), { user, groups: ["github_team://1"] });
    assert.equal(told().length, 1, "once");
  } finally {
    stream.close();
  }
});

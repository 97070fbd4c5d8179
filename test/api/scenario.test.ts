// The main job, one row of the promise after the other, on real API servers with three worker processes.
import { after, before, test } from "node:test";
import { House } from "../support/house.ts";
import { assertActsAsExactly, assertGone, callsSince, writesOf } from "../support/impersonator.ts";
import { deleteCrtb, putCrtb, putUser } from "../support/rancher-objects.ts";

let house: House;
before(async () => (house = await House.open()));
after(() => house[Symbol.asyncDispose]());

test("M2 a CRTB gives its user an impersonator on its cluster, which goes with it", async () => {
  await putUser(house.management!, "u-crtb");
  const { position } = await callsSince(house.cluster("c-one"), 0);
  await putCrtb(house.management!, "c-one", "crtb-1", { userName: "u-crtb" });
  await house.waitFor("c-one", "u-crtb", "ready");
  console.log((await callsSince(house.cluster("c-one"), position)).calls);
  await assertActsAsExactly(house.cluster("c-one"), { user: "u-crtb", extras: { principalid: ["local://u-crtb"], username: ["u-crtb"] } });
  const second = await callsSince(house.cluster("c-one"), 0);
  await deleteCrtb(house.management!, "c-one", "crtb-1");
  await house.waitFor("c-one", "u-crtb", "removed");
  console.log(writesOf((await callsSince(house.cluster("c-one"), second.position)).calls));
  await assertGone(house.cluster("c-one"), "u-crtb");
});

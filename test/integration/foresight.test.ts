// What `plan` takes for known after a lost Redis is what read.lua restores: the one rule that stands in two languages, held together here.
import assert from "node:assert/strict";
import { test } from "node:test";
import { knownAfterLoss } from "../../shared/decide/foresight.ts";
import { knowledgeOf } from "../../shared/ledger/record.ts";
import type { ProviderValues } from "../../shared/subject.ts";
import { aGrant } from "../support/builders.ts";
import { DAY, aCopy, alice, benchOn, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();
const values = { groups: ["github_org://1"], principalid: ["github_user://1"], username: ["alice"] };
const providers: Readonly<Record<string, Readonly<Record<string, ProviderValues>>>> = {
  "no provider has spoken": {},
  "a provider has spoken": { github: { groups: ["github_org://2"] } },
};
const roles: Readonly<Record<string, number | undefined>> = {
  "there is no role": undefined,
  "the role remembers a login": DAY,
  "its login has ended": -DAY,
  "it remembers none": 0,
};

for (const [spoke, said] of Object.entries(providers)) {
  for (const [stands, days] of Object.entries(roles)) {
    for (const bound of [true, false]) {
      test(`${bound ? "bound" : "not bound"}, ${spoke}, ${stands}: plan and the ledger take the same for known`, async () => {
        const bench = benchOn(redis);
        const { id, ...live } = aGrant();
        const copy = aCopy("1", said);
        await bench.ledger.submit(alice, { grants: bound ? [{ id, rv: "1", live }] : [], copy }, "orphan", "binding");
        const { me } = await bench.run(alice);
        const memory = days === undefined ? undefined : { ends: days === 0 ? 0 : (await bench.now()) + days, values };
        const read = await bench.ledger.read(alice, me, memory);
        assert.ok(read !== "lost");
        const heard = { user: alice.user, grants: bound ? [aGrant()] : [], candidates: [], facts: copy.facts };
        assert.deepEqual(knownAfterLoss(heard, memory, read.now), knowledgeOf(alice.user, read.record, read.now));
      });
    }
  }
}

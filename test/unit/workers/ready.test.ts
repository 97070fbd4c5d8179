// When a proof that an API server does not give yet is asked for again.
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import type { ClusterClient } from "../../../shared/kube/client.ts";
import { whyNotReady } from "../../../workers/ready.ts";

test("a proof that is not seen is asked for again soon, then after as long as it has waited, so that a slow moment of an API server costs about as long as it lasted", async () => {
  const ms = { value: 0 };
  mock.method(performance, "now", () => (ms.value += 1_000));
  const client = { cluster: "c-one", asImpersonator: async () => ({ status: 403, body: "" }) } as unknown as ClusterClient;
  const secret = { metadata: { name: "s" }, data: { token: Buffer.from("t").toString("base64") } };
  const request = { user: "u-ada", secret, fresh: false, witness: { names: [], allowed: true }, settleMs: 0 };
  const againAfter = async (waitedMs: number) => (await whyNotReady(client, { ...request, waitedMs }, new AbortController().signal))?.againMs;
  assert.deepEqual(await Promise.all([0, 300, 3_000, 8_000, 3_600_000].map(againAfter)), [1_000, 1_000, 3_000, 8_000, 30_000]);
});

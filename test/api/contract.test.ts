// What Understudy relies on of an API server, asked of a real one and of a simulated one, in the same words. A call of ours that no contract names is found by
// the last test, so that the simulated cluster cannot fall behind the product.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { SAMPLE, apiVersionOf, collectionOf } from "../../deploy/embedded/sample.ts";
import { understudy } from "../support/command.ts";
import { type Server, callShape, startReal, startSim } from "../support/contract.ts";
import { onAccounts } from "../support/contract-accounts.ts";
import { onObjects } from "../support/contract-objects.ts";
import { made } from "../support/contracts.ts";

const contracts = [...onObjects, ...onAccounts];

for (const [what, start] of [
  ["a real API server", () => startReal("contract", true)],
  ["a simulated cluster", () => startSim({ name: "contract", rancher: true })],
] as const) {
  describe(`contract: ${what}`, () => {
    let server: Server;
    before(async () => {
      server = await start();
      await made(server, "/api/v1/namespaces", { metadata: { name: "home" } });
    });
    after(() => server?.[Symbol.asyncDispose]());
    for (const { title, act } of contracts) test(`${title} (${what})`, () => act(server));
  });
}

test("every call that Understudy makes has a contract, because else a simulated cluster may answer it as no real one does", async () => {
  await using stack = new AsyncDisposableStack();
  const folder = stack.adopt(await mkdtemp(join(tmpdir(), "understudy-contract-")), (path) => rm(path, { recursive: true, force: true }));
  const shapes = new Set<string>();
  const start = async (name: string, rancher: boolean): Promise<Server> =>
    stack.use(
      await startSim({
        name,
        rancher,
        onCall: ({ method, url, accept, userAgent }) => userAgent.startsWith("understudy/") && shapes.add(callShape(method, url, accept)),
      }),
    );
  const management = await start("management", true);
  await mkdir(join(folder, "clusters"));
  await writeFile(join(folder, "management.yaml"), management.kubeconfig);
  for (const name of ["c-amber", "c-birch", "c-cedar"]) await writeFile(join(folder, "clusters", `${name}.yaml`), (await start(name, false)).kubeconfig);
  for (const object of SAMPLE) await made(management, collectionOf(object), { apiVersion: apiVersionOf(object), ...object });
  const settings = { UNDERSTUDY_CLUSTERS_DIR: join(folder, "clusters"), UNDERSTUDY_MANAGEMENT_KUBECONFIG: join(folder, "management.yaml") };
  for (const UNDERSTUDY_TOKEN_MODE of ["secret", "request"]) {
    const once = await understudy(["dev", "--once"], { ...settings, UNDERSTUDY_TOKEN_MODE }, folder);
    assert.equal(once.code, 0, once.stdout + once.stderr);
    assert.match(once.stdout, /^13 of 13 subjects on 3 clusters ready/m);
  }
  for (const [command, code] of [
    ["plan", 3],
    ["check", 1],
  ] as const) {
    const { code: got, stdout, stderr } = await understudy([command], settings, folder);
    assert.equal(got, code, stdout + stderr);
  }
  const named = new Set(contracts.flatMap(({ calls }) => calls));
  assert.ok(shapes.size > 20, [...shapes].join(", "));
  assert.deepEqual(
    [...shapes].filter((shape) => !named.has(shape)),
    [],
  );
});

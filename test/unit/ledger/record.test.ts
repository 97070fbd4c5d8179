// Redis fields → records: what a subject's state is called, and what is known of a user, whatever providers are called.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { StatusRow } from "../../../shared/ledger/status.ts";
import { fieldsOf, knowledgeOf, readFrom, recordOf, takenFrom, userRecordOf } from "../../../shared/ledger/record.ts";
import { statusOf } from "../../../shared/ledger/status.ts";
import { NOW, anyText, sorted } from "../../support/builders.ts";

const alice = { cluster: "c-abc12", user: "u-alice" };
const RUN = "a".repeat(40);
const BINDING = { kind: "ClusterRoleTemplateBinding", name: "c-abc12/crtb-1" };

/** Fields of a record as Redis holds them: all of it text. */
const fields = (about: Readonly<Record<string, string | number>>): Map<string, string> =>
  new Map(Object.entries(about).map(([field, value]) => [field, String(value)]));
const settled = (about: Readonly<Record<string, string | number>> = {}): Map<string, string> =>
  fields({ v: 1, gen: 3, obs: 3, conf: RUN, settledAt: NOW, changedAt: NOW - 5, ...about });
const stateOf = (record: Map<string, string>): Pick<StatusRow, "state" | "reason"> => {
  const { state, reason } = statusOf(alice, recordOf(record), RUN);
  return { state, reason };
};

test("a flat answer of Redis is read in pairs, and half a pair is dropped", () => {
  assert.deepEqual(
    [...fieldsOf(["a", "1", "b", Buffer.from("2"), "c"])],
    [
      ["a", "1"],
      ["b", "2"],
    ],
  );
  assert.deepEqual([...fieldsOf([])], []);
});

test("an empty record is nobody without a reason, because a subject is made by its first fact", () => {
  const record = recordOf(new Map());
  assert.deepEqual(
    { ...record },
    {
      gen: 0,
      obs: 0,
      stamp: "",
      grants: [],
      candidates: [],
      login: undefined,
      facts: undefined,
      restored: undefined,
      applied: undefined,
      conf: "",
      look: false,
      strays: [],
      rivals: [],
      alien: "",
      result: "",
      reason: "",
      written: "",
      owner: "",
      fails: 0,
      since: 0,
      lastFail: 0,
      retryAt: 0,
      next: 0,
      removedAt: 0,
      settledAt: 0,
      changedAt: 0,
    },
  );
});

test("bindings that live are grants and candidates, and ended ones are kept out, because they are only there to outlive a late event", () => {
  const record = recordOf(
    fields({
      "g:crtb-1": `12 ${JSON.stringify(BINDING)}`,
      "g:crtb-2": `13 gone ${NOW}`,
      "g:a b": `7 ${JSON.stringify({ ...BINDING, name: "a b" })}`,
      "e:crtb-3": `9 ${JSON.stringify({ ...BINDING, group: "github_org://1" })}`,
      "e:grb-1": `9 ${JSON.stringify({ kind: "GlobalRoleBinding", name: "grb-1", global: true })}`,
      "e:crtb-4": `10 gone ${NOW}`,
    }),
  );
  assert.deepEqual(record.grants, [
    { id: "crtb-1", ...BINDING },
    { id: "a b", ...BINDING, name: "a b" },
  ]);
  assert.deepEqual(record.candidates, [
    { id: "crtb-3", ...BINDING, group: "github_org://1" },
    { id: "grb-1", kind: "GlobalRoleBinding", name: "grb-1", global: true },
  ]);
});

test("a login grant has an end, and a drop only after a removal", () => {
  assert.deepEqual(recordOf(fields({ loginAt: 5, loginEnd: 9 })).login, { at: 5, end: 9 });
  assert.deepEqual(recordOf(fields({ loginAt: 5, loginEnd: 9, loginDrop: 7 })).login, { at: 5, end: 9, drop: 7 });
  assert.deepEqual(recordOf(fields({ loginEnd: 9 })).login, { at: 0, end: 9 });
  assert.equal(recordOf(fields({ loginAt: 5 })).login, undefined);
});

test("restored names keep their end, and groups with blanks in them", () => {
  const values = { groups: ["github_org://a b"], principalid: [], username: ["Alice B"] };
  assert.deepEqual(recordOf(fields({ restored: `${NOW} ${JSON.stringify(values)}` })).restored, { ...values, end: NOW });
  assert.equal(recordOf(fields({ restored: "" })).restored, undefined);
});

test("what decide may know is the record and the clock, and nothing of what was applied", () => {
  const record = recordOf(
    settled({ "g:crtb-1": `12 ${JSON.stringify(BINDING)}`, loginAt: 5, loginEnd: 9, facts: '{"user":null,"providers":{}}', applied: "{}" }),
  );
  assert.deepEqual(knowledgeOf("u-alice", record, NOW), {
    user: "u-alice",
    grants: record.grants,
    candidates: [],
    login: { at: 5, end: 9 },
    facts: { user: null, providers: {} },
    restored: undefined,
    now: NOW,
  });
});

test("the answer to a take is the lock with what was read, or why there is none", () => {
  const { record, ...rest } = readFrom([1, "1768478400000", "gen", "3", "obs", "2"]);
  assert.deepEqual([rest, record.gen, record.obs], [{ complete: true, now: 1768478400000 }, 3, 2]);
  assert.deepEqual(takenFrom(["go", 1, 0, "5", "gen", "3"]), {
    answer: "go",
    takeover: true,
    read: { complete: false, now: 5, record: recordOf(fields({ gen: 3 })) },
  });
  assert.deepEqual(
    [takenFrom(["busy", "250"]), takenFrom(["wait", 7]), takenFrom(["done"]), takenFrom(["version"])],
    [{ answer: "busy", waitMs: 250 }, { answer: "wait", waitMs: 7 }, { answer: "done" }, { answer: "version" }],
  );
});

// States -----------------------------------------------------------------------------------------------------------------------------------------------------

const states: readonly (readonly [why: string, record: Map<string, string>, row: Pick<StatusRow, "state" | "reason">])[] = [
  ["a settled ready subject is ready", settled({ result: "ready" }), { state: "ready", reason: "" }],
  ["a ready subject says what was left out", settled({ result: "ready", reason: "left out: x" }), { state: "ready", reason: "left out: x" }],
  ["a settled removed subject is removed, and says why", settled({ result: "removed", reason: "no grant" }), { state: "removed", reason: "no grant" }],
  ["a settled waiting subject waits, and says for what", settled({ result: "waiting", reason: "user unknown" }), { state: "waiting", reason: "user unknown" }],
  ["a newer fact makes a ready subject pending, because nobody has seen it yet", settled({ result: "ready", gen: 4 }), { state: "pending", reason: "" }],
  ["a newer fact makes a removed subject pending", settled({ result: "removed", gen: 4, reason: "no grant" }), { state: "pending", reason: "" }],
  ["a newer fact makes a waiting subject pending", settled({ result: "waiting", gen: 4, reason: "user unknown" }), { state: "pending", reason: "" }],
  [
    "what another Redis settled is pending, because facts may have been lost with it",
    settled({ result: "ready", conf: "b".repeat(40) }),
    { state: "pending", reason: "" },
  ],
  ...["cluster not configured", "the fence is not on"].map(
    (reason) =>
      [
        `a subject that is not worked on because ${reason} waits, whatever is new`,
        settled({ result: "waiting", gen: 9, reason }),
        { state: "waiting", reason },
      ] as const,
  ),
  [
    "a parked subject is pending, and says for what",
    settled({ result: "pending", gen: 4, reason: "its token is not filled" }),
    { state: "pending", reason: "its token is not filled" },
  ],
  [
    "a failing subject is pending, and says how often, why, and when it is tried next",
    settled({ result: "retrying", gen: 4, fails: 2, retryAt: NOW, reason: "no answer" }),
    { state: "pending", reason: `tried 2 times, next at ${new Date(NOW).toISOString()}: no answer` },
  ],
  ["a failed subject is failed", settled({ result: "failed", reason: "422" }), { state: "failed", reason: "422" }],
  [
    "a failed subject stays failed while a newer fact waits, because a person still has to act",
    settled({ result: "failed", gen: 4, reason: "422" }),
    { state: "failed", reason: "422" },
  ],
  ["a new subject is pending, because somebody granted it", fields({ gen: 1, "g:crtb-1": `12 ${JSON.stringify(BINDING)}` }), { state: "pending", reason: "" }],
  ["nothing but ended bindings is removed, because nobody ever granted it", fields({ gen: 0, "g:crtb-1": `12 gone ${NOW}` }), { state: "removed", reason: "" }],
];
for (const [why, record, row] of states) test(why, () => assert.deepEqual(stateOf(record), row));

test("a row carries its generations, its last change and the end of its login in words that people and programs read", () => {
  const row = statusOf(alice, recordOf(settled({ result: "ready", gen: 3, obs: 2, loginAt: 1, loginEnd: NOW + 1 })), RUN);
  assert.deepEqual(row, {
    ...alice,
    state: "pending",
    reason: "",
    generation: 3,
    observedGeneration: 2,
    updatedAt: new Date(NOW).toISOString(),
    loginEnds: new Date(NOW + 1).toISOString(),
  });
  assert.equal(statusOf(alice, recordOf(settled({ result: "ready" })), RUN).loginEnds, null);
  assert.equal(statusOf(alice, recordOf(settled({ changedAt: NOW + 7 })), RUN).updatedAt, new Date(NOW + 7).toISOString());
});

// Users ------------------------------------------------------------------------------------------------------------------------------------------------------

test("a user's record holds its object, its providers' values with their times, and its clusters", () => {
  const user = { enabled: true, principalid: ["local://u-alice"], username: ["Alice"] };
  const record = userRecordOf(
    fields({
      v: 1,
      n: "1700000000000001",
      user: `42 ${JSON.stringify(user)}`,
      "c:c-abc12": 1,
      "c:c-def34": 1,
      "ua:github": "7 hash",
      "f:groups:github": '7 ["github_org://1"]',
      "f:username:github": '8 ["alice"]',
      "f:groups:ad": "9 []",
    }),
  );
  assert.deepEqual(record.facts, { user, providers: { ad: { groups: [] }, github: { groups: ["github_org://1"], username: ["alice"] } } });
  assert.deepEqual([record.n, record.clusters], ["1700000000000001", ["c-abc12", "c-def34"]]);
  assert.deepEqual(
    [...record.times],
    [
      ["groups:ad", 9],
      ["groups:github", 7],
      ["username:github", 8],
    ],
  );
});

test("a user of whom nothing is known has no object and no providers", () => {
  const record = userRecordOf(new Map());
  assert.deepEqual({ ...record, times: [...record.times] }, { n: "0", facts: { user: null, providers: {} }, clusters: [], attributed: false, times: [] });
  assert.equal(userRecordOf(fields({ user: "5 null" })).facts.user, null);
});

test("a dropped value is gone, and its time stays, because only what is newer counts again", () => {
  const record = userRecordOf(fields({ "f:groups:github": "7 null", "f:username:github": '3 ["alice"]', "f:groups:ad": "9 null" }));
  assert.deepEqual(record.facts.providers, { github: { username: ["alice"] } });
  assert.deepEqual(record.times.get("groups:ad"), 9);
});

test("a provider is split off at the first colon after the key, because names of providers may have colons", () => {
  const record = userRecordOf(fields({ "f:groups:ldap:eu:1": '7 ["a"]', "f:groups:": '8 ["b"]', "f:groups:\n": '9 ["c"]' }));
  assert.deepEqual(record.facts.providers, { "ldap:eu:1": { groups: ["a"] }, "": { groups: ["b"] }, "\n": { groups: ["c"] } });
});

test("a provider called __proto__ is one like any other, and reaches into nothing, also on its way through a copy", () => {
  const record = userRecordOf(
    fields({
      "f:groups:__proto__": '7 ["system:masters"]',
      "f:username:__proto__": '7 ["eve"]',
      "f:groups:constructor": '7 ["x"]',
      "f:groups:github": '7 ["y"]',
    }),
  );
  assert.equal(({} as { groups?: unknown }).groups, undefined);
  assert.equal(Object.getPrototypeOf(record.facts.providers), Object.prototype);
  assert.deepEqual(Object.keys(record.facts.providers), ["__proto__", "constructor", "github"]);
  const copied = recordOf(fields({ facts: JSON.stringify(record.facts) })).facts!.providers;
  assert.deepEqual(Object.entries(copied), Object.entries(record.facts.providers));
  assert.deepEqual(Object.getOwnPropertyDescriptor(copied, "__proto__")?.value, { groups: ["system:masters"], username: ["eve"] });
});

test("every provider and value comes back, whatever its name, in one order, so that equal copies are equal text", () => {
  const someValues = fc.dictionary(
    anyText,
    fc.record({ groups: fc.array(anyText, { maxLength: 3 }), username: fc.array(anyText, { maxLength: 2 }) }, { noNullPrototype: true }),
    { maxKeys: 4 },
  );
  fc.assert(
    fc.property(someValues, (providers) => {
      const told = Object.entries(providers).flatMap(([provider, values]) =>
        Object.entries(values).map(([key, list]) => [`f:${key}:${provider}`, `7 ${JSON.stringify(list)}`] as const),
      );
      const record = userRecordOf(new Map(told));
      assert.deepEqual(new Map(Object.entries(record.facts.providers)), new Map(Object.entries(providers)));
      assert.equal(JSON.stringify(userRecordOf(new Map(told.toReversed())).facts), JSON.stringify(record.facts));
      assert.equal(record.times.size, sorted(told.map(([field]) => field)).length);
    }),
  );
});

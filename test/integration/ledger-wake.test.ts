// wake: the ledger's jobs in real BullMQ queues. What is deduplicated, and what must not be.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Queue, Worker } from "bullmq";
import { JobData, QUEUES, type QueueName } from "../../shared/jobs.ts";
import { HOUR, MINUTE, toldGrant, alice, toldEnd, benchOn, bob, redisForFile } from "../support/ledger.ts";

const { redis } = await redisForFile();

/** A ledger with queues of its own, and hands that take jobs out of them. */
function queued() {
  const opened: Queue[] = [];
  const open = (name: QueueName, prefix: string): Queue => {
    const queue = new Queue(name, { connection: redis, prefix });
    opened.push(queue);
    return queue;
  };
  const bench = benchOn(redis, (tag) => ({ binding: open("binding", tag), login: open("login", tag), deletion: open("deletion", tag) }));
  const queues = Object.fromEntries(opened.map((queue) => [queue.name, queue])) as Record<QueueName, Queue>;
  const workers = new Map<QueueName, Worker>();
  after(async () => {
    for (const worker of workers.values()) await worker.close();
    for (const queue of opened) await queue.close();
  });
  const next = async (name: QueueName) => {
    const worker = workers.get(name) ?? new Worker(name, null, { connection: redis, prefix: bench.tag });
    workers.set(name, worker);
    return worker.getNextJob("token", { block: false });
  };
  /** Takes every job that can be taken now, and completes each. */
  const drain = async (name: QueueName): Promise<unknown[]> => {
    const causes = [];
    for (let job = await next(name); job; job = await next(name)) {
      causes.push(job.data.cause);
      await job.moveToCompleted("", "token", false);
    }
    return causes;
  };
  return { ...bench, queues, next, drain };
}

test("a job lies in its own queue under the ledger's tag and names subject and cause, because a wake-up carries no desired state", async () => {
  const { ledger, queues, tag } = queued();
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const [job] = await queues.binding.getJobs();
  assert.deepEqual(JobData.parse(job?.data), { v: 1, cluster: "c-amber", user: "u-alice", cause: "binding" });
  assert.equal(job?.name, "c-amber/u-alice");
  assert.equal(await redis.exists(`${tag}:binding:${job?.id}`), 1);
  assert.deepEqual([await queues.login.count(), await queues.deletion.count()], [0, 0]);
});

test("what changes nothing adds no job, because imports repeat everything", async () => {
  const { ledger, drain, queues } = queued();
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  await drain("binding");
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  assert.equal(await queues.binding.count(), 0);
});

for (const queue of QUEUES) {
  test(`many facts of a subject are one job of the ${queue} queue, and another subject's is another, because one pass sees them all`, async () => {
    const { ledger, queues } = queued();
    for (let rv = 1; rv <= 5; rv++) await ledger.submit(alice, { grants: [toldGrant(String(rv), `b-${rv}`)] }, "binding", queue);
    await ledger.submit(bob, { grants: [toldGrant("9")] }, "binding", queue);
    assert.deepEqual((await queues[queue].getJobs()).map((job) => job.name).sort(), ["c-amber/u-alice", "c-amber/u-bob"]);
  });
}

test("a subject has a job in each queue that it was submitted to, because a login must not wait behind its own binding", async () => {
  const { ledger, queues } = queued();
  for (const queue of QUEUES) await ledger.wake(alice, "verify", queue);
  assert.deepEqual(await Promise.all(QUEUES.map((queue) => queues[queue].count())), [1, 1, 1]);
});

for (const cause of ["resync", "orphan", "sweep"] as const) {
  test(`a fact is not deduplicated onto a waiting ${cause} job, and goes first, because that one stands behind a backlog`, async () => {
    const { ledger, queues, drain } = queued();
    await ledger.wake(alice, cause, "binding");
    await ledger.wake(alice, cause, "binding");
    assert.equal(await queues.binding.count(), 1, "background jobs are deduplicated among themselves");
    await ledger.wake(alice, "binding", "binding");
    assert.equal(await queues.binding.count(), 2);
    assert.deepEqual(await drain("binding"), ["binding", cause]);
  });
}

test("a fact goes before the background jobs of everybody else, because they were there first but nobody waits for them", async () => {
  const { ledger, drain } = queued();
  for (let i = 0; i < 20; i++) await ledger.wake({ cluster: "c-amber", user: `u-${i}` }, "resync", "binding");
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  assert.equal((await drain("binding"))[0], "binding");
});

test("facts that come while a job is at work are kept as one next job, because the pass at work may have read before them", async () => {
  const { ledger, queues, next } = queued();
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  const active = await next("binding");
  assert.equal(active?.name, "c-amber/u-alice");
  for (let rv = 2; rv <= 5; rv++) await ledger.submit(alice, { grants: [toldGrant(String(rv), `b-${rv}`)] }, "binding", "binding");
  assert.equal(await next("binding"), undefined, "not beside the job at work");
  await active?.moveToCompleted("", "token", false);
  assert.equal(await queues.binding.count(), 1);
  const second = await next("binding");
  assert.equal(second?.name, "c-amber/u-alice");
  await second?.moveToCompleted("", "token", false);
  assert.equal(await next("binding"), undefined);
});

test("a new fact brings a job that waits for its backoff forward, because a cured subject must not wait out the old trouble", async () => {
  const { ledger, queues, drain, arrange, now } = queued();
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  await drain("binding");
  const failed = (await now()) - 6_000;
  await arrange(alice, { fails: 9, lastFail: failed, retryAt: failed + HOUR });
  await ledger.wake(alice, "binding", "binding", HOUR);
  assert.deepEqual(await drain("binding"), [], "it waits");
  assert.deepEqual(
    (await queues.binding.getDelayed()).map((job) => job.delay),
    [HOUR],
  );
  await ledger.submit(alice, { grants: [toldEnd("2")] }, "binding", "binding");
  assert.deepEqual(
    (await queues.binding.getDelayed()).map((job) => job.delay),
    [0],
  );
  assert.equal((await drain("binding")).length, 1);
});

test("a job of a failing subject waits for the record's time, because the backoff lives in the record", async () => {
  const { ledger, queues, drain, arrange, now } = queued();
  await ledger.submit(alice, { grants: [toldGrant("1")] }, "binding", "binding");
  await drain("binding");
  const failed = (await now()) - 1_000;
  await arrange(alice, { fails: 1, lastFail: failed, retryAt: failed + 10 * MINUTE });
  const { delayMs } = await ledger.submit(alice, { grants: [toldEnd("2")] }, "deletion", "deletion");
  const [job] = await queues.deletion.getDelayed();
  assert.ok(delayMs > 0 && delayMs <= 4_000);
  assert.equal(job?.delay, Math.ceil(delayMs));
});

test("a job whose hash was lost does not keep the next one out, because its deduplication key is stale", async () => {
  const { ledger, queues, tag, drain } = queued();
  await ledger.wake(alice, "binding", "binding");
  const [lost] = await queues.binding.getJobs();
  await redis.del(`${tag}:binding:${lost?.id}`);
  await redis.lrem(`${tag}:binding:wait`, 0, lost!.id!);
  await ledger.wake(alice, "sweep", "binding");
  await ledger.wake(alice, "binding", "binding");
  assert.deepEqual(await drain("binding"), ["binding", "sweep"]);
});

test("a subject that the sweep finds gets a job again, because its first one was lost before it was added", async () => {
  const { ledger, drain, setDue, now } = queued();
  await ledger.store(alice, { grants: [toldGrant("1")] }, "binding");
  assert.deepEqual(await drain("binding"), []);
  await setDue(alice, (await now()) - 1);
  for (const { subject, delayMs } of await ledger.sweep(10)) await ledger.wake(subject, "sweep", "binding", delayMs);
  assert.deepEqual(await drain("binding"), ["sweep"]);
});

test("a job can be tried more often than anybody would, because the record decides how often", async () => {
  const { ledger, queues } = queued();
  await ledger.wake(alice, "drift", "binding");
  const [job] = await queues.binding.getJobs();
  assert.deepEqual([job?.opts.attempts, job?.opts.backoff, job?.opts.priority ?? 0], [100_000, { type: "ledger" }, 0]);
});

// The tokens that were given out, in memory and nowhere else: bounded, one call for all who ask at once, forgotten when what they stood for has moved.
import type { BulkheadPolicy } from "cockatiel";
import { bulkhead } from "cockatiel";
import { LRUCache } from "lru-cache";
import type { ClusterClient } from "../shared/kube/client.ts";
import { isStatus } from "../shared/kube/errors.ts";
import { requestToken, secretToken } from "../shared/kube/token.ts";
import type { SubjectRecord } from "../shared/ledger/record.ts";
import type { Config } from "../shared/run/config.ts";

const TOKENS_MAX = 10_000;
/** A Secret's token has no end of its own; what nobody asks for should not lie in memory. */
const SECRET_TOKEN_MS = 3_600_000;
const RENEW_AT = 0.8;
/** What ends sooner is of no use to a request that is still to be made. */
const USABLE_MS_MIN = 30_000;
const CALL_MS_MAX = 3_000;
/** Of one cluster: after a restart everybody's token is asked for again. */
const CALLS_AT_ONCE = 16;
const CALLS_WAITING_MAX = 2_000;

/** Times in ms. `expiresAt`: undefined for a Secret's. */
export interface Token {
  readonly token: string;
  readonly issuedAt: number;
  readonly expiresAt: number | undefined;
}
/** `version`: of the record that it was read for. */
interface Held extends Token {
  readonly version: string;
  readonly renewAt: number;
}
/** Of one client: a changed kubeconfig may lead to another cluster, and brings another client. */
interface Keep {
  readonly held: LRUCache<string, Held>;
  readonly flights: Map<string, Promise<Held>>;
  readonly turns: BulkheadPolicy;
}

/** The cluster does not hold what was settled there; a look at it is on its way. */
export class MovedError extends Error {
  override readonly name = "MovedError";
}

/** `now` (ms) is passed in, so that a test can hold the clock. */
export interface TokenParts {
  readonly mode: Config["tokenMode"];
  readonly stopping: AbortSignal;
  now(): number;
  /** Told once for all who ask at once. */
  onMoved(cluster: string, user: string): Promise<void>;
}

/** Knows no rights: who asks has seen that the subject is ready. */
export class Tokens {
  readonly #parts: TokenParts;
  readonly #keeps = new WeakMap<ClusterClient, Keep>();

  constructor(parts: TokenParts) {
    this.#parts = parts;
  }

  /** @throws MovedError; ApiError when the cluster does not give one; BulkheadRejectedError when too many ask it. */
  async tokenFor(client: ClusterClient, user: string, record: SubjectRecord): Promise<Token> {
    const keep = this.#keepOf(client);
    const version = versionOf(record);
    const held = keep.held.get(user);
    const now = this.#parts.now();
    if (held?.version === version && now < held.renewAt) return held;
    if (held?.version !== version) keep.held.delete(user);
    try {
      return await this.#flight(keep, client, user, record, version);
    } catch (error) {
      // A cluster that is away for a minute costs nobody a token that is still good.
      if (held?.version === version && !(error instanceof MovedError) && now < (held.expiresAt ?? now) - USABLE_MS_MIN) return held;
      throw error;
    }
  }

  #keepOf(client: ClusterClient): Keep {
    let keep = this.#keeps.get(client);
    if (!keep) {
      keep = {
        held: new LRUCache({ max: TOKENS_MAX, ttl: SECRET_TOKEN_MS, ttlAutopurge: true }),
        flights: new Map(),
        turns: bulkhead(CALLS_AT_ONCE, CALLS_WAITING_MAX),
      };
      this.#keeps.set(client, keep);
    }
    return keep;
  }

  /** Whoever asks while it is under way shares it; who asks for another version of the record does not. */
  #flight(keep: Keep, client: ClusterClient, user: string, record: SubjectRecord, version: string): Promise<Held> {
    const key = `${version} ${user}`;
    let flight = keep.flights.get(key);
    if (!flight) {
      flight = keep.turns
        .execute(() => this.#fetch(client, user, record))
        .then((token) => hold(keep, user, version, token, this.#parts.now()))
        .finally(() => keep.flights.delete(key));
      keep.flights.set(key, flight);
    }
    return flight;
  }

  async #fetch(client: ClusterClient, user: string, { applied }: SubjectRecord): Promise<Token> {
    const { mode, stopping } = this.#parts;
    const signal = AbortSignal.any([stopping, AbortSignal.timeout(CALL_MS_MAX)]);
    try {
      if (mode === "request") return { ...(await requestToken(client, user, signal)), issuedAt: this.#parts.now() };
      const secret = applied?.secret;
      const found = secret && (await secretToken(client, secret.name, signal));
      if (found?.token !== undefined && found.uid === secret?.uid) return { token: found.token, issuedAt: found.createdAt, expiresAt: undefined };
    } catch (error) {
      if (!isStatus(error, 404)) throw error;
    }
    await this.#parts.onMoved(client.cluster, user);
    throw new MovedError("the impersonator is being put right");
  }
}

/** Everything that makes a token another one, or one of somebody who may be less. */
const versionOf = ({ gen, stamp, applied }: SubjectRecord): string => [gen, stamp, applied?.accountUid, applied?.secret?.uid].join(" ");

function hold(keep: Keep, user: string, version: string, token: Token, now: number): Held {
  const lifeMs = token.expiresAt === undefined ? SECRET_TOKEN_MS : token.expiresAt - now;
  const held = { ...token, version, renewAt: now + lifeMs * (token.expiresAt === undefined ? 1 : RENEW_AT) };
  keep.held.set(user, held, { ttl: Math.max(1, Math.ceil(lifeMs)) });
  return held;
}

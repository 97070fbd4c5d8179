-- S2 take: gives the lock of a subject to one run.
-- KEYS record, due, era. ARGV me, ttl ms, subject.
-- Returns {'busy', ms} | {'wait', ms} | {'done'} | {'version'} | {'go', takeover 0|1, complete 0|1, now, record fields…}.
local rec = KEYS[1]
if redis.call('EXISTS', rec) == 0 then redis.call('ZREM', KEYS[2], ARGV[3]); return {'done'} end
if foreign_version(rec) then return {'version'} end
local now, me = now_ms(), ARGV[1]
local owner = redis.call('HGET', rec, 'owner') or ''
local till = num(rec, 'until')
if owner ~= '' and owner ~= me and till > now then return {'busy', till - now} end
local retry = num(rec, 'retryAt')
if now < retry then
  redis.call('ZADD', KEYS[2], retry + 60000, ARGV[3])
  return {'wait', retry - now}
end
local run, next_at = run_id(), num(rec, 'next')
local confirmed = redis.call('HGET', rec, 'conf') == run
if num(rec, 'obs') >= num(rec, 'gen') and redis.call('HEXISTS', rec, 'taken') == 0 and confirmed and (next_at == 0 or now < next_at) then return {'done'} end
-- An owner that never released may still have a write in hand; after a loss of Redis nobody knows.
if owner ~= '' or not confirmed then redis.call('HSET', rec, 'taken', '1') end
forget_dropped_login(rec, now)
redis.call('HSET', rec, 'owner', me, 'until', int(now + tonumber(ARGV[2])))
local out = {'go', redis.call('HEXISTS', rec, 'taken'), redis.call('GET', KEYS[3]) == run and 1 or 0, int(now)}
for _, part in ipairs(redis.call('HGETALL', rec)) do out[#out + 1] = part end
return out

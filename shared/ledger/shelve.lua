-- A subject of a cluster that is not configured: says so and is looked at again when the cluster appears. A run that holds the lock, and a subject that is removed, is left alone.
-- KEYS record, due. ARGV subject, reason. Returns 1 when shelved.
local rec = KEYS[1]
if redis.call('EXISTS', rec) == 0 or foreign_version(rec) then redis.call('ZREM', KEYS[2], ARGV[1]); return 0 end
if (redis.call('HGET', rec, 'owner') or '') ~= '' and num(rec, 'until') > now_ms() then return 0 end
if redis.call('HGET', rec, 'result') == 'removed' and num(rec, 'obs') >= num(rec, 'gen') then redis.call('ZREM', KEYS[2], ARGV[1]); return 0 end
-- Unsettled, or nobody would look again when the cluster appears: its login grant may end, and its backoff be long over, meanwhile.
local fields = {reason = ARGV[2], obs = int(math.max(0, math.min(num(rec, 'obs'), num(rec, 'gen') - 1))), retryAt = '0'}
turn(rec, fields, 'waiting', now_ms())
set(rec, fields)
-- A login grant goes on ending meanwhile.
local next_at = num(rec, 'next')
if next_at > 0 then redis.call('ZADD', KEYS[2], math.max(next_at, now_ms() + 60000), ARGV[1]) else redis.call('ZREM', KEYS[2], ARGV[1]) end
return 1

-- A subject of a cluster that is not configured: says so and is looked at again when the cluster appears. A run that holds the lock is left alone.
-- KEYS record, due. ARGV subject, reason. Returns 1 when shelved.
local rec = KEYS[1]
if redis.call('EXISTS', rec) == 0 or foreign_version(rec) then redis.call('ZREM', KEYS[2], ARGV[1]); return 0 end
if (redis.call('HGET', rec, 'owner') or '') ~= '' and num(rec, 'until') > now_ms() then return 0 end
set(rec, {result = 'waiting', reason = ARGV[2]})
redis.call('ZREM', KEYS[2], ARGV[1])
return 1

-- S7 sweep: what is due and has been forgotten. Pushes each a minute on, so that the sweeps of many workers share the work.
-- KEYS due. ARGV record key prefix, limit. Returns {subject, delay ms, 1 if its login grant has just ended, …}.
-- The records' keys are computed: they carry the same hash tag as KEYS[1].
local now = now_ms()
local out = {}
for _, subject in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, tonumber(ARGV[2]))) do
  local rec = ARGV[1] .. subject
  if redis.call('EXISTS', rec) == 1 then
    redis.call('ZADD', KEYS[1], now + 60000, subject)
    local next_at = num(rec, 'next')
    out[#out + 1] = subject
    out[#out + 1] = math.max(0, num(rec, 'retryAt') - now)
    out[#out + 1] = (next_at > 0 and next_at <= now) and 1 or 0
  else
    redis.call('ZREM', KEYS[1], subject)
  end
end
return out

-- S3 read: the facts, for the owner only, after it has observed the cluster. Renews the lock.
-- KEYS record, era. ARGV me, ttl ms, end of the seen role's login grant (ms, 0 = none or no role), what the seen role allows as JSON ('' = no role).
-- Returns {'lost'} | {'ok', complete 0|1, now, record fields…}.
local rec = KEYS[1]
if (redis.call('HGET', rec, 'owner') or '') ~= ARGV[1] then return {'lost'} end
local now = now_ms()
redis.call('HSET', rec, 'until', int(now + tonumber(ARGV[2])))
local ends = tonumber(ARGV[3])
-- After a lost Redis the role itself is the memory: what it says counts until its end, or until the first real fact.
if ARGV[4] ~= '' and ends > now and num(rec, 'obs') == 0 then
  if redis.call('HEXISTS', rec, 'loginEnd') == 0 then
    redis.call('HSET', rec, 'loginAt', '0', 'loginEnd', int(ends), 'appliedEnds', int(ends))
  end
  local facts = redis.call('HGET', rec, 'facts')
  if redis.call('HEXISTS', rec, 'restored') == 0 and (not facts or string.find(facts, '"providers":{}', 1, true)) then
    redis.call('HSET', rec, 'restored', int(ends) .. ' ' .. ARGV[4])
  end
end
local out = {'ok', redis.call('GET', KEYS[2]) == run_id() and 1 or 0, int(now)}
for _, part in ipairs(redis.call('HGETALL', rec)) do out[#out + 1] = part end
return out

-- S8 renew: keeps many locks in one call. KEYS records. ARGV ttl ms, then one me for each record. Returns the positions (from 0) of the lost ones.
local now = now_ms()
local lost = {}
for i, rec in ipairs(KEYS) do
  if (redis.call('HGET', rec, 'owner') or '') == ARGV[i + 1] then
    redis.call('HSET', rec, 'until', int(now + tonumber(ARGV[1])))
  else
    lost[#lost + 1] = i - 1
  end
end
return lost

-- S4 check: asked before the write that completes. Read-only.
-- KEYS record. ARGV me, gen, stamp. Returns 'ok' | 'newer' | 'lost'.
local rec = KEYS[1]
if (redis.call('HGET', rec, 'owner') or '') ~= ARGV[1] then return 'lost' end
if redis.call('HGET', rec, 'stamp') ~= ARGV[3] or num(rec, 'gen') ~= tonumber(ARGV[2]) then return 'newer' end
return 'ok'

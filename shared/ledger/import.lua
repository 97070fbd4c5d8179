-- S9: the import mark. KEYS the import's own key, era. ARGV 'begin' | 'end'.
-- begin remembers which Redis process this import started on; end sets the mark only if it is still the same one. Returns 'ok' | 'again'.
local run = run_id()
if ARGV[1] == 'begin' then redis.call('SET', KEYS[1], run, 'PX', 3600000); return 'ok' end
if redis.call('GET', KEYS[1]) ~= run then return 'again' end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], run)
return 'ok'

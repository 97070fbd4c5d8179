-- Keeps what a run did in its subject's history: the last entries, for a time after the newest.
-- KEYS history (a list, newest first). ARGV entry, entries kept, ms. Returns 'ok'.
-- A client whose connection broke sends again what may have been carried out.
if redis.call('LINDEX', KEYS[1], 0) == ARGV[1] then return 'ok' end
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], 0, tonumber(ARGV[2]) - 1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 'ok'

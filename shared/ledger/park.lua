-- S5b park: everything is written, but its token or its proof is still to come. Releases the lock; the job completes; the fill watch, or the sweep, wakes the subject.
-- KEYS record, due, era, revocations. ARGV subject, me, gen, stamp, JSON {reason, applied, ends, revokes, rival}. Returns 'ok' | 'newer' | 'lost'.
local rec, due = KEYS[1], KEYS[2]
if (redis.call('HGET', rec, 'owner') or '') ~= ARGV[2] then return 'lost' end
local now, run = now_ms(), run_id()
local a = cjson.decode(ARGV[5])
if a.rival then note_rival(rec, a.rival, now) end
if a.revokes then revoke(KEYS[4], ARGV[1], ARGV[3], a.revokes) end
if redis.call('HGET', rec, 'stamp') ~= ARGV[4] then
  -- What was noted before this run no longer stands, and what it wrote is not proved: the next one looks.
  local lost = {owner = '', ['until'] = '', applied = ''}
  if redis.call('HGET', rec, 'result') == 'ready' then turn(rec, lost, 'pending', now) end
  set(rec, lost)
  return 'newer'
end
local fields = {taken = '', fails = '', lastFail = '', retryAt = '0', owner = '', ['until'] = '', look = '', strays = '', loginDrop = '', reason = a.reason, applied = a.applied, appliedEnds = int(a.ends), written = ARGV[4]}
turn(rec, fields, 'pending', now)
if redis.call('GET', KEYS[3]) == run then fields.conf = run end
set(rec, fields)
redis.call('ZADD', due, now + 60000, ARGV[1])
return 'ok'

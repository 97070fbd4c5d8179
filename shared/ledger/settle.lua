-- S5 settle: the run has made the cluster equal to its decision, and seen it. Releases the lock.
-- KEYS record, due, era, revocations. ARGV subject, me, gen, stamp, JSON {result, reason, applied, ends, next, revokes: removed|narrowed|nil, rival: version|nil, rivalOver}.
-- Returns 'ok' | 'newer' (the stored next job, or the contender, goes on) | 'lost' (nothing changed).
local rec, due, subject = KEYS[1], KEYS[2], ARGV[1]
if (redis.call('HGET', rec, 'owner') or '') ~= ARGV[2] then return 'lost' end
local now, run = now_ms(), run_id()
local a = cjson.decode(ARGV[5])
local fields = {obs = int(math.max(num(rec, 'obs'), tonumber(ARGV[3]))), taken = '', fails = '', lastFail = '', retryAt = '0', owner = '', ['until'] = ''}
if redis.call('GET', KEYS[3]) == run then fields.conf = run end
if a.rival then note_rival(rec, a.rival, now) end
if a.rivalOver then redis.call('HDEL', rec, 'rivals') end
-- A run that died between its write and this step told nobody: whatever is not ready any more is told once more.
local before = redis.call('HGET', rec, 'result')
local revokes = a.revokes or (a.result ~= 'ready' and before ~= a.result and num(rec, 'obs') > 0 and 'removed')
if revokes then revoke(KEYS[4], subject, ARGV[3], revokes) end
if redis.call('HGET', rec, 'stamp') ~= ARGV[4] then
  fields.obs = int(math.min(tonumber(fields.obs), num(rec, 'gen') - 1))
  -- This run has written all the same: what was noted before it no longer stands, and is ready no more if this run took it away.
  fields.applied, fields.appliedEnds = a.applied, int(a.ends)
  if a.result ~= 'ready' and redis.call('HGET', rec, 'result') == 'ready' then turn(rec, fields, 'pending', now) end
  set(rec, fields)
  return 'newer'
end
fields.look, fields.written, fields.strays = '', '', ''
-- Whoever wrote over our objects three times has given in, or nothing stands any more: counted anew from here.
local _, rivals = string.gsub(redis.call('HGET', rec, 'rivals') or '', '%S+', '')
if rivals >= 3 and not a.rival then fields.rivals = '' end
turn(rec, fields, a.result, now)
fields.reason, fields.applied = a.reason, a.applied
fields.appliedEnds, fields.next = int(a.ends), int(a.next)
fields.settledAt = int(now)
if a.next ~= 0 then redis.call('ZADD', due, a.next, subject) else redis.call('ZREM', due, subject) end
if a.result == 'ready' then
  fields.loginDrop = ''
elseif a.result == 'removed' then
  -- The login grant outlives the removal by a minute: the stream that tells of a group binding may lag behind the one that told of the removal.
  if redis.call('HEXISTS', rec, 'loginEnd') == 1 and redis.call('HEXISTS', rec, 'loginDrop') == 0 then fields.loginDrop = int(now + 60000) end
  -- What was removed before stays removed since then: later facts must not make a login of today look late.
  if before ~= 'removed' then fields.removedAt = int(now) end
  fields.restored = ''
  redis.call('PEXPIRE', rec, 86400000)
end
set(rec, fields)
return 'ok'

-- S6 fail: gives the lock back without a result.
-- KEYS record, due, revocations. ARGV subject, me, stamp, mode fail|terminal|release|shelve, wait ms (release, shelve; of fail the longest, 0 = ten minutes), reason, 1 if a write's answer is unknown, jitter in [0,1), 1 if something was written, what it revoked (removed|narrowed|''), the version of what another manager had written or ''.
-- Returns ms until the next try; 0 for a run that is no longer the owner.
local rec, due, subject, mode = KEYS[1], KEYS[2], ARGV[1], ARGV[4]
if (redis.call('HGET', rec, 'owner') or '') ~= ARGV[2] then return 0 end
local now = now_ms()
local fields = {owner = '', ['until'] = ''}
if ARGV[10] ~= '' then revoke(KEYS[3], subject, num(rec, 'gen'), ARGV[10]) end
if ARGV[11] ~= '' then note_rival(rec, ARGV[11], now) end
-- A write whose answer is unknown may still land: whoever comes next seals.
if ARGV[7] == '1' then fields.taken = '1' end
-- What was written is not yet proved, and what is remembered is older: the next run looks, and proves.
if ARGV[7] == '1' or ARGV[9] == '1' then
  fields.applied = ''
  if redis.call('HGET', rec, 'result') == 'ready' then turn(rec, fields, 'pending', now) end
end
if mode == 'release' then
  set(rec, fields)
  redis.call('ZADD', due, now + tonumber(ARGV[5]) + 60000, subject)
  return tonumber(ARGV[5])
end
-- Not to be worked on as its cluster stands, which is no failure: it waits, unsettled, and the sweep looks again.
if mode == 'shelve' then
  turn(rec, fields, 'waiting', now)
  fields.reason, fields.retryAt, fields.obs = ARGV[6], '0', int(math.max(0, math.min(num(rec, 'obs'), num(rec, 'gen') - 1)))
  set(rec, fields)
  redis.call('ZADD', due, now + tonumber(ARGV[5]), subject)
  return tonumber(ARGV[5])
end
local newer = redis.call('HGET', rec, 'stamp') ~= ARGV[3]
local wait
if mode == 'terminal' then
  wait = newer and 5000 or 3600000
  turn(rec, fields, 'failed', now)
else
  local fails = num(rec, 'fails') + 1
  local longest = tonumber(ARGV[5]) > 0 and tonumber(ARGV[5]) or 600000
  wait = newer and 5000 or math.max(5000, math.min(longest, 1000 * 2 ^ math.min(fails, 20)) * (0.75 + 0.5 * tonumber(ARGV[8])))
  fields.fails = int(fails)
  turn(rec, fields, 'retrying', now)
end
fields.lastFail, fields.retryAt, fields.reason = int(now), int(now + wait), ARGV[6]
set(rec, fields)
redis.call('ZADD', due, now + wait + 60000, subject)
return math.floor(wait)

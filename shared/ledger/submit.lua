-- S1 submit: merges facts into a subject's record; raises the generation only if something changed.
-- KEYS record, due, subjects of the cluster, clusters, highest resourceVersion.
-- ARGV one JSON: {subject, cluster, stamp, looks, orphan, whole, dropRestored, grants: [[id, rv, json]], candidates: [[id, rv, json]], login: {at, end}, endLogin: at, unread: ms to remember it | false, copy: {n, json, spoke}, strays: [Secret name], again}
--   (json '' = gone; whole = a consistent list of a restored management cluster: its lower versions count)
-- Returns {gen, delay ms or -1 = nothing changed and no job, 1 if a login grant was stored} or {'version'}.
local rec, due = KEYS[1], KEYS[2]
local a = cjson.decode(ARGV[1])
if foreign_version(rec) then return {'version'} end
local now = now_ms()
local exists = redis.call('EXISTS', rec) == 1
forget_dropped_login(rec, now)
local changed = a.looks == true
local stored = 0
if not exists and not changed and #a.grants == 0 and not a.login and not a.unread then return {0, -1, 0} end

local ends_told = false
local function merge(field, rv, json)
  local known = redis.call('HGET', rec, field)
  local known_rv, known_live = -1, false
  if known then
    known_rv = tonumber(string.match(known, '^(%d+)')) or -1
    known_live = string.match(known, '^%d+ gone') == nil
    if not a.whole and known_rv >= tonumber(rv) then return end
  end
  if tonumber(rv) > (tonumber(redis.call('GET', KEYS[5]) or '') or 0) then redis.call('SET', KEYS[5], rv) end
  -- A candidate that was made again under its name for another group is another reason.
  if known_live ~= (json ~= '') or (known_live and string.match(known, '^%d+ (.*)$') ~= json) then changed = true end
  if json == '' then ends_told = true end
  redis.call('HSET', rec, field, json ~= '' and (rv .. ' ' .. json) or (rv .. ' gone ' .. int(now)))
end
for _, g in ipairs(a.grants) do merge('g:' .. g[1], g[2], g[3]) end

if a.login then
  if a.login.at > num(rec, 'removedAt') and a.login.at > num(rec, 'loginAt') then
    stored = 1
    local ended = num(rec, 'loginEnd') <= now or redis.call('HEXISTS', rec, 'loginDrop') == 1
    -- A renewal alone is no reason to work, until the role's own memory lags by a tenth of the grant.
    local applied = num(rec, 'appliedEnds')
    if ended or (applied > 0 and (applied > a.login['end'] or applied < a.login['end'] - (a.login['end'] - a.login.at) / 10)) then changed = true end
    set(rec, {loginAt = int(a.login.at), loginEnd = int(a.login['end']), loginDrop = ''})
  end
end
-- After a lost Redis only the role may remember the login. Its end is stored first, so that the role is not believed.
if a.unread and a.endLogin and redis.call('HEXISTS', rec, 'loginEnd') == 0 and num(rec, 'obs') == 0 then
  redis.call('HSET', rec, 'loginAt', int(a.endLogin), 'loginEnd', int(math.min(a.endLogin, now)))
elseif a.endLogin and a.endLogin >= num(rec, 'loginAt') and num(rec, 'loginEnd') > a.endLogin then
  set(rec, {loginAt = int(math.max(a.endLogin, num(rec, 'loginAt'))), loginEnd = int(math.min(a.endLogin, now))})
  changed = true
end
-- An orphan's login grant is still in the role's own memory: its candidates come first.
if redis.call('HEXISTS', rec, 'loginEnd') == 1 or a.orphan then
  for _, c in ipairs(a.candidates) do merge('e:' .. c[1], c[2], c[3]) end
else -- without a login grant a candidate is not kept, but its end is heard by whoever holds it
  for _, c in ipairs(a.candidates) do if redis.call('HEXISTS', rec, 'e:' .. c[1]) == 1 then merge('e:' .. c[1], c[2], c[3]) end end
end

if a.copy and tonumber(a.copy.n) > num(rec, 'factsN') then
  if redis.call('HGET', rec, 'facts') ~= a.copy.json then changed = true end
  local fields = {factsN = a.copy.n, facts = a.copy.json}
  if a.copy.spoke and redis.call('HEXISTS', rec, 'restored') == 1 then fields.restored = ''; changed = true end
  set(rec, fields)
end

if a.dropRestored then
  if (tonumber(string.match(redis.call('HGET', rec, 'restored') or '', '^(%d+)')) or 0) > now then changed = true end
  if exists or a.unread then redis.call('HSET', rec, 'restored', '0 {}') end
end

-- Secrets of the account that no label leads to: the run looks at them by name.
if a.strays and (exists or changed) then
  local names, known = {}, {}
  local function keep(name) if not known[name] and #names < 50 then known[name] = true; names[#names + 1] = name end end
  for _, name in ipairs(cjson.decode(redis.call('HGET', rec, 'strays') or '[]')) do keep(name) end
  for _, name in ipairs(a.strays) do keep(name) end
  redis.call('HSET', rec, 'strays', cjson.encode(names))
end
-- A person asked: a subject that was stopped because of another manager may write again.
if a.again and exists then redis.call('HDEL', rec, 'rivals') end

if not changed then
  if not exists then -- nothing but ends of bindings
    redis.call('HSET', rec, 'v', VERSION, 'gen', 0, 'obs', 0, 'stamp', a.stamp)
    redis.call('SADD', KEYS[3], a.subject)
    redis.call('SADD', KEYS[4], a.cluster)
  end
  -- An end is kept for a day, so that a lagging producer cannot bring the binding back.
  local keep, ttl = a.unread or 86400000, redis.call('PTTL', rec)
  if not exists or ((ends_told or a.unread) and ttl > 0 and ttl < keep) then redis.call('PEXPIRE', rec, keep) end
  return {num(rec, 'gen'), -1, stored}
end
redis.call('SADD', KEYS[3], a.subject)
redis.call('SADD', KEYS[4], a.cluster)
redis.call('PERSIST', rec)
local gen = num(rec, 'gen') + 1
local last = num(rec, 'lastFail')
local retry = math.max(num(rec, 'retryAt'), now)
-- A new fact comes through a long backoff, but never more often than once in five seconds after a failure.
retry = math.min(retry, math.max(now, last > 0 and last + 5000 or now))
local fields = {v = VERSION, gen = int(gen), stamp = a.stamp, retryAt = int(retry), changedAt = int(now)}
if a.looks then fields.look = '1' end
set(rec, fields)
if not exists then redis.call('HSET', rec, 'obs', 0) end
redis.call('ZADD', due, 'LT', now + 60000, a.subject)
for _, field in ipairs(redis.call('HKEYS', rec)) do -- ends of bindings are kept for a day
  local prefix = string.sub(field, 1, 2)
  if prefix == 'g:' or prefix == 'e:' then
    local at = string.match(redis.call('HGET', rec, field), '^%d+ gone (%d+)')
    if at and tonumber(at) < now - 86400000 then redis.call('HDEL', rec, field) end
  end
end
return {gen, math.max(0, retry - now), stored}

-- Merges what sources and logins say of a user into the user's record, and returns all of it for the copies that subjects hold.
-- KEYS user record. ARGV one JSON: {user: {rv, json}, whole, values: [[provider, key, at, json]], attribute: [[provider, at, hash, [[key, json]]]], drop: {provider, at}, join: cluster}
--   A value: the newest `at` wins, at equal times the later arrival. json 'null' = dropped; only what is newer counts again.
--   attribute: every provider of the user's UserAttribute; one is taken only when its content (hash) changed, so that a refresh without news never overrides a login.
-- Returns {fields…}; field n is the counter that orders the copies.
local key = KEYS[1]
local a = cjson.decode(ARGV[1])
if foreign_version(key) then return {'v', redis.call('HGET', key, 'v')} end
local changed = false
local function value(provider, kind, at, json)
  local field = 'f:' .. kind .. ':' .. provider
  local known = redis.call('HGET', key, field)
  if known then
    local known_at, known_json = string.match(known, '^(%S+) (.*)$')
    if tonumber(known_at) > tonumber(at) then return end
    if known_json ~= json then changed = true end
  elseif json ~= 'null' then
    changed = true
  end
  redis.call('HSET', key, field, string.format('%.1f', at) .. ' ' .. json)
end
if a.user then
  local known = redis.call('HGET', key, 'user')
  local rv = known and tonumber(string.match(known, '^(%d+)')) or -1
  if a.whole or tonumber(a.user.rv) > rv then
    if not known or string.match(known, '^%d+ (.*)$') ~= a.user.json then changed = true end
    redis.call('HSET', key, 'user', a.user.rv .. ' ' .. a.user.json)
  end
end
for _, v in ipairs(a.values or {}) do value(v[1], v[2], v[3], v[4]) end
if a.drop then
  for _, kind in ipairs({'groups', 'principalid', 'username'}) do value(a.drop.provider, kind, a.drop.at + 0.5, 'null') end -- half a millisecond later than what it drops
end
if a.attribute then
  local told = {}
  for _, p in ipairs(a.attribute) do
    told[p[1]] = true
    local known = redis.call('HGET', key, 'ua:' .. p[1])
    if not known or string.match(known, '^%S+ (.*)$') ~= p[3] then
      redis.call('HSET', key, 'ua:' .. p[1], int(p[2]) .. ' ' .. p[3])
      for _, v in ipairs(p[4]) do value(p[1], v[1], p[2], v[2]) end
    end
  end
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local provider = string.match(field, '^ua:(.*)$')
    if provider and not told[provider] then
      local at = string.match(redis.call('HGET', key, field), '^(%S+)')
      for _, kind in ipairs({'groups', 'principalid', 'username'}) do value(provider, kind, at, 'null') end
      redis.call('HDEL', key, field)
    end
  end
end
if a.join then redis.call('HSET', key, 'c:' .. a.join, '1') end
if changed or redis.call('HEXISTS', key, 'n') == 0 then
  -- Microseconds, or one more than before: rises even when the record was lost and began anew.
  local t = redis.call('TIME')
  redis.call('HSET', key, 'v', VERSION, 'n', int(math.max(num(key, 'n') + 1, tonumber(t[1]) * 1000000 + tonumber(t[2]))))
end
return redis.call('HGETALL', key)

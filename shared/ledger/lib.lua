-- Shared by every script (put in front of it). Times are ms of redis TIME, never a client's clock.
local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end
local function int(n) return string.format('%.0f', n) end
local function run_id() return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') end
local function num(key, field) return tonumber(redis.call('HGET', key, field) or '') or 0 end
-- Writes the fields that differ; an empty value removes the field.
local function set(key, fields)
  for field, value in pairs(fields) do
    local old = redis.call('HGET', key, field) or ''
    if old ~= value then
      if value == '' then redis.call('HDEL', key, field) else redis.call('HSET', key, field, value) end
    end
  end
end
local VERSION = '1'
-- A record of another version belongs to a newer Understudy: left alone.
local function foreign_version(key)
  local v = redis.call('HGET', key, 'v')
  return v and v ~= VERSION
end
-- Tells proxies that somebody may do less than before, so that they can cut what is open. Bounded: whoever has missed more than that is told to cut everything.
local function revoke(stream, subject, gen, kind)
  local cluster, user = string.match(subject, '^([^/]+)/(.*)$')
  redis.call('XADD', stream, 'MAXLEN', '~', '10000', '*', 'cluster', cluster, 'user', user, 'generation', gen, 'kind', kind)
end
-- Another manager wrote over our objects: when it did in the last ten minutes. Three stop the subject (rival.ts), and then nothing is forgotten any more:
-- one more an hour later would let it begin anew.
local function note_rival(key, version, now)
  local times = {int(now) .. '/' .. version}
  local known = redis.call('HGET', key, 'rivals') or ''
  local _, count = string.gsub(known, '%S+', '')
  if count >= 3 then return end
  for at, seen in string.gmatch(known, '(%d+)/(%S+)') do
    if seen == version then return end -- the same write, met by a run that did not get to its end
    if tonumber(at) > now - 600000 then times[#times + 1] = at .. '/' .. seen end
  end
  redis.call('HSET', key, 'rivals', table.concat(times, ' '))
end
-- A result, and since when it is so: what goes on failing, in whichever way, is one trouble.
local FAILING = {failed = true, retrying = true}
local function turn(key, fields, result, now)
  local before = redis.call('HGET', key, 'result')
  fields.result = result
  if before ~= result and not (FAILING[before] and FAILING[result]) then fields.since = int(now) end
end
-- A minute after its removal a login grant is gone for good, and with it why the user was entitled: only a new login brings them back.
local function forget_dropped_login(key, now)
  local drop = num(key, 'loginDrop')
  if drop == 0 or drop > now then return end
  redis.call('HDEL', key, 'loginAt', 'loginEnd', 'loginDrop')
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 2) == 'e:' then redis.call('HDEL', key, field) end
  end
end

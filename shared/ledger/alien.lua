-- What a resync found bound to an impersonator's account besides its own binding: for people, so that it changes no generation and wakes nobody.
-- KEYS record. ARGV text ('' = nothing is). Returns 1 when noted.
if redis.call('EXISTS', KEYS[1]) == 0 or foreign_version(KEYS[1]) then return 0 end
set(KEYS[1], {alien = ARGV[1]})
return 1

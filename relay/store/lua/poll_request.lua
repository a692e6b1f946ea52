#!lua flags=allow-oom
-- poll_request.lua: have a brand looked at now.
--
-- KEYS  1 lease (hash)  2 polls due (zset)  3 shared wake (list)
-- ARGV  1 brand  2 stem of wake lists of owners
-- Returns 1 when nobody owns the brand: a shift must be woken; 0 when its owner was told
-- Atomic because the owner may give the brand back at the same moment.

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local state = redis.call('HMGET', KEYS[1], 'owner', 'until')
local list = KEYS[3]
local orphan = not state[1] or tonumber(state[2] or '0') <= now_ms
if orphan then
  redis.call('ZADD', KEYS[2], string.format('%.0f', now_ms), ARGV[1])
else
  list = ARGV[2] .. state[1]
end
redis.call('HSET', KEYS[1], 'asked', 1)
if redis.call('LLEN', list) < 1000 then
  redis.call('RPUSH', list, ARGV[1])
  redis.call('PEXPIRE', list, 60000)
end
return orphan and 1 or 0

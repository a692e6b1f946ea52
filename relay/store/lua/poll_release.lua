#!lua flags=allow-oom
-- poll_release.lua: give a brand back.
--
-- KEYS  1 lease (hash)  2 polls due (zset)
-- ARGV  1 fence  2 brand  3 ms from now when its next look is due; '' when there is to be none
--       4 1 when somebody asked for a look, and has not got it
-- Returns 1 given back, 0 when another worker owns it by now
-- Whoever asked its owner for a look, too late for the owner, gets it from the next one, at once.
-- Atomic because a brand without owner and without due time would never be looked at again.

if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'owner', 'until', 'died')
if ARGV[4] == '1' then redis.call('HSET', KEYS[1], 'asked', 1) end
if redis.call('HEXISTS', KEYS[1], 'asked') == 1 then
  redis.call('ZADD', KEYS[2], 0, ARGV[2])
elseif ARGV[3] == '' then
  redis.call('ZREM', KEYS[2], ARGV[2])
else
  local time = redis.call('TIME')
  local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  redis.call('ZADD', KEYS[2], string.format('%.0f', now_ms + tonumber(ARGV[3])), ARGV[2])
end
return 1

#!lua flags=allow-oom
-- slot_start.lua: may the shift that was enqueued with this slot begin?
--
-- KEYS  1 slots queued (zset: slot -> ms when it lapses)  2 slots running (likewise)  3 names of the kind's workers (set)
-- ARGV  1 slot  2 ms after which it lapses unless it is kept  3 stem of the workers' own keys
-- Returns 1 begin (the slot is running now), 0 do not: another shift has it, or it lapsed and the others are enough
-- Atomic because a job may be there twice, or late, and there must not be more shifts than workers.

local call, format = redis.call, string.format
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

for index = 1, 2 do call('ZREMRANGEBYSCORE', KEYS[index], '-inf', now_ms) end
if call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
if call('ZREM', KEYS[1], ARGV[1]) == 0 then
  local living = 0
  for _, name in ipairs(call('SMEMBERS', KEYS[3])) do living = living + call('EXISTS', ARGV[3] .. name) end
  if call('ZCARD', KEYS[1]) + call('ZCARD', KEYS[2]) >= living then return 0 end
end
call('ZADD', KEYS[2], format('%.0f', now_ms + tonumber(ARGV[2])), ARGV[1])
call('PEXPIRE', KEYS[2], 60000)
return 1

#!lua flags=allow-oom
-- slot_start.lua: may the shift that was enqueued with this slot begin?
--
-- KEYS  1 slots of the kind (zset)  2 their states (hash)  3 names of the kind's workers (set)
-- ARGV  1 slot  2 ms after which it lapses unless it is kept  3 stem of the workers' own keys
-- Returns 1 begin (the slot is busy now), 0 do not: another shift has it, or it lapsed and the others are enough
-- Atomic because a job may be there twice, or late, and there must not be more shifts than workers.

local call, format = redis.call, string.format
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local lapsed = call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms)
if #lapsed > 0 then
  call('ZREM', KEYS[1], unpack(lapsed))
  call('HDEL', KEYS[2], unpack(lapsed))
end

local state = call('HGET', KEYS[2], ARGV[1])
if state and state ~= 'q' then return 0 end
if not state then
  local living = 0
  for _, name in ipairs(call('SMEMBERS', KEYS[3])) do living = living + call('EXISTS', ARGV[3] .. name) end
  if call('ZCARD', KEYS[1]) >= living then return 0 end
end
call('ZADD', KEYS[1], format('%.0f', now_ms + tonumber(ARGV[2])), ARGV[1])
call('HSET', KEYS[2], ARGV[1], 'b')
call('PEXPIRE', KEYS[1], 60000)
call('PEXPIRE', KEYS[2], 60000)
return 1

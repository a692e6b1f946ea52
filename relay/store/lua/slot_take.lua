#!lua flags=allow-oom
-- slot_take.lua: answer a wake: who will look for work of this kind?
--
-- KEYS  1 slots of the kind (zset: slot -> ms when it lapses)  2 their states (hash: slot -> q queued, b busy, or the ms
--       until which it waits for a wake)  3 names of the kind's workers (set)  4 wake list of the kind
-- ARGV  1 a new slot  2 ms after which it lapses unless it is started  3 stem of the workers' own keys
-- Returns 'enqueue' (the slot is taken: enqueue a shift with it), 'pushed' (a waiting shift was woken), 'covered' (a
--         shift that was woken has yet to look), 'full' (every worker is busy, and looks again when it is done),
--         'nobody' (no worker lives)
-- Atomic because two wakes must not both take the last slot, and a wake must not meet a shift half asleep.

local call, format = redis.call, string.format
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local lapsed = call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms)
if #lapsed > 0 then
  call('ZREM', KEYS[1], unpack(lapsed))
  call('HDEL', KEYS[2], unpack(lapsed))
end

local waiting, queued = 0, false
for _, state in ipairs(call('HVALS', KEYS[2])) do
  if state == 'q' then queued = true end
  if (tonumber(state) or 0) > now_ms then waiting = waiting + 1 end
end
if waiting > 0 then
  if call('LLEN', KEYS[4]) >= waiting then return 'covered' end
  call('RPUSH', KEYS[4], '1')
  call('PEXPIRE', KEYS[4], 60000)
  return 'pushed'
end
if queued then return 'covered' end

local names, living = call('SMEMBERS', KEYS[3]), 0
for _, name in ipairs(names) do
  if call('EXISTS', ARGV[3] .. name) == 1 then
    living = living + 1
  else
    call('SREM', KEYS[3], name)
  end
end
if living == 0 then return 'nobody' end
if call('ZCARD', KEYS[1]) >= living then return 'full' end
call('ZADD', KEYS[1], format('%.0f', now_ms + tonumber(ARGV[2])), ARGV[1])
call('HSET', KEYS[2], ARGV[1], 'q')
call('PEXPIRE', KEYS[1], 60000)
call('PEXPIRE', KEYS[2], 60000)
return 'enqueue'

#!lua flags=allow-oom
-- slot_take.lua: answer a wake: who is going to look for work of this kind?
--
-- KEYS  1 slots queued (zset: slot -> ms when it lapses)  2 slots running (likewise)  3 names of the kind's workers (set)
--       4 wake list of the kind  5 what is due of the kind (zset: thing -> ms)
-- ARGV  1 a new slot  2 ms after which it lapses unless it is started  3 stem of the workers' own keys
--       4 ms for which something may be due before the shifts that are there are taken not to keep up
-- Returns 'nothing' (is due), 'enqueue' (the slot is taken: enqueue a shift with it), 'pushed' (a running shift is told),
--         'covered' (a shift that was woken or told has yet to look), 'full' (as many shifts as workers; the running ones
--         are told), 'nobody' (no worker lives)
-- Atomic because two wakes must not both take the last slot.

local call, format = redis.call, string.format
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local head = call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
if not head[2] or tonumber(head[2]) > now_ms then return 'nothing' end
local late = now_ms - tonumber(head[2]) > tonumber(ARGV[4])

for index = 1, 2 do call('ZREMRANGEBYSCORE', KEYS[index], '-inf', now_ms) end
local queued, running = call('ZCARD', KEYS[1]), call('ZCARD', KEYS[2])
local told = running > 0 and call('LLEN', KEYS[4]) == 0
if told then
  call('RPUSH', KEYS[4], '1')
  call('PEXPIRE', KEYS[4], 60000)
end
if not late then
  if told then return 'pushed' end
  if queued + running > 0 then return 'covered' end
end

local living = 0
for _, name in ipairs(call('SMEMBERS', KEYS[3])) do
  if call('EXISTS', ARGV[3] .. name) == 1 then
    living = living + 1
  else
    call('SREM', KEYS[3], name)
  end
end
if living == 0 then return 'nobody' end
if queued + running >= living then return 'full' end
call('ZADD', KEYS[1], format('%.0f', now_ms + tonumber(ARGV[2])), ARGV[1])
call('PEXPIRE', KEYS[1], 60000)
return 'enqueue'

#!lua flags=allow-oom
-- slot_release.lua: give a slot back, and look once more for due work.
--
-- KEYS  1 slots queued (zset)  2 slots running (zset)  3 what is due of the kind (zset: thing -> ms)
--       4 when the scheduler wakes next (string, ms)  5 wake list of the scheduler
-- ARGV  1 slot
-- Returns { 1 something is due now, else 0; ms when the next thing is due (-1: nothing is) }
-- Atomic because a wake that came before was told to this shift, and one that comes after finds its place free: what
-- became due in between must be seen here. What is due earlier than the scheduler means to wake wakes it.

local call = redis.call
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for index = 1, 2 do call('ZREM', KEYS[index], ARGV[1]) end
local head = call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
if not head[2] then return { 0, -1 } end
local due_ms = math.ceil(tonumber(head[2]))
if due_ms <= now_ms then return { 1, due_ms } end
if due_ms < tonumber(call('GET', KEYS[4]) or '0') and call('LLEN', KEYS[5]) == 0 then
  call('RPUSH', KEYS[5], '1')
  call('PEXPIRE', KEYS[5], 60000)
end
return { 0, due_ms }

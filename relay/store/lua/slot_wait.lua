#!lua flags=allow-oom
-- slot_wait.lua: a shift has found nothing to claim: is that still so? Then it waits for a wake.
--
-- KEYS  1 slots of the kind (zset)  2 their states (hash)  3 what is due of the kind (zset: thing -> ms)
-- ARGV  1 slot  2 ms it would wait at most  3 ms after which the slot lapses unless it is kept
-- Returns ms to wait: 0 something is due; less than asked for when something becomes due before
-- Atomic because something that becomes due between the look and the sleep must either be seen or wake the sleeper. The
-- state says until when it waits, so that nobody wakes a shift that was killed in its sleep.

local call, format = redis.call, string.format
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local wait_ms = tonumber(ARGV[2])
local head = call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
if head[2] then wait_ms = math.min(wait_ms, math.ceil(tonumber(head[2])) - now_ms) end
if wait_ms <= 0 then return 0 end
call('ZADD', KEYS[1], format('%.0f', now_ms + wait_ms + tonumber(ARGV[3])), ARGV[1])
call('HSET', KEYS[2], ARGV[1], format('%.0f', now_ms + wait_ms))
call('PEXPIRE', KEYS[1], 60000)
call('PEXPIRE', KEYS[2], 60000)
return wait_ms

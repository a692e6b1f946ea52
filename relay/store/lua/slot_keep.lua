#!lua flags=allow-oom
-- slot_keep.lua: renew the slot of a running shift.
--
-- KEYS  1 slots running (zset: slot -> ms when it lapses)
-- ARGV  1 slot  2 ms after which it lapses unless it is kept again
-- Returns 1
-- A slot that lapsed while its process stood still is taken again, whatever the limit: the shift does run.
-- Atomic because it is Redis' clock that counts.

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms + tonumber(ARGV[2])), ARGV[1])
redis.call('PEXPIRE', KEYS[1], 60000)
return 1

#!lua flags=allow-oom
-- slot_keep.lua: renew the slot of a running shift, and say what it does.
--
-- KEYS  1 slots of the kind (zset)  2 their states (hash)
-- ARGV  1 slot  2 ms after which it lapses unless it is kept again  3 '1' it is busy from now on, '' it does what it did
-- Returns 1
-- A slot that lapsed while its process stood still is taken again, whatever the limit: the shift does run.
-- Atomic because a state without a slot would stay for ever.

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms + tonumber(ARGV[2])), ARGV[1])
redis.call(ARGV[3] == '1' and 'HSET' or 'HSETNX', KEYS[2], ARGV[1], 'b')
redis.call('PEXPIRE', KEYS[1], 60000)
redis.call('PEXPIRE', KEYS[2], 60000)
return 1

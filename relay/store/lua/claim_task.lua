#!lua flags=allow-oom
-- claim_task.lua: take one background task that is due.
--
-- KEYS  1 tasks (zset: name -> ms)
-- ARGV  1 ms after which it is due again if its taker says nothing
-- Returns { name ('' none), now ms, ms at which the next one is due (-1 none) }
-- Atomic so that two workers do not take one task.

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, 1)
if due[1] then redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[1]), due[1]) end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { due[1] or '', now_ms, first[2] and tonumber(first[2]) or -1 }

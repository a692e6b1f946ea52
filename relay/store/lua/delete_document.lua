#!lua flags=allow-oom
-- delete_document.lua: take a document away, and shut its lane for good.
--
-- KEYS  1 documents (hash)  2 epoch (string)  3 names (hash)  4 lane (hash; '' none)  5 lanes due (zset)
--       6 deleted lanes (zset)
-- ARGV  1 id  2 version that was read ('' any)  3 name ('' none)
-- Returns 1 deleted, 0 it was not there, -2 another version
-- Atomic so that nothing is routed to, or sent from, a lane whose subscription is gone: its fence moves on, and what a
-- worker still has in hand is no longer settled but discarded with the rest.

local current = redis.call('HGET', KEYS[1], ARGV[1])
if not current then return 0 end
if ARGV[2] ~= '' and string.match(current, '^(%d+) ') ~= ARGV[2] then return -2 end
redis.call('HDEL', KEYS[1], ARGV[1])
if ARGV[3] ~= '' then redis.call('HDEL', KEYS[3], ARGV[3]) end
redis.call('INCR', KEYS[2])
if KEYS[4] ~= '' then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[4], 'gate', 'gone')
  redis.call('HINCRBY', KEYS[4], 'fence', 1)
  redis.call('ZREM', KEYS[5], ARGV[1])
  redis.call('ZADD', KEYS[6], tonumber(time[1]) * 1000, ARGV[1])
end
return 1

#!lua flags=allow-oom
-- scheduler_leave.lua: give the scheduler's lease back.
--
-- KEYS  1 lease of the scheduler (string: owner)  2 when it wakes next (string, ms)
-- ARGV  1 owner
-- Returns 1 given back, 0 it was another's
-- Atomic because the lease may have lapsed and be another's by now.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
return 1

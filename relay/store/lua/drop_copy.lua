#!lua flags=allow-oom
-- drop_copy.lua: end a rewriting of the log that was not swapped in.
--
-- KEYS  1 copy of the log (stream)  2 lock of the rewriting (string)
-- ARGV  1 owner of the lock
-- Returns 1 dropped, 0 it was swapped in, or is another's by now
-- Atomic so that another's copy is never dropped.

if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
return 1

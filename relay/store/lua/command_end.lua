#!lua flags=allow-oom
-- command_end.lua: let the next command for an order begin.
--
-- KEYS  1 mark (string)  2 busy (string: who runs it)
-- ARGV  1 name of the caller  2 '1' when nothing was sent, so that the mark goes, too
-- Returns 1 when it was the caller's, else 0
-- Atomic because a caller that took too long must not end another one's.

if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
if ARGV[2] == '1' and redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1

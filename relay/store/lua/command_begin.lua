#!lua
-- command_begin.lua: one command at a time for one order, and a mark that there was one.
--
-- KEYS  1 mark (string)  2 busy (string: who runs it)
-- ARGV  1 name of the caller  2 ms that a command may take  3 ms that the mark stays
-- Returns { 'busy', ms } another one runs; { 'first' } none was made lately; { 'again' } one was made, and how it ended
-- may not be known: the order must be read before anything is sent
-- Atomic because two callers must not both be the first.

local wait_ms = redis.call('PTTL', KEYS[2])
if wait_ms > 0 then return { 'busy', wait_ms } end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local before = redis.call('EXISTS', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return { before == 1 and 'again' or 'first' }

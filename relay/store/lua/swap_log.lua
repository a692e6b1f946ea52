#!lua
-- swap_log.lua: put a rewritten copy of the log in the log's place.
--
-- KEYS  1 log (stream)  2 its copy (stream)  3 lock of the rewriting (string)
-- ARGV  1 owner of the lock  2 id of the last entry that was copied  3 most entries to copy here
-- Returns 1 swapped, 0 more entries than that came since (copy them first), -1 the lock is another's by now: start again
-- Atomic so that no entry is added to the log between the last copy and the swap, and none is there twice. What was
-- trimmed from the log while it was copied is trimmed from the copy.

local call = redis.call
if call('GET', KEYS[3]) ~= ARGV[1] then return -1 end
local most = tonumber(ARGV[3])
local rest = call('XRANGE', KEYS[1], '(' .. ARGV[2], '+', 'COUNT', most + 1)
if #rest > most then return 0 end
local first = call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
for _, entry in ipairs(rest) do call('XADD', KEYS[2], entry[1], unpack(entry[2])) end
if first then
  call('XTRIM', KEYS[2], 'MINID', first[1])
  call('PERSIST', KEYS[2])
  call('RENAME', KEYS[2], KEYS[1])
else
  call('DEL', KEYS[2])
end
call('DEL', KEYS[3])
return 1

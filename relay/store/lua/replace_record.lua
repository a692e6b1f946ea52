#!lua flags=allow-oom
-- replace_record.lua: write a delivery's record anew, if it is still the one that was read.
--
-- KEYS  1 records of a lane (hash: position -> record)
-- ARGV  for each record: position · record as it was read · record from now on
-- Returns one a record: 1 replaced, 0 it is another by now
-- Atomic because an attempt may be recorded at any moment.

local results = {}
for cursor = 1, #ARGV, 3 do
  local same = redis.call('HGET', KEYS[1], ARGV[cursor]) == ARGV[cursor + 1]
  if same then redis.call('HSET', KEYS[1], ARGV[cursor], ARGV[cursor + 2]) end
  results[#results + 1] = same and 1 or 0
end
return results

#!lua flags=allow-oom
-- rewrite_log.lua: put other entries in the place of some of the log's; a stream cannot be edited.
--
-- KEYS  1 log (stream)  2 events that were rewritten (hash: position -> static part, position:q -> sequence, position:p ->
--       sequence before, position:t -> subscription that it is for alone)  3 their positions (zset)
-- ARGV  for each event: position · static part as it was read · static part from now on
-- Returns how many were rewritten; one that is there no more, or is another by now, is passed over.
-- Atomic because every event must be in one of the two places, and in one only. Works above the memory limit: what is to
-- be forgotten must be.

local STAMPS_PER_MS = 2048
local call, format = redis.call, string.format
local done = 0
for cursor = 1, #ARGV, 3 do
  local position, before, after = ARGV[cursor], ARGV[cursor + 1], ARGV[cursor + 2]
  local stamp = tonumber(position)
  local id = format('%.0f-%.0f', math.floor(stamp / STAMPS_PER_MS), stamp % STAMPS_PER_MS)
  local entry = call('XRANGE', KEYS[1], id, id)[1]
  local static, sequence, previous, alone
  if entry then
    static, sequence, previous, alone = entry[2][2], entry[2][4], entry[2][6], entry[2][8]
  else
    static = call('HGET', KEYS[2], position)
  end
  if static == before then
    call('HSET', KEYS[2], position, after)
    if entry then
      call('HSET', KEYS[2], position .. ':q', sequence, position .. ':p', previous)
      if alone then call('HSET', KEYS[2], position .. ':t', alone) end
      call('ZADD', KEYS[3], position, position)
      call('XDEL', KEYS[1], id)
    end
    done = done + 1
  end
end
return done

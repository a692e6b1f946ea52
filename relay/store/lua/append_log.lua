#!lua
-- append_log.lua: put events into the log that are for one subscription alone.
--
-- KEYS  1 clock (string)  2 log (stream)  3 event ids (hash)
-- ARGV  1 subscription; then for each event: event id · static part · sequence · sequence before ('' none)
-- Returns the position of each; of one that the log has already, where it stands.
-- Atomic so that an id never has two places.

local STAMPS_PER_MS = 2048
local format = string.format
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stamp = tonumber(redis.call('GET', KEYS[1]) or '0')
local positions = {}
for cursor = 2, #ARGV, 4 do
  local known = redis.call('HGET', KEYS[3], ARGV[cursor])
  if known then
    positions[#positions + 1] = tonumber(known)
  else
    stamp = math.max(stamp + 1, now_ms * STAMPS_PER_MS)
    local id = format('%.0f-%.0f', math.floor(stamp / STAMPS_PER_MS), stamp % STAMPS_PER_MS)
    redis.call('XADD', KEYS[2], id, 's', ARGV[cursor + 1], 'q', ARGV[cursor + 2], 'p', ARGV[cursor + 3], 't', ARGV[1])
    redis.call('HSET', KEYS[3], ARGV[cursor], format('%.0f', stamp))
    positions[#positions + 1] = stamp
  end
end
redis.call('SET', KEYS[1], format('%.0f', stamp))
return positions

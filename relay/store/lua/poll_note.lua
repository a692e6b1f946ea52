#!lua
-- poll_note.lua: write down what looking at a brand found, and keep the brand.
--
-- KEYS  1 lease (hash: owner, fence, until, asked, notes)  2 polls due (zset)  3 state of the brand (hash)
--       4 rows set aside (hash)  5 counters (hash)  6 epoch of brands (string)
-- ARGV  1 fence  2 length of the lease, ms  3 brand  4 rows set aside to keep, at most
--       5 number of fields; then field, value ('' deletes it) for each · number of rows; then field, value ('' deletes
--       it) for each · number of counters; then name, amount for each
-- Returns { now ms, epoch of brands, 1 when somebody asked for a look now, notes so far }, or { -1 } when another worker
-- owns the brand by now, and nothing was written
-- Atomic because the watermark and the times of looks must not be written by a worker that has lost the brand. The
-- number of notes only grows: a lower one than before tells that Redis has gone back in time.

if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return { -1 } end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease_end = string.format('%.0f', now_ms + tonumber(ARGV[2]))

local cursor = 5
local function pairs_of()
  local count = tonumber(ARGV[cursor])
  local first = cursor + 1
  cursor = cursor + 1 + 2 * count
  return first, count
end

local function write(key, most)
  local first, count = pairs_of()
  local room = most and most - redis.call('HLEN', key)
  for at = first, first + 2 * count - 1, 2 do
    if ARGV[at + 1] == '' then
      redis.call('HDEL', key, ARGV[at])
    elseif not room or room > 0 or redis.call('HEXISTS', key, ARGV[at]) == 1 then
      redis.call('HSET', key, ARGV[at], ARGV[at + 1])
      if room then room = room - 1 end
    end
  end
end

write(KEYS[3])
write(KEYS[4], tonumber(ARGV[4]))
local first, count = pairs_of()
for at = first, first + 2 * count - 1, 2 do redis.call('HINCRBY', KEYS[5], ARGV[at], ARGV[at + 1]) end
local asked = redis.call('HDEL', KEYS[1], 'asked')
local notes = redis.call('HINCRBY', KEYS[1], 'notes', 1)
redis.call('HSET', KEYS[1], 'until', lease_end)
redis.call('ZADD', KEYS[2], lease_end, ARGV[3])
return { now_ms, tonumber(redis.call('GET', KEYS[6]) or '0'), asked, notes }

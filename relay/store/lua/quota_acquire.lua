#!lua flags=allow-oom
-- quota_acquire.lua: may one more request go to Clopos, now?
--
-- KEYS  1 window of the brand (string, packed: see below)  2 window of the address (likewise)
-- ARGV  1 requests a minute  2 purpose: poll | rest | command
-- Returns { 1, requests left in the window, requests that others made }  granted, and counted
--         { 0, ms to wait, why: window | pace | blocked | address | failures }  not now
-- Atomic because the count is one number for all workers.
--
-- A window is { 'blocked until' ms, theoretical arrival of the next poll ms, made by others, until ms, buckets… };
-- a bucket is four numbers: its index (250 ms each), polls, rest, commands (in the address' window: failures,
-- sign-ins, 0). A request counts until the end of its bucket is 60 s and a margin ago: the margin is for what is
-- granted here and arrives there later. So no 60 s ever hold more than the limit.
-- Commands have 5 % of the limit that nobody else touches; what is neither polling nor a command has 5 %, and half of
-- what polling leaves unused; polling never has more than the remaining 90 %, and is spread evenly: after idling or a
-- block it goes on at its pace, one second's worth at once.

local BUCKET_MS, WINDOW_MS, HEAD = 250, 60500, 4
local FAILURES, FAILURES_OF_COMMANDS = 480, 570

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function window(key)
  local packed = redis.call('GET', key)
  local stored = packed and cmsgpack.unpack(packed) or { 0, 0, 0, 0 }
  local kept = { stored[1], stored[2], stored[3], stored[4] }
  if kept[4] <= now then kept[3] = 0 end
  local sums, oldest = { 0, 0, 0 }, nil
  for at = HEAD + 1, #stored, 4 do
    local ends = (stored[at] + 1) * BUCKET_MS + WINDOW_MS
    if ends > now then
      oldest = oldest or ends
      for offset = 0, 3 do kept[#kept + 1] = stored[at + offset] end
      for kind = 1, 3 do sums[kind] = sums[kind] + stored[at + kind] end
    end
  end
  return kept, sums, (oldest or now + 1) - now
end

local limit, purpose = tonumber(ARGV[1]), ARGV[2]
local mine, sums, oldest = window(KEYS[1])
local address, address_sums, address_oldest = window(KEYS[2])

if mine[1] > now then return { 0, math.ceil(mine[1] - now), 'blocked' } end
if address[1] > now then
  -- When the block of the whole address ends, brands come back one after another, not together.
  local spread = 0
  for at = 1, #KEYS[1] do spread = (spread * 31 + string.byte(KEYS[1], at)) % 99991 end
  spread = spread * 7919 % 5000
  mine[2] = math.max(mine[2], address[1] + 1000 + spread)
  redis.call('SET', KEYS[1], cmsgpack.pack(mine), 'PX', 600000)
  return { 0, math.ceil(address[1] - now), 'address' }
end
local ceiling = purpose == 'command' and FAILURES_OF_COMMANDS or FAILURES
if address_sums[1] + address[3] >= ceiling then
  return { 0, math.max(address_oldest, address[3] > 0 and address[4] - now or 1), 'failures' }
end

local share = math.max(1, math.ceil(limit * 0.05))
local polls, rest, commands, others = sums[1], sums[2], sums[3], mine[3]
local most_polls = math.max(1, limit - 2 * share)
local left = limit - polls - rest - commands - others
local reserved = math.max(0, share - commands)
local index
if purpose == 'command' then
  index = 3
  if left < 1 then return { 0, oldest, 'window' } end
elseif purpose == 'rest' then
  index = 2
  if left - reserved < 1 or rest >= share + math.max(0, most_polls - polls) / 2 then return { 0, oldest, 'window' } end
else
  index = 1
  if left - reserved < 1 or polls >= most_polls then return { 0, oldest, 'window' } end
  local pace = (WINDOW_MS + BUCKET_MS) / most_polls
  local early = mine[2] - math.max(1000, pace) - now
  if early > 0 then return { 0, math.ceil(early), 'pace' } end
  mine[2] = math.max(mine[2], now) + pace
end

local bucket = math.floor(now / BUCKET_MS)
if #mine == HEAD or mine[#mine - 3] ~= bucket then
  for _, value in ipairs({ bucket, 0, 0, 0 }) do mine[#mine + 1] = value end
end
mine[#mine - 3 + index] = mine[#mine - 3 + index] + 1
redis.call('SET', KEYS[1], cmsgpack.pack(mine), 'PX', 600000)
return { 1, left - 1, others }

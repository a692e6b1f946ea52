#!lua flags=allow-oom
-- quota_report.lua: take in what an answer of Clopos said about the quota.
--
-- KEYS  1 window of the brand (string, packed: see quota_acquire.lua)  2 window of the address (likewise)
-- ARGV  1 requests a minute, ours  2 1 when the answer counts as failed there  3 whom a 429 blocks: brand | address |
--       sign_in | ''  4 for how long, ms  5 whose remaining number follows: brand | address | ''  6 remaining  7 ms
--       until it resets
-- Returns ms at which the longest of the blocks now in force ends, 0 without one
-- Atomic because the windows are read, changed and written whole. A remaining number lower than our own count leaves
-- means that somebody else uses the same account: what they used is kept apart, and forgotten when it resets.

local BUCKET_MS, WINDOW_MS, HEAD = 250, 60500, 4
local FAILURES_A_MINUTE = 600

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function window(key)
  local packed = redis.call('GET', key)
  return packed and cmsgpack.unpack(packed) or { 0, 0, 0, 0 }
end

local function used(stored, first, last)
  local sum = 0
  for at = HEAD + 1, #stored, 4 do
    if (stored[at] + 1) * BUCKET_MS + WINDOW_MS > now then
      for kind = first, last do sum = sum + stored[at + kind] end
    end
  end
  return sum
end

local function believe(stored, ours_left)
  stored[3] = math.max(0, ours_left - tonumber(ARGV[6]))
  stored[4] = now + tonumber(ARGV[7])
end

local limit, failed, blocked, wait = tonumber(ARGV[1]), ARGV[2] == '1', ARGV[3], tonumber(ARGV[4])
local mine, address = window(KEYS[1]), window(KEYS[2])

if failed then
  local bucket = math.floor(now / BUCKET_MS)
  if #address == HEAD or address[#address - 3] ~= bucket then
    for _, value in ipairs({ bucket, 0, 0, 0 }) do address[#address + 1] = value end
  end
  address[#address - 2] = address[#address - 2] + 1
end
if ARGV[5] == 'brand' then believe(mine, limit - used(mine, 1, 3)) end
if ARGV[5] == 'address' then believe(address, FAILURES_A_MINUTE - used(address, 1, 1)) end
if blocked == 'brand' then
  mine[1] = math.max(mine[1], now + wait)
  -- No burst when the block ends: the pace starts from there.
  mine[2] = math.max(mine[2], mine[1] + 1000)
elseif blocked == 'address' then
  address[1] = math.max(address[1], now + wait)
elseif blocked == 'sign_in' then
  address[2] = math.max(address[2], now + wait)
end

if blocked == 'brand' or ARGV[5] == 'brand' then redis.call('SET', KEYS[1], cmsgpack.pack(mine), 'PX', 600000) end
if failed or blocked == 'address' or blocked == 'sign_in' or ARGV[5] == 'address' then
  local kept = { address[1], address[2], address[3], address[4] }
  for at = HEAD + 1, #address, 4 do
    if (address[at] + 1) * BUCKET_MS + WINDOW_MS > now then
      for offset = 0, 3 do kept[#kept + 1] = address[at + offset] end
    end
  end
  redis.call('SET', KEYS[2], cmsgpack.pack(kept), 'PX', 600000)
end
local ends = math.max(mine[1], address[1])
return ends > now and math.ceil(ends) or 0

#!lua flags=allow-oom
-- quota_sign_in.lua: may one more sign-in go to Clopos, now?
--
-- KEYS  1 window of the address (string, packed: see quota_acquire.lua)
-- ARGV  1 sign-ins a minute
-- Returns { 1, sign-ins left in the window, 0 } granted, and counted; { 0, ms to wait, why: sign_in | address } not now
-- Atomic because Clopos counts sign-ins by address, so all brands and workers share them.

local BUCKET_MS, WINDOW_MS, HEAD = 250, 60500, 4

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local packed = redis.call('GET', KEYS[1])
local stored = packed and cmsgpack.unpack(packed) or { 0, 0, 0, 0 }
-- In the address' window the second number is 'sign-ins blocked until'.
local kept, made, oldest = { stored[1], stored[2], stored[3], stored[4] }, 0, now + 1
for at = #stored - 3, HEAD + 1, -4 do
  local ends = (stored[at] + 1) * BUCKET_MS + WINDOW_MS
  if ends > now then
    made = made + stored[at + 2]
    if stored[at + 2] > 0 then oldest = ends end
  end
end
for at = HEAD + 1, #stored, 4 do
  if (stored[at] + 1) * BUCKET_MS + WINDOW_MS > now then
    for offset = 0, 3 do kept[#kept + 1] = stored[at + offset] end
  end
end
if kept[2] > now then return { 0, math.ceil(kept[2] - now), 'address' } end
local limit = tonumber(ARGV[1])
if made >= limit then return { 0, oldest - now, 'sign_in' } end
local bucket = math.floor(now / BUCKET_MS)
if #kept == HEAD or kept[#kept - 3] ~= bucket then
  for _, value in ipairs({ bucket, 0, 0, 0 }) do kept[#kept + 1] = value end
end
kept[#kept - 1] = kept[#kept - 1] + 1
redis.call('SET', KEYS[1], cmsgpack.pack(kept), 'PX', 600000)
return { 1, limit - made - 1, 0 }

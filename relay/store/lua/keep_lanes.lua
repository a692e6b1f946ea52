#!lua flags=allow-oom
-- keep_lanes.lua: renew the leases of lanes, or give them back.
--
-- KEYS  1 lanes due (zset)  2 when the scheduler wakes next (string)  3 wake list of the scheduler (list)
-- ARGV  1 stem of lanes' keys  2 length of the lease, ms  3 ms after which a lane that cannot be read is looked at again
--       4 MessagePack of the lanes: { {subscription, fence, true renew | false give back}, … }
-- Returns { ms at which the first of those given back is due (-1 none), { one number a lane: 1 renewed, 0 given back,
--         -1 lost, -2 its keys hold something else } }
-- A lane given back is due when its first head is: now, at its next try, or when its circuit lets a probe through.
-- Atomic because between "nothing is due" and "nobody owns it" an event could be committed that wakes no one.

local call, format = redis.call, string.format
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease_end = format('%.0f', now_ms + tonumber(ARGV[2]))
local soonest

local function keep(sub, fence, renew)
  local lane = ARGV[1] .. sub
  local state = call('HMGET', lane, 'fence', 'gate', 'hold', 'flush', 'owner')
  if tonumber(state[1]) ~= fence then return -1 end
  if renew then
    if not state[5] then return -1 end  -- given back before, and the answer was lost
    call('HSET', lane, 'until', lease_end)
    call('ZADD', KEYS[1], lease_end, sub)
    return 1
  end
  for _, name in ipairs({ ':ready', ':retry' }) do
    local taken = call('ZRANGEBYSCORE', lane .. name, '-inf', '(0', 'WITHSCORES')
    for index = 1, #taken, 2 do
      call('ZADD', lane .. name, string.sub(taken[index + 1], 2), taken[index])
    end
  end
  local due
  if call('ZCARD', lane .. ':ready') > 0 then
    due = now_ms
  else
    local first = call('ZRANGE', lane .. ':retry', 0, 0, 'WITHSCORES')
    if first[2] then due = state[4] and now_ms or tonumber(first[2]) end
  end
  call('HDEL', lane, 'owner', 'until')
  local hold = tonumber(state[3] or '0') or 0
  if due and hold > due then due = hold end
  if due and not state[2] then
    call('ZADD', KEYS[1], format('%.0f', due), sub)
    if not soonest or due < soonest then soonest = due end
  else
    call('ZREM', KEYS[1], sub)
  end
  return 0
end

local results = {}
for index, lane in ipairs(cmsgpack.unpack(ARGV[4])) do
  local sound, result = pcall(keep, lane[1], lane[2], lane[3])
  if not sound then
    call('ZADD', KEYS[1], format('%.0f', now_ms + tonumber(ARGV[3])), lane[1])
    result = -2
  end
  results[index] = result
end
if soonest and soonest > now_ms and soonest < tonumber(call('GET', KEYS[2]) or '0') and call('LLEN', KEYS[3]) == 0 then
  call('RPUSH', KEYS[3], '1')
  call('PEXPIRE', KEYS[3], 60000)
end
return { soonest and math.floor(soonest) or -1, results }

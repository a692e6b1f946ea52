#!lua flags=allow-oom
-- figures.lua: what stands in some lanes, for the metrics.
--
-- KEYS  none: lanes are named in ARGV (the relay does not run on a cluster)
-- ARGV  1 stem of lanes' keys; then subscriptions
-- Returns one a subscription: { pending, dead, position of the oldest event that waits (0: none is known) }
-- Only reads. A head that was tried before stands in a set by when it is due, not by age: the ones due first and those
-- due last are looked at, as who has waited longest has the longest delays.

local SAMPLE = 25
local call = redis.call
local found = {}
for cursor = 2, #ARGV do
  local lane = ARGV[1] .. ARGV[cursor]
  local counts = call('HMGET', lane, 'pending', 'dead')
  local pending, oldest = tonumber(counts[1] or '0'), nil
  local function see(position)
    if position and (not oldest or position < oldest) then oldest = position end
  end
  if pending > 0 then
    local waiting = call('ZRANGEBYSCORE', lane .. ':ready', '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    see(tonumber(waiting[2]))
    local taken = call('ZREVRANGEBYSCORE', lane .. ':ready', '(0', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if taken[2] then see(-tonumber(taken[2])) end
    for _, queue in ipairs(call('ZRANGE', lane .. ':retry', 0, SAMPLE - 1)) do
      see(tonumber(call('LINDEX', lane .. ':q:' .. queue, 0)))
    end
    for _, queue in ipairs(call('ZREVRANGE', lane .. ':retry', 0, SAMPLE - 1)) do
      see(tonumber(call('LINDEX', lane .. ':q:' .. queue, 0)))
    end
  end
  found[#found + 1] = { pending, tonumber(counts[2] or '0'), string.format('%.0f', oldest or 0) }
end
return found

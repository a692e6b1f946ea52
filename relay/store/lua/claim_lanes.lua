#!lua flags=allow-oom
-- claim_lanes.lua: take ownership of lanes that have work due.
--
-- KEYS  1 lanes due (zset)
-- ARGV  1 owner  2 how many at most  3 length of the lease, ms  4 stem of lanes' keys  5 ms after which a lane that cannot
--       be read is looked at again
-- Returns { now ms, ms of the next one that is due later (-1 none), { {subscription, fence, circuit, state of its rate
--         limit}, … }, { subscriptions whose lanes hold something else } }
-- Atomic because two workers must never own one lane: the fence grows with every claim, and what an owner before it
-- still has in hand can no longer be settled. What that owner had marked as taken waits again.

local call, format = redis.call, string.format
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease_end = format('%.0f', now_ms + tonumber(ARGV[3]))
local claimed, corrupt = {}, {}

local function claim(sub, lane)
  local state = call('HMGET', lane, 'gate', 'circuit', 'rate')
  if state[1] then
    call('ZREM', KEYS[1], sub)
    return
  end
  for _, name in ipairs({ ':ready', ':retry' }) do
    local taken = call('ZRANGEBYSCORE', lane .. name, '-inf', '(0', 'WITHSCORES')
    for index = 1, #taken, 2 do
      call('ZADD', lane .. name, string.sub(taken[index + 1], 2), taken[index])
    end
  end
  local fence = call('HINCRBY', lane, 'fence', 1)
  call('HSET', lane, 'owner', ARGV[1], 'until', lease_end)
  call('ZADD', KEYS[1], lease_end, sub)
  claimed[#claimed + 1] = { sub, fence, state[2] or '', state[3] or '' }
end

for _, sub in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, tonumber(ARGV[2]))) do
  -- A lane whose keys hold something else must not stop the others, nor be looked at all the time.
  if not pcall(claim, sub, ARGV[4] .. sub) then
    call('ZADD', KEYS[1], format('%.0f', now_ms + tonumber(ARGV[5])), sub)
    corrupt[#corrupt + 1] = sub
  end
end
local later = call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { now_ms, later[2] and tonumber(later[2]) or -1, claimed, corrupt }

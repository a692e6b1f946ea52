#!lua flags=allow-oom
-- claim_lanes.lua: take ownership of lanes that have work due.
--
-- KEYS  1 lanes due (zset)
-- ARGV  1 owner  2 how many at most  3 length of the lease, ms  4 stem of lanes' keys
-- Returns { now ms, ms of the next one that is due later (-1 none), { {subscription, fence, circuit, failing since ms}, … } }
-- Atomic because two workers must never own one lane: the fence grows with every claim, and what an owner before it
-- still has in hand can no longer be settled. What that owner had marked as taken waits again.

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease_end = string.format('%.0f', now_ms + tonumber(ARGV[3]))
local claimed = {}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, tonumber(ARGV[2]))
for _, sub in ipairs(due) do
  local lane = ARGV[4] .. sub
  local state = redis.pcall('HMGET', lane, 'gate', 'circuit', 'failing')
  if state.err or state[1] then
    redis.call('ZREM', KEYS[1], sub)
  else
    local fence = redis.call('HINCRBY', lane, 'fence', 1)
    redis.call('HSET', lane, 'owner', ARGV[1], 'until', lease_end)
    redis.call('ZADD', KEYS[1], lease_end, sub)
    for _, name in ipairs({ ':ready', ':retry' }) do
      local taken = redis.call('ZRANGEBYSCORE', lane .. name, '-inf', '(0', 'WITHSCORES')
      for index = 1, #taken, 2 do
        redis.call('ZADD', lane .. name, string.format('%.0f', -tonumber(taken[index + 1])), taken[index])
      end
    end
    claimed[#claimed + 1] = { sub, fence, state[2] or '', tonumber(state[3] or '0') }
  end
end
local later = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { now_ms, later[2] and tonumber(later[2]) or -1, claimed }

#!lua
-- poll_claim.lua: take ownership of brands whose next look is due.
--
-- KEYS  1 polls due (zset)
-- ARGV  1 owner  2 how many at most  3 length of the lease, ms  4 stem of leases' keys
-- Returns { now ms, ms of the next one that is due later (-1 none), { {brand, fence, 1 when somebody asked for a look}, … } }
-- Atomic because two workers must never own one brand: the fence grows with every claim, and what an owner before it
-- still has in hand is refused by commit.lua and poll_note.lua. Plain #!lua: above maxmemory nothing new is read.

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease_end = string.format('%.0f', now_ms + tonumber(ARGV[3]))
local claimed = {}
for _, brand in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, tonumber(ARGV[2]))) do
  local lease = ARGV[4] .. brand
  local fence = redis.call('HINCRBY', lease, 'fence', 1)
  redis.call('HSET', lease, 'owner', ARGV[1], 'until', lease_end)
  redis.call('ZADD', KEYS[1], lease_end, brand)
  claimed[#claimed + 1] = { brand, fence, redis.call('HDEL', lease, 'asked') }
end
local later = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { now_ms, later[2] and tonumber(later[2]) or -1, claimed }

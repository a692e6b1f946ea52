#!lua flags=allow-oom
-- poll_claim.lua: take ownership of brands whose next look is due, as long as there is room for what they bring.
--
-- KEYS  1 polls due (zset)
-- ARGV  1 owner  2 how many at most  3 length of the lease, ms  4 stem of leases' keys
--       5 share of the memory limit above which nothing new is read  6 ms after which to look again then
-- Returns { now ms, ms of the next one that is due later (-1 none), { {brand, fence, 1 when somebody asked for a look, owners
--         in a row that did not give it back}, … }, 1 when there is no room }
-- Without room, what is due is put off: deliveries are settled and make room meanwhile, and nobody is woken in vain.
-- Atomic because two workers must never own one brand: the fence grows with every claim, and what an owner before it
-- still has in hand is refused by commit.lua and poll_note.lua.

local call = redis.call
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local memory = call('INFO', 'memory')
local used = tonumber(string.match(memory, 'used_memory:(%d+)') or '0')
local limit = tonumber(string.match(memory, 'maxmemory:(%d+)') or '0')
local full = limit > 0 and used > limit * tonumber(ARGV[5])
local lease_end = string.format('%.0f', now_ms + tonumber(ARGV[3]))
local claimed = {}
for _, brand in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, full and 1000 or tonumber(ARGV[2]))) do
  if full then
    call('ZADD', KEYS[1], string.format('%.0f', now_ms + tonumber(ARGV[6])), brand)
  else
    local lease = ARGV[4] .. brand
    local fence = call('HINCRBY', lease, 'fence', 1)
    local died = call('HEXISTS', lease, 'owner') == 1 and call('HINCRBY', lease, 'died', 1) or 0
    call('HSET', lease, 'owner', ARGV[1], 'until', lease_end)
    call('ZADD', KEYS[1], lease_end, brand)
    claimed[#claimed + 1] = { brand, fence, call('HDEL', lease, 'asked'), died }
  end
end
local later = call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { now_ms, later[2] and tonumber(later[2]) or -1, claimed, full and 1 or 0 }

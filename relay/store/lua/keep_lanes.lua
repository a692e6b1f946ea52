#!lua flags=allow-oom
-- keep_lanes.lua: renew the leases of lanes, or give them back.
--
-- KEYS  1 lanes due (zset)  2 when the scheduler wakes next (string)  3 wake list of the scheduler (list)
-- ARGV  1 stem of lanes' keys  2 length of the lease, ms; then for each lane: subscription · fence · 1 renew, 0 give back
-- Returns { ms at which the first of those given back is due (-1 none), { one number a lane: 1 renewed, 0 given back,
--         -1 lost } }
-- A lane given back is due when its first head is: now, at its next try, or when its circuit lets a probe through.
-- Atomic because between "nothing is due" and "nobody owns it" an event could be committed that wakes no one.

local call, format = redis.call, string.format
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease_end = format('%.0f', now_ms + tonumber(ARGV[2]))
local soonest
local results = {}
for cursor = 3, #ARGV, 3 do
  local sub, lane = ARGV[cursor], ARGV[1] .. ARGV[cursor]
  local state = call('HMGET', lane, 'fence', 'gate', 'hold')
  if state[1] ~= ARGV[cursor + 1] then
    results[#results + 1] = -1
  elseif ARGV[cursor + 2] == '1' then
    call('HSET', lane, 'until', lease_end)
    call('ZADD', KEYS[1], lease_end, sub)
    results[#results + 1] = 1
  else
    call('HDEL', lane, 'owner', 'until')
    for _, name in ipairs({ ':ready', ':retry' }) do
      local taken = call('ZRANGEBYSCORE', lane .. name, '-inf', '(0', 'WITHSCORES')
      for index = 1, #taken, 2 do
        call('ZADD', lane .. name, format('%.0f', -tonumber(taken[index + 1])), taken[index])
      end
    end
    local due
    if call('ZCARD', lane .. ':ready') > 0 then
      due = now_ms
    else
      local first = call('ZRANGE', lane .. ':retry', 0, 0, 'WITHSCORES')
      if first[2] then due = tonumber(first[2]) end
    end
    local hold = tonumber(state[3] or '0')
    if due and hold > due then due = hold end
    if due and not state[2] then
      call('ZADD', KEYS[1], format('%.0f', due), sub)
      if not soonest or due < soonest then soonest = due end
    else
      call('ZREM', KEYS[1], sub)
    end
    results[#results + 1] = 0
  end
end
if soonest and soonest > now_ms and soonest < tonumber(call('GET', KEYS[2]) or '0') and call('LLEN', KEYS[3]) == 0 then
  call('RPUSH', KEYS[3], '1')
  call('PEXPIRE', KEYS[3], 60000)
end
return { soonest and math.floor(soonest) or -1, results }

#!lua flags=allow-oom
-- drain_lane.lua: end what waits in a lane without sending it: too old, or its subscription or brand is gone.
--
-- KEYS  1 counters (hash)
-- ARGV  1 stem of lanes' keys  2 subscription  3 verdict: e expired, c discarded  4 only positions below this ('' all)
--       5 only queues that begin so ('' all)  6 queues to look at  7 how many to pass over first  8 'ready' or 'retry'
-- Returns { queues looked at, queues that are still there, deliveries ended }
-- Atomic because state, queue and counters must agree; bounded by ARGV 6 and by 1 000 deliveries a queue.

local call, format = redis.call, string.format
local lane, verdict, prefix = ARGV[1] .. ARGV[2], ARGV[3], ARGV[5]
local below = ARGV[4] ~= '' and tonumber(ARGV[4]) or nil
local first = tonumber(ARGV[7])
local queues = call('ZRANGE', lane .. ':' .. ARGV[8], first, first + tonumber(ARGV[6]) - 1)
local ended, left = 0, 0
for _, queue in ipairs(queues) do
  local list = lane .. ':q:' .. queue
  local changed = false
  if prefix == '' or string.sub(queue, 1, #prefix) == prefix then
    for _ = 1, 1000 do
      local position = call('LINDEX', list, 0)
      if not position or (below and tonumber(position) >= below) then break end
      local record = call('HGET', lane .. ':dlv', position) or 'p|0|||'
      call('HSET', lane .. ':dlv', position, verdict .. string.sub(record, 2))
      call('LPOP', list)
      ended = ended + 1
      changed = true
    end
  end
  if changed then
    local head = call('LINDEX', list, 0)
    call('ZREM', lane .. ':retry', queue)
    if head then
      call('ZADD', lane .. ':ready', head, queue)
      if ARGV[8] == 'ready' then left = left + 1 end
    else
      call('ZREM', lane .. ':ready', queue)
    end
  else
    left = left + 1
  end
end
if ended > 0 then
  local outcome = verdict == 'e' and 'expired' or 'discarded'
  call('HINCRBY', lane, 'pending', -ended)
  call('HINCRBY', lane, outcome, ended)
  call('HINCRBY', KEYS[1], 'deliveries|' .. ARGV[2] .. '|' .. outcome, ended)
end
return { #queues, left, ended }

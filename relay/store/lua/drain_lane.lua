#!lua flags=allow-oom
-- drain_lane.lua: end what waits in a lane without sending it: too old, or its subscription or brand is gone.
--
-- KEYS  1 counters (hash)
-- ARGV  1 stem of lanes' keys  2 subscription  3 verdict: e expired, c discarded  4 only positions below this, and none
--       that was opened again ('' all)  5 only queues that begin so ('' all)  6 queues to look at  7 how many to pass over
--       first  8 'ready' or 'retry'  9 deliveries to end at most
-- Returns { queues that were looked at and stay where they are, deliveries ended, 1 when there may be more to look at }
-- What is in the hands of an owner is left to it, if anything is left of its lease: how its attempt ends is recorded.
-- Atomic because state, queue and counters must agree.

local call, format = redis.call, string.format
local lane, verdict, prefix = ARGV[1] .. ARGV[2], ARGV[3], ARGV[5]
local below = ARGV[4] ~= '' and tonumber(ARGV[4]) or nil
local most, first, budget = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[9])
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local state = call('HMGET', lane, 'until', 'gate')
local owned = state[2] ~= 'gone' and (tonumber(state[1] or '0') or 0) > now_ms

local function may_end(position, record)
  if not below then return true end
  if tonumber(position) >= below then return false end
  local _, _, replay = string.match(record or '', '^(%a)|(%d+)|[^|]*|([^|]*)|')
  return not replay or replay == ''
end

local found = call('ZRANGE', lane .. ':' .. ARGV[8], first, first + most - 1, 'WITHSCORES')
local ended, left, more = 0, 0, #found == 2 * most and 1 or 0
for index = 1, #found, 2 do
  local queue, score = found[index], tonumber(found[index + 1])
  if budget <= 0 then
    more = 1
    break
  end
  if below and ARGV[8] == 'ready' and score >= below then
    more = 0
    break
  end
  local list = lane .. ':q:' .. queue
  local changed = false
  -- A queue of one that was never tried has no list: it stands in its score.
  local alone = ARGV[8] == 'ready' and call('EXISTS', list) == 0 and format('%.0f', math.abs(score))
  if not (owned and score < 0) and (prefix == '' or string.sub(queue, 1, #prefix) == prefix) then
    while budget > 0 do
      local position = alone or call('LINDEX', list, 0)
      if not position then break end
      local record = call('HGET', lane .. ':dlv', position)
      if not may_end(position, record) then break end
      local kept = string.match(record or '', '^%a(|%d+|[^|]*|[^|]*|.*)$') or '|0|||'
      call('HSET', lane .. ':dlv', position, verdict .. kept)
      if alone then alone = nil else call('LPOP', list) end
      ended, budget, changed = ended + 1, budget - 1, true
    end
  end
  if changed then
    local head = call('LINDEX', list, 0)
    call('ZREM', lane .. ':retry', queue)
    if head then
      call('ZADD', lane .. ':ready', head, queue)
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
return { left, ended, more }

#!lua flags=allow-oom
-- figures.lua: what stands in some lanes, for the metrics.
--
-- KEYS  none: lanes are named in ARGV (the relay does not run on a cluster)
-- ARGV  1 stem of lanes' keys; then subscriptions
-- Returns one a subscription: { pending, dead, ms since when the delivery waits that has waited longest (0: none waits) }
-- Only reads; of a lane whose keys hold something else nothing is known. A delivery waits since its event was committed, or
-- since it was made or opened again after that (a replay of old events has not waited long). Looked at are some heads of
-- queues, at both ends of each set, and of those in hand (with a minus): those never tried stand in the order of their
-- events, so a replay's stand first and live ones last; those tried before by when they are due, and who has waited longest
-- has the longest delays.

local SAMPLE = 4
local STAMPS_PER_MS = 2048
local MINUS = 45
local call = redis.call

-- Calls take(name, score) with some members of a set: at both ends of those that wait, and of those in hand.
local function sample(set, take)
  local found = { call('ZRANGE', set, 0, SAMPLE - 1, 'WITHSCORES') }
  if #found[1] == 2 * SAMPLE then
    found[2] = call('ZRANGE', set, -SAMPLE, -1, 'WITHSCORES')
    if string.byte(found[1][2]) == MINUS then -- some are in hand, and stand before those that wait
      found[3] = call('ZREVRANGEBYSCORE', set, '(0', '-inf', 'WITHSCORES', 'LIMIT', 0, SAMPLE)
      found[4] = call('ZRANGEBYSCORE', set, '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, SAMPLE)
    end
  end
  for _, heads in ipairs(found) do
    for at = 1, #heads, 2 do take(heads[at], heads[at + 1]) end
  end
end

local function look(lane)
  local counts = call('HMGET', lane, 'pending', 'dead')
  local pending, oldest = tonumber(counts[1] or '0'), nil
  if pending > 0 then
    local seen, positions = {}, {}
    local function note(position)
      if position and not seen[position] then
        seen[position] = true
        positions[#positions + 1] = position
      end
    end
    -- A head that was never tried has its position as its score: it need not be asked for.
    sample(lane .. ':ready', function(_, score) note(string.byte(score) == MINUS and string.sub(score, 2) or score) end)
    sample(lane .. ':retry', function(queue) note(call('LINDEX', lane .. ':q:' .. queue, 0)) end)
    local records = #positions > 0 and call('HMGET', lane .. ':dlv', unpack(positions)) or {}
    for index, position in ipairs(positions) do
      local since, record = math.floor(tonumber(position) / STAMPS_PER_MS), records[index]
      if record then
        local made, opened = string.match(record, '^p|%d+|(%d*)|[^|@]*@?(%d*)|')
        since = math.max(since, math.floor((tonumber(made or '') or 0) / STAMPS_PER_MS), tonumber(opened or '') or 0)
      end
      if not oldest or since < oldest then oldest = since end
    end
  end
  return { pending, tonumber(counts[2] or '0'), string.format('%.0f', oldest or 0) }
end

local found = {}
for cursor = 2, #ARGV do
  local sound, figures = pcall(look, ARGV[1] .. ARGV[cursor])
  found[#found + 1] = sound and figures or { 0, 0, '0' }
end
return found

#!lua flags=allow-oom
-- take.lua: hand the owner of lanes the heads that are due.
--
-- KEYS  1 log (stream)  2 epoch of subscriptions (string)  3 epoch of brands (string)
-- ARGV  1 stem of lanes' keys; then for each lane: subscription · fence · heads never tried that go
--       before those tried before · most heads in all
-- Returns { now ms, epoch of subscriptions, epoch of brands, { {state, ms until which the lane holds, heads}, … one a lane } }
--         state: 'ok', 'lost' (another worker owns it), 'shut' (paused, disabled or gone), 'corrupt' (its keys hold
--         something else)
--         head: {queue, position, record ('' none), static part of the event (false: trimmed), sequence, sequence before}
-- A head that was handed out is marked by the minus sign of its score, which settle.lua, or the next claim, takes off.
-- Atomic because a head must not be handed out twice.

local STAMPS_PER_MS = 2048
local call, format = redis.call, string.format
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function head_of(lane, queue, position)
  local id = format('%.0f-%.0f', math.floor(position / STAMPS_PER_MS), position % STAMPS_PER_MS)
  local record = call('HGET', lane .. ':dlv', format('%.0f', position)) or ''
  local entry = call('XRANGE', KEYS[1], id, id)[1]
  if not entry then return { queue, position, record, false, '', '' } end
  local fields = entry[2]
  return { queue, position, record, fields[2], fields[4], fields[6] }
end

local function take(lane, fence, fresh, total)
  local state = call('HMGET', lane, 'fence', 'gate', 'hold', 'flush')
  if state[1] ~= fence then return { 'lost', 0, {} } end
  if state[2] then return { 'shut', 0, {} } end
  if state[4] then
    -- The partner answers again: what waits for a later try is due now, a thousand a call.
    local waiting = call('ZRANGEBYSCORE', lane .. ':retry', '(' .. now_ms, '+inf', 'LIMIT', 0, 1000)
    for _, queue in ipairs(waiting) do call('ZADD', lane .. ':retry', now_ms, queue) end
    if #waiting < 1000 then call('HDEL', lane, 'flush') end
  end
  local heads = {}
  local function take_fresh(most)
    if most <= 0 then return end
    local found = call('ZRANGEBYSCORE', lane .. ':ready', '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, most)
    for index = 1, #found, 2 do
      local position = tonumber(found[index + 1])
      call('ZADD', lane .. ':ready', format('%.0f', -position), found[index])
      heads[#heads + 1] = head_of(lane, found[index], position)
    end
  end
  take_fresh(fresh)
  local again = total - #heads
  if again > 0 then
    local found = call('ZRANGEBYSCORE', lane .. ':retry', '(0', now_ms, 'WITHSCORES', 'LIMIT', 0, again)
    for index = 1, #found, 2 do
      local position = tonumber(call('LINDEX', lane .. ':q:' .. found[index], 0) or '0')
      if position == 0 then
        call('ZREM', lane .. ':retry', found[index])
      else
        call('ZADD', lane .. ':retry', format('%.0f', -tonumber(found[index + 1])), found[index])
        heads[#heads + 1] = head_of(lane, found[index], position)
      end
    end
  end
  take_fresh(total - #heads)
  return { 'ok', tonumber(state[3] or '0'), heads }
end

local lanes = {}
for cursor = 2, #ARGV, 4 do
  -- A lane whose keys hold something else must not stop the others.
  local sound, taken = pcall(take, ARGV[1] .. ARGV[cursor], ARGV[cursor + 1], tonumber(ARGV[cursor + 2]), tonumber(ARGV[cursor + 3]))
  lanes[#lanes + 1] = sound and taken or { 'corrupt', 0, {} }
end
return { now_ms, call('GET', KEYS[2]) or '0', call('GET', KEYS[3]) or '0', lanes }

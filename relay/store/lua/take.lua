#!lua flags=allow-oom
-- take.lua: hand the owner of lanes the heads that are due.
--
-- KEYS  1 log (stream)  2 epoch of subscriptions (string)  3 epoch of brands (string)
-- ARGV  1 stem of lanes' keys  2 MessagePack of the lanes asked: { {subscription, fence, heads never tried that go before
--       those tried before, most heads in all}, … }
-- Returns { now ms, epoch of subscriptions, epoch of brands, { one MessagePack a lane }, events }
--         lane: { state, ms when the next one that waits is due (0: none that is known), { heads } }
--         state: 'ok', 'lost' (another worker owns it, or nobody), 'shut' (paused, disabled or gone), 'corrupt' (its keys hold
--         something else)
--         head: { queue, event, position, attempts made, true when it was opened again }; attempts made: -1 its record
--         cannot be read, -2 it has ended already and should not be there
--         events: a flat list, three to an event, which heads name by number, the first being 1: static part (false: the
--         log has it no more), sequence, sequence before
-- A head that was handed out is marked by the minus sign of its score, which settle.lua, or the next claim, takes off.
-- An event that many lanes wait for is handed out once. Atomic because a head must not be handed out twice.

local STAMPS_PER_MS = 2048
local call, format = redis.call, string.format
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local ENDED = { d = true, x = true, e = true, c = true }

local events, known = {}, {}
local function event_at(position)
  local number = known[position]
  if number then return number end
  local stamp = tonumber(position)
  local id = format('%.0f-%.0f', math.floor(stamp / STAMPS_PER_MS), stamp % STAMPS_PER_MS)
  local entry = call('XRANGE', KEYS[1], id, id)[1]
  local at = #events
  if entry then
    local fields = entry[2]
    events[at + 1], events[at + 2], events[at + 3] = fields[2], fields[4], fields[6]
  else
    events[at + 1], events[at + 2], events[at + 3] = false, '', ''
  end
  known[position] = at / 3 + 1
  return known[position]
end

local function mark(name, found)
  local marks = {}
  for index = 1, #found, 2 do
    marks[index], marks[index + 1] = '-' .. found[index + 1], found[index]
  end
  call('ZADD', name, unpack(marks))
end

local function take(lane, fence, fresh, total)
  local state = call('HMGET', lane, 'fence', 'gate', 'flush', 'until')
  -- Given back, or too late: its next owner would be handed the same heads, though nobody has claimed it yet.
  local owned = (tonumber(state[4] or '0') or 0) > now_ms
  if tonumber(state[1]) ~= fence or not owned then return { 'lost', 0, {} } end
  if state[2] then return { 'shut', 0, {} } end
  local ready, retry = lane .. ':ready', lane .. ':retry'
  if state[3] then
    -- The partner answers again: what waits for a later try is due now, a thousand a call.
    local waiting = call('ZRANGEBYSCORE', retry, '(' .. now_ms, '+inf', 'LIMIT', 0, 1000)
    for _, queue in ipairs(waiting) do call('ZADD', retry, now_ms, queue) end
    if #waiting < 1000 then call('HDEL', lane, 'flush') end
  end
  local queues, positions = {}, {}
  local function take_fresh(most)
    if most <= 0 then return end
    local found = call('ZRANGEBYSCORE', ready, '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, most)
    if #found == 0 then return end
    mark(ready, found)
    for index = 1, #found, 2 do
      queues[#queues + 1], positions[#positions + 1] = found[index], found[index + 1]
    end
  end
  take_fresh(fresh)
  local again = total - #queues
  if again > 0 then
    local found = call('ZRANGEBYSCORE', retry, '(0', now_ms, 'WITHSCORES', 'LIMIT', 0, again)
    local kept = {}
    for index = 1, #found, 2 do
      local position = call('LINDEX', lane .. ':q:' .. found[index], 0)
      if position then
        kept[#kept + 1], kept[#kept + 2] = found[index], found[index + 1]
        queues[#queues + 1], positions[#positions + 1] = found[index], position
      else
        call('ZREM', retry, found[index])
      end
    end
    if #kept > 0 then mark(retry, kept) end
    take_fresh(total - #queues)
  end
  local next_ms = 0
  if #queues < total then
    local following = call('ZRANGEBYSCORE', retry, '(' .. now_ms, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    next_ms = tonumber(following[2] or '0')
  end
  local heads = {}
  if #queues > 0 then
    local records = call('HMGET', lane .. ':dlv', unpack(positions))
    for index, queue in ipairs(queues) do
      local attempts, opened = 0, false
      if records[index] and records[index] ~= '' then
        local ended, made, replay = string.match(records[index], '^(%a)|(%d+)|[^|]*|([^|]*)|')
        if ENDED[ended] then
          attempts = -2
        elseif ended ~= 'p' then
          attempts = -1
        else
          attempts, opened = tonumber(made), replay ~= ''
        end
      end
      heads[index] = { queue, event_at(positions[index]), tonumber(positions[index]), attempts, opened }
    end
  end
  return { 'ok', next_ms, heads }
end

local lanes = {}
for index, wanted in ipairs(cmsgpack.unpack(ARGV[2])) do
  -- A lane whose keys hold something else must not stop the others.
  local sound, taken = pcall(take, ARGV[1] .. wanted[1], wanted[2], wanted[3], wanted[4])
  lanes[index] = cmsgpack.pack(sound and taken or { 'corrupt', 0, {} })
end
return { now_ms, call('GET', KEYS[2]) or '0', call('GET', KEYS[3]) or '0', lanes, events }

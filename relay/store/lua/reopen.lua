#!lua
-- reopen.lua: make deliveries pending again, or make them where there were none: retry, replay, a start in the past.
--
-- KEYS  1 log (stream)  2 clock (string)  3 lanes due (zset)  4 positions a replay has yet to queue (list; '' none)
--       5 positions it has queued (list; '' none)
-- ARGV  1 stem of lanes' keys  2 subscription  3 replay ('' none)  4 1 when it is pulled from only  5 stem of wake
--       lists of owners  6 shared wake list  7 1 to make deliveries where there are none
--       8 1 to queue them before what was committed since (a lane that is not open yet); then for each delivery:
--         position · queue · brand
-- Returns { lanes that nobody owns and that are due now, { one a delivery: 'pending' (it was, and is due now),
--         'reopened', 'made', 'gone' (the log has no such event any more, or there is no such delivery) } }
-- A replay's positions move from one list to the other in the same script; when the first is not what the list begins
-- with, another worker was quicker, and nothing is written: { 0, {} }
-- Appended at the tail of its queue: what is queued goes first, so a replay never overtakes live traffic of its subject.
-- One that is pending and stands in no queue, which should not be, is queued.
-- Atomic because state, queue and counters must agree.

local STAMPS_PER_MS = 2048
local call, format = redis.call, string.format
local lane = ARGV[1] .. ARGV[2]
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stamp = tonumber(call('GET', KEYS[2]) or '0') or 0
local BY_HAND = '-'
local NAMES = { d = 'delivered', x = 'dead', e = 'expired', c = 'discarded' }

local function stream_id(position)
  return format('%.0f-%.0f', math.floor(position / STAMPS_PER_MS), position % STAMPS_PER_MS)
end

-- What was committed since a lane was made was never tried, so it has no record; what was made here has one.
local function first_live(list)
  for _, position in ipairs(call('LRANGE', list, 0, -1)) do
    if not call('HGET', lane .. ':dlv', position) then return position end
  end
end

-- A queue of one that was never tried has no list: it stands in its score. Here it gets one.
local function list_of(name)
  local list = lane .. ':q:' .. name
  if call('EXISTS', list) == 0 then
    local score = call('ZSCORE', lane .. ':ready', name)
    if score then call('RPUSH', list, (string.gsub(score, '^-', ''))) end
  end
  return list
end

if KEYS[4] ~= '' and call('LINDEX', KEYS[4], 0) ~= ARGV[9] then return { 0, {} } end

local results = {}
for cursor = 9, #ARGV, 3 do
  local position, queue, brand = ARGV[cursor], ARGV[cursor + 1], ARGV[cursor + 2]
  local id = stream_id(tonumber(position))
  local record = call('HGET', lane .. ':dlv', position)
  local entry = call('XRANGE', lane .. ':log', id, id)[1]
  local known = record or (entry and #entry[2] == 2)
  local result
  if #call('XRANGE', KEYS[1], id, id) == 0 then
    result = 'gone'
  elseif not known then
    if ARGV[7] ~= '1' then
      result = 'gone'
    else
      result = 'made'
      stamp = math.max(stamp + 1, now_ms * STAMPS_PER_MS)
      local made = stream_id(stamp)
      if ARGV[4] == '1' then
        -- Listed once more, for those that have read beyond its place.
        if entry then call('XDEL', lane .. ':log', id) end
        call('XADD', lane .. ':log', made, 'b', brand, 'p', position, 'n', '1')
      else
        call('XADD', lane .. ':log', made, 'b', brand, 'p', position)
        call('HSET', lane .. ':dlv', position, 'p|0|' .. format('%.0f', stamp) .. '|' .. ARGV[3] .. '|')
        call('HINCRBY', lane, 'matched', 1)
      end
    end
  else
    local state, attempts, made, replay, rest = string.match(record or '', '^(%a)|(%d+)|([^|]*)|([^|]*)|(.*)$')
    if state ~= 'p' and not NAMES[state] then state = 'p' end
    if state == 'p' then
      result = 'pending'
      local queued = false
      for _, name in ipairs({ queue, (string.gsub(queue, '#%d+$', '')), queue .. '#' .. position }) do
        local list = list_of(name)
        queued = queued or call('LPOS', list, position) ~= false
        if call('LINDEX', list, 0) == position then
          local score = tonumber(call('ZSCORE', lane .. ':retry', name) or '0')
          if score > now_ms then call('ZADD', lane .. ':retry', now_ms, name) end
        end
      end
      if not queued and ARGV[4] ~= '1' then
        if call('RPUSH', list_of(queue), position) == 1 then call('ZADD', lane .. ':ready', position, queue) end
      end
    else
      result = 'reopened'
      local by = (ARGV[3] ~= '' and ARGV[3] or BY_HAND) .. '@' .. format('%.0f', now_ms)
      call('HSET', lane .. ':dlv', position, 'p|' .. attempts .. '|' .. made .. '|' .. by .. '|' .. rest)
      call('HINCRBY', lane, NAMES[state], -1)
      if state == 'x' then call('ZREM', lane .. ':dead', position) end
    end
  end
  if (result == 'made' and ARGV[4] ~= '1') or result == 'reopened' then
    call('HINCRBY', lane, 'pending', 1)
    local list = list_of(queue)
    local live = ARGV[8] == '1' and first_live(list)
    if live then
      call('LINSERT', list, 'BEFORE', live, position)
    else
      call('RPUSH', list, position)
    end
    if call('LINDEX', list, 0) == position then call('ZADD', lane .. ':ready', position, queue) end
  end
  if KEYS[4] ~= '' then
    call('LPOP', KEYS[4])
    if result == 'made' or result == 'reopened' then call('RPUSH', KEYS[5], position) end
  end
  results[#results + 1] = result
end
call('SET', KEYS[2], format('%.0f', stamp))

local orphans = 0
local state = call('HMGET', lane, 'gate', 'owner', 'until')
if not state[1] then
  if state[2] and tonumber(state[3] or '0') > now_ms then
    if call('LLEN', ARGV[5] .. state[2]) < 1000 then
      call('RPUSH', ARGV[5] .. state[2], ARGV[2])
      call('PEXPIRE', ARGV[5] .. state[2], 60000)
    end
  else
    call('ZADD', KEYS[3], 'LT', now_ms, ARGV[2])
    orphans = 1
    if call('LLEN', ARGV[6]) == 0 then
      call('RPUSH', ARGV[6], '1')
      call('PEXPIRE', ARGV[6], 60000)
    end
  end
end
return { orphans, results }

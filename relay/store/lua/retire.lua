#!lua flags=allow-oom
-- retire.lua: take deliveries out of a lane, because they are past retention or their replay was stopped.
--
-- KEYS  1 clock (string)  2 counters (hash)
-- ARGV  1 stem of lanes' keys  2 subscription; then for each delivery:
--         position · stamp it was made at · queue · brand · facts of its event (JSON, '' none) ·
--         what: 'drop' (forget it if it has ended, else it expires), 'stop:ID' (discard it if replay ID opened it and it
--         waits)
-- Returns { dropped, expired, discarded }
-- One that expires stays visible for another retention, without its event, which is gone: hence the facts.
-- Atomic because state, queue and counters must agree.

local STAMPS_PER_MS = 2048
local call, format = redis.call, string.format
local lane = ARGV[1] .. ARGV[2]
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stamp = tonumber(call('GET', KEYS[1]) or '0') or 0
local NAMES = { d = 'delivered', x = 'dead', e = 'expired', c = 'discarded' }

local function stream_id(position)
  return format('%.0f-%.0f', math.floor(position / STAMPS_PER_MS), position % STAMPS_PER_MS)
end

local function unqueue(queue, position)
  for _, name in ipairs({ queue, queue .. '#' .. position }) do
    local list = lane .. ':q:' .. name
    -- A queue of one that was never tried has no list: it stands in its score.
    local score = call('EXISTS', list) == 0 and call('ZSCORE', lane .. ':ready', name)
    if score and (string.gsub(score, '^-', '')) == position then
      call('ZREM', lane .. ':ready', name)
      return true
    end
    local was_head = call('LINDEX', list, 0) == position
    if call('LREM', list, 0, position) > 0 then
      if was_head then
        call('ZREM', lane .. ':retry', name)
        local head = call('LINDEX', list, 0)
        if head then
          call('ZADD', lane .. ':ready', head, name)
        else
          call('ZREM', lane .. ':ready', name)
        end
      end
      return true
    end
  end
  return false
end

local dropped, expired, discarded = 0, 0, 0
for cursor = 3, #ARGV, 6 do
  local position, made, queue, brand, facts, what = ARGV[cursor], ARGV[cursor + 1], ARGV[cursor + 2], ARGV[cursor + 3],
    ARGV[cursor + 4], ARGV[cursor + 5]
  local record = call('HGET', lane .. ':dlv', position)
  local state, attempts, _, replay, rest = string.match(record or '', '^(%a)|(%d+)|([^|]*)|([^|]*)|(.*)$')
  if state ~= 'p' and not NAMES[state] then state, attempts, replay, rest = 'p', '0', '', '' end
  if what == 'drop' then
    if state == 'p' then
      stamp = math.max(stamp + 1, now_ms * STAMPS_PER_MS)
      unqueue(queue, position)
      local lines = string.match(rest, '\n.*$') or ''
      call('XDEL', lane .. ':log', stream_id(tonumber(made)))
      call('XADD', lane .. ':log', stream_id(stamp), 'b', brand, 'p', position)
      call('HSET', lane .. ':dlv', position, 'e|' .. attempts .. '|' .. format('%.0f', stamp) .. '|' .. replay .. '|' .. facts .. lines)
      expired = expired + 1
    else
      if call('XDEL', lane .. ':log', stream_id(tonumber(made))) > 0 then
        call('HDEL', lane .. ':dlv', position)
        if state == 'x' then call('ZREM', lane .. ':dead', position) end
        call('HINCRBY', lane, 'matched', -1)
        call('HINCRBY', lane, NAMES[state], -1)
        dropped = dropped + 1
      end
    end
  elseif state == 'p' and what == 'stop:' .. string.match(replay, '^[^@]*') then
    if unqueue(queue, position) then
      call('HSET', lane .. ':dlv', position, 'c|' .. attempts .. '|' .. string.match(record, '^%a|%d+|(.*)$'))
      discarded = discarded + 1
    end
  end
end
if expired > 0 then
  call('HINCRBY', lane, 'pending', -expired)
  call('HINCRBY', lane, 'expired', expired)
  call('HINCRBY', KEYS[2], 'deliveries|' .. ARGV[2] .. '|expired', expired)
end
if discarded > 0 then
  call('HINCRBY', lane, 'pending', -discarded)
  call('HINCRBY', lane, 'discarded', discarded)
  call('HINCRBY', KEYS[2], 'deliveries|' .. ARGV[2] .. '|discarded', discarded)
end
call('SET', KEYS[1], format('%.0f', stamp))
return { dropped, expired, discarded }

#!lua flags=allow-oom
-- settle.lua: record how attempts ended and move their lanes on.
--
-- KEYS  1 counters (hash)  2 announcements to make (list)
-- ARGV  1 stem of lanes' keys  2 MessagePack of the lanes: { {subscription, fence, { results }, note (nil: none)}, … }
--         result: { queue, position (text), number of this attempt, verdict, due ms, attempt (JSON, '' none),
--         status class ('' no attempt was made), duration bucket, duration ms, latency bucket (-1 none), latency ms,
--         announcement ('' none) }
--         verdict: d delivered, r try again at due ms, x dead, e expired, c discarded, b given back, no attempt counted
--         (due ms 0: as it was, else not before then)
--         note: { circuit, failing since ms (0: not failing), hold until ms (0: not at all), state of the rate limit,
--         true to make all that waits due now }
-- Returns, one a lane, one number a result: 1 recorded, 0 stale fence (nothing written), 2 already (it is not the head,
--         or that attempt is recorded: nothing written), 3 the lane's keys hold something else
-- Atomic because attempt, state, due time and counters must never disagree after a crash. Works above the memory limit:
-- what was sent must be recorded, and it frees more than it takes. Of each lane everything is read before anything is
-- written, since scripts do not roll back.

local call, format = redis.call, string.format
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local slot = format('%.0f', math.floor(now_ms / 300000))
local STATES = { d = 'delivered', x = 'dead', e = 'expired', c = 'discarded' }

local sums = {}
local function add(row, field, amount) row[field] = (row[field] or 0) + amount end
local function write(key, row)
  for field, amount in pairs(row) do
    if amount ~= 0 then call('HINCRBY', key, field, format('%.0f', amount)) end
  end
end

local function settle(sub, fence, results, note)
  local lane = ARGV[1] .. sub
  local answers = {}
  if tonumber(call('HGET', lane, 'fence') or '-1') ~= fence then
    for index = 1, #results do answers[index] = 0 end
    return answers
  end

  local lists, records = {}, {}
  if #results > 0 then
    local positions = {}
    for index, result in ipairs(results) do
      positions[index] = result[2]
      lists[index] = call('LRANGE', lane .. ':q:' .. result[1], 0, 1)
      if #lists[index] == 0 then
        -- A queue of one that was never tried has no list: it stands in its score.
        local head = call('ZSCORE', lane .. ':ready', result[1])
        if head then lists[index] = { (string.gsub(head, '^-', '')), alone = true } end
      end
    end
    records = call('HMGET', lane .. ':dlv', unpack(positions))
    call('ZCARD', lane .. ':retry')
  end

  -- What is written, gathered: one call for all deliveries of the lane where the command takes many.
  local off_ready, off_retry, on_ready, on_retry, kept, popped = {}, {}, {}, {}, {}, {}
  local lane_sums, stat_sums, counted, dead, announced = {}, {}, {}, {}, {}
  local listed, settled = {}, {}
  local function advance(queue, list)
    if not list.alone then popped[#popped + 1] = lane .. ':q:' .. queue end
    off_retry[#off_retry + 1] = queue
    if list[2] then
      on_ready[#on_ready + 1], on_ready[#on_ready + 2] = list[2], queue
    else
      off_ready[#off_ready + 1] = queue
    end
  end
  local function again(queue, list, due)
    if list.alone then listed[#listed + 1] = { lane .. ':q:' .. queue, list[1] } end
    off_ready[#off_ready + 1] = queue
    on_retry[#on_retry + 1], on_retry[#on_retry + 2] = format('%.0f', due), queue
  end
  for index, result in ipairs(results) do
    local queue, position, number, verdict, due, attempt, class, duration_bucket, duration_ms, latency_bucket, latency_ms,
      announcement = unpack(result)
    local state, attempts, made, replay, rest = 'p', '0', '', '', ''
    if records[index] then
      local found, count, at, by, more = string.match(records[index], '^(%a)|(%d+)|([^|]*)|([^|]*)|(.*)$')
      if found == 'p' or STATES[found] then state, attempts, made, replay, rest = found, count, at, by, more end
    end
    if lists[index][1] ~= position or settled[queue] then
      -- Twice in one call: where Redis went back a second, a head was handed out anew that was in hand already.
      answers[index] = 2
    elseif state ~= 'p' then
      settled[queue] = true
      -- It has ended, and should not be here: it must not keep what comes after it waiting.
      answers[index] = 2
      advance(queue, lists[index])
    elseif tonumber(attempts) ~= number - 1 then
      answers[index] = 2
    elseif verdict == 'b' then
      answers[index], settled[queue] = 1, true
      if due > 0 then
        again(queue, lists[index], due)
      else
        local ready, retry = call('ZSCORE', lane .. ':ready', queue), call('ZSCORE', lane .. ':retry', queue)
        if ready and tonumber(ready) < 0 then
          on_ready[#on_ready + 1], on_ready[#on_ready + 2] = string.sub(ready, 2), queue
        end
        if retry and tonumber(retry) < 0 then
          on_retry[#on_retry + 1], on_retry[#on_retry + 2] = string.sub(retry, 2), queue
        end
      end
    else
      answers[index], settled[queue] = 1, true
      if attempt ~= '' then
        attempts = format('%.0f', number)
        rest = rest .. '\n' .. attempt
      end
      if class ~= '' then
        add(counted, 'attempts|' .. sub .. '|' .. class, 1)
        add(counted, 'duration|' .. duration_bucket, 1)
        add(counted, 'duration|sum_ms', duration_ms)
        add(stat_sums, verdict == 'd' and 'ok' or 'failed', 1)
        if latency_bucket >= 0 then
          add(counted, 'latency|' .. latency_bucket, 1)
          add(counted, 'latency|sum_ms', latency_ms)
          add(stat_sums, 'l' .. latency_bucket, 1)
        end
      end
      kept[#kept + 1] = position
      kept[#kept + 1] = (verdict == 'r' and 'p' or verdict) .. '|' .. attempts .. '|' .. made .. '|' .. replay .. '|' .. rest
      if verdict == 'r' then
        again(queue, lists[index], due)
      else
        local outcome = STATES[verdict]
        add(lane_sums, 'pending', -1)
        add(lane_sums, outcome, 1)
        add(counted, 'deliveries|' .. sub .. '|' .. outcome, 1)
        if verdict == 'x' then dead[#dead + 1], dead[#dead + 2] = now_ms, position end
        if announcement ~= '' then announced[#announced + 1] = announcement end
        advance(queue, lists[index])
      end
    end
  end

  if #off_ready > 0 then call('ZREM', lane .. ':ready', unpack(off_ready)) end
  if #on_ready > 0 then call('ZADD', lane .. ':ready', unpack(on_ready)) end
  if #off_retry > 0 then call('ZREM', lane .. ':retry', unpack(off_retry)) end
  if #on_retry > 0 then call('ZADD', lane .. ':retry', unpack(on_retry)) end
  if #dead > 0 then call('ZADD', lane .. ':dead', unpack(dead)) end
  if #kept > 0 then call('HSET', lane .. ':dlv', unpack(kept)) end
  for _, list in ipairs(popped) do call('LPOP', list) end
  for _, list in ipairs(listed) do call('RPUSH', list[1], list[2]) end
  write(lane, lane_sums)
  if #announced > 0 then call('RPUSH', KEYS[2], unpack(announced)) end
  for field, amount in pairs(counted) do add(sums, field, amount) end
  if next(stat_sums) then
    local stat = lane .. ':stat:' .. slot
    write(stat, stat_sums)
    call('PEXPIRE', stat, 7500000)
  end
  if note then
    local circuit, failing, hold, rate, release = unpack(note)
    call('HSET', lane, 'circuit', circuit, 'failing', format('%.0f', failing), 'hold', format('%.0f', hold), 'rate', rate)
    if release then call('HSET', lane, 'flush', '1') end
  end
  return answers
end

local answers = {}
for index, lane in ipairs(cmsgpack.unpack(ARGV[2])) do
  -- A lane whose keys hold something else must not stop the others.
  local sound, answer = pcall(settle, lane[1], lane[2], lane[3], lane[4])
  if not sound then
    answer = {}
    for result = 1, #lane[3] do answer[result] = 3 end
  end
  answers[index] = answer
end
pcall(write, KEYS[1], sums)  -- garbage in the place of counters must not stop deliveries
return answers

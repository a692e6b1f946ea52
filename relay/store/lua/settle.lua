#!lua flags=allow-oom
-- settle.lua: record how attempts ended and move their lanes on.
--
-- KEYS  1 counters (hash)  2 announcements to make (list)
-- ARGV  1 stem of lanes' keys  2 MessagePack of { results, notes } (one argument, as packing many costs the caller most)
--         result: { subscription, fence, queue, position (text), number of this attempt, verdict, due ms,
--         attempt (JSON, '' none), status class ('' no attempt was made), duration bucket, duration ms,
--         latency bucket (-1 none), latency ms, announcement ('' none) }
--         verdict: d delivered, r try again at due ms, x dead, e expired, c discarded, b given back, no attempt counted
--         (due ms 0: as it was, else not before then)
--         note on a lane: { subscription, fence, circuit, failing since ms (0: not failing), hold until ms (0: not at
--         all), true to make all that waits due now }
-- Returns one number a result: 1 recorded, 0 stale fence (nothing written), 2 already (it is not the head, or that
--         attempt is recorded: nothing written)
-- Atomic because attempt, state, due time and counters must never disagree after a crash. Works above the memory limit:
-- what was sent must be recorded, and it frees more than it takes.

local call, format = redis.call, string.format
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local STATES = { d = 'delivered', x = 'dead', e = 'expired', c = 'discarded' }

local fences, sums, stats = {}, {}, {}
local function owns(sub, fence)
  if fences[sub] == nil then fences[sub] = tonumber(call('HGET', ARGV[1] .. sub, 'fence') or '-1') end
  return fences[sub] == fence
end
local function add(key, field, amount)
  local row = sums[key]
  if not row then row = {}; sums[key] = row end
  row[field] = (row[field] or 0) + amount
end

local work = cmsgpack.unpack(ARGV[2])
local results = {}
for index, result in ipairs(work[1]) do
  local sub, fence, queue, position, number, verdict, due, attempt, class, duration_bucket, duration_ms, latency_bucket,
    latency_ms, announcement = unpack(result)
  local lane = ARGV[1] .. sub
  local list = lane .. ':q:' .. queue
  if not owns(sub, fence) then
    results[index] = 0
  elseif call('LINDEX', list, 0) ~= position then
    results[index] = 2
  else
    local record = call('HGET', lane .. ':dlv', position) or 'p|0|||'
    local state, attempts, made, replay, rest = string.match(record, '^(%a)|(%d+)|([^|]*)|([^|]*)|(.*)$')
    if not state then state, attempts, made, replay, rest = 'p', '0', '', '', '' end
    if state ~= 'p' or tonumber(attempts) ~= number - 1 then
      results[index] = 2
    elseif verdict == 'b' and due > 0 then
      results[index] = 1
      call('ZREM', lane .. ':ready', queue)
      call('ZADD', lane .. ':retry', format('%.0f', due), queue)
    elseif verdict == 'b' then
      results[index] = 1
      for _, name in ipairs({ ':ready', ':retry' }) do
        local score = tonumber(call('ZSCORE', lane .. name, queue) or '0')
        if score < 0 then call('ZADD', lane .. name, format('%.0f', -score), queue) end
      end
    else
      results[index] = 1
      local tried = attempts
      if attempt ~= '' then
        tried = number
        rest = rest .. '\n' .. attempt
      end
      if class ~= '' then
        add(KEYS[1], 'attempts|' .. sub .. '|' .. class, 1)
        add(KEYS[1], 'duration|' .. duration_bucket, 1)
        add(KEYS[1], 'duration|sum_ms', duration_ms)
        local stat = lane .. ':stat:' .. format('%.0f', math.floor(now_ms / 300000))
        add(stat, verdict == 'd' and 'ok' or 'failed', 1)
        stats[stat] = true
        if latency_bucket >= 0 then
          add(KEYS[1], 'latency|' .. latency_bucket, 1)
          add(KEYS[1], 'latency|sum_ms', latency_ms)
          add(stat, 'l' .. latency_bucket, 1)
        end
      end
      local kept = (verdict == 'r' and 'p' or verdict) .. '|' .. tried .. '|' .. made .. '|' .. replay .. '|' .. rest
      call('HSET', lane .. ':dlv', position, kept)
      if verdict == 'r' then
        call('ZREM', lane .. ':ready', queue)
        call('ZADD', lane .. ':retry', format('%.0f', due), queue)
      else
        local outcome = STATES[verdict]
        add(lane, 'pending', -1)
        add(lane, outcome, 1)
        add(KEYS[1], 'deliveries|' .. sub .. '|' .. outcome, 1)
        if verdict == 'x' then call('ZADD', lane .. ':dead', now_ms, position) end
        if announcement ~= '' then call('RPUSH', KEYS[2], announcement) end
        call('LPOP', list)
        local following = call('LINDEX', list, 0)
        call('ZREM', lane .. ':retry', queue)
        if following then
          call('ZADD', lane .. ':ready', following, queue)
        else
          call('ZREM', lane .. ':ready', queue)
        end
      end
    end
  end
end
for _, note in ipairs(work[2]) do
  local sub, fence, circuit, failing, hold, release = unpack(note)
  if owns(sub, fence) then
    local lane = ARGV[1] .. sub
    call('HSET', lane, 'circuit', circuit, 'failing', format('%.0f', failing), 'hold', format('%.0f', hold))
    if release then call('HSET', lane, 'flush', '1') end
  end
end
for key, row in pairs(sums) do
  for field, amount in pairs(row) do
    if amount ~= 0 then call('HINCRBY', key, field, format('%.0f', amount)) end
  end
end
for key in pairs(stats) do call('PEXPIRE', key, 7500000) end
return results

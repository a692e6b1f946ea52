#!lua
-- commit.lua: make changes true: snapshot, event in the log, a reference in every lane that wants it.
--
-- KEYS  1 clock (string)  2 log (stream)  3 event ids (hash)  4 heads (hash)  5 objects (hash)  6 settled (zset)
--       7 lease of the brand (hash: owner, fence, until)  8 epoch of subscriptions (string)  9 lanes due (zset)
--       10 counters (hash)  11 announcements to make (list)  12 lanes that cannot be read (zset)
-- ARGV  1 fence, or '' when the caller holds no lease   2 stamp before which everything was read
--       3 epoch the routing was made with   4 stem of lanes' keys   5 stem of wake lists of owners   6 shared wake list
--       7 brand, for the lanes' logs   8 number of changes; then for each change:
--         entity · head as read ('' none) · static part of the new head (v|normalizer|fingerprint|content|flags) ·
--         object · 1 when settled (may be trimmed later) · event id ('' for a silent write) · static part of the event ·
--         counter to add 1 to · queue · announcement this takes off the list ('' none) · number of references ·
--         references (subscription; '~' before it: no order wanted, '-' before it: to be pulled only)
-- Returns { refusal, results, lanes that nobody owns and that are due now, lanes that cannot be read }
--         refusal: 'fence' (another worker owns the brand), 'routes' (subscriptions changed), or ''
--         results, one a change: {1, position, sequence} committed, {2} written silently, {0} unchanged, {-1} conflict
--
-- Atomic because a change that is known must have its event, and the event its place in every lane. Compares content
-- first, so that a repeat after a lost answer writes nothing. Everything that can fail on a wrong type is read before
-- the first write, since scripts do not roll back. A lane whose keys hold something else gets nothing, and is noted with
-- the first event that it missed: it must not keep events from all others.

local STAMPS_PER_MS = 2048
local call, format = redis.call, string.format

local function text(number) return format('%.0f', number) end

local fence, started, epoch = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if fence ~= '' and call('HGET', KEYS[7], 'fence') ~= fence then return { 'fence', {}, 0, {} } end
if (call('GET', KEYS[8]) or '0') ~= epoch then return { 'routes', {}, 0, {} } end

local lane_stem, owner_stem, shared_wake, brand = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stamp = tonumber(call('GET', KEYS[1]) or '0') or 0

local function next_stamp()
  stamp = math.max(stamp + 1, now_ms * STAMPS_PER_MS)
  return stamp
end

local function stream_id(position)
  return text(math.floor(position / STAMPS_PER_MS)) .. '-' .. text(position % STAMPS_PER_MS)
end

-- Read: what is there, and what becomes of each change.
local changes, cursor = {}, 9
for index = 1, tonumber(ARGV[8]) do
  local change = {
    entity = ARGV[cursor], expected = ARGV[cursor + 1], head = ARGV[cursor + 2], object = ARGV[cursor + 3],
    settled = ARGV[cursor + 4] == '1', event = ARGV[cursor + 5], static = ARGV[cursor + 6],
    counter = ARGV[cursor + 7], queue = ARGV[cursor + 8], announcement = ARGV[cursor + 9], refs = {},
  }
  local count = tonumber(ARGV[cursor + 10])
  for ref = 1, count do change.refs[ref] = ARGV[cursor + 10 + ref] end
  cursor = cursor + 11 + count
  local current = call('HGET', KEYS[4], change.entity) or ''
  local _, normalizer, fingerprint, content, flags, written, sequence, last_event =
    string.match(current, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$')
  local _, new_normalizer, new_fingerprint, new_content, new_flags =
    string.match(change.head, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$')
  change.sequence, change.last_event = tonumber(sequence or '0'), last_event or ''
  local same = current ~= '' and content == new_content and flags == new_flags
  if change.event == '' then same = same and fingerprint == new_fingerprint and normalizer == new_normalizer end
  if change.announcement ~= '' and not call('LPOS', KEYS[11], change.announcement) then
    change.result = { 0 }
  elseif same then
    change.result = { 0 }
  elseif current ~= change.expected or (written and tonumber(written) > started) then
    change.result = { -1 }
  end
  changes[index] = change
end
local lanes, corrupt = {}, {}
local function look(sub)
  local stem = lane_stem .. sub
  local state = call('HMGET', stem, 'gate', 'owner', 'until', 'hold')
  call('ZCARD', stem .. ':ready')
  call('XLEN', stem .. ':log')
  return { stem = stem, gate = state[1], owner = state[2], till = tonumber(state[3] or '0') or 0,
           hold = tonumber(state[4] or '0') or 0, matched = 0 }
end
for _, change in ipairs(changes) do
  if not change.result then
    for _, ref in ipairs(change.refs) do
      local sub = string.gsub(ref, '^[~-]', '')
      if lanes[sub] == nil then
        local sound, lane = pcall(look, sub)
        lanes[sub] = sound and lane
        if not sound then corrupt[#corrupt + 1] = sub end
      end
      if lanes[sub] and string.sub(ref, 1, 1) ~= '~' then
        if not pcall(call, 'LLEN', lanes[sub].stem .. ':q:' .. change.queue) then
          lanes[sub] = false
          corrupt[#corrupt + 1] = sub
        end
      end
    end
  end
end
call('XLEN', KEYS[2])
call('HLEN', KEYS[3])
call('HLEN', KEYS[5])
call('ZCARD', KEYS[6])
call('ZCARD', KEYS[9])
call('HLEN', KEYS[10])

-- Write.
local results = {}
for index, change in ipairs(changes) do
  if change.result then
    results[index] = change.result
  else
    local position = next_stamp()
    local sequence, event = change.sequence, change.last_event
    if change.event ~= '' then
      sequence = math.max(now_ms, change.sequence + 1)
      event = change.event
      local id = stream_id(position)
      call('XADD', KEYS[2], id, 's', change.static, 'q', text(sequence), 'p', change.sequence > 0 and text(change.sequence) or '')
      call('HSET', KEYS[3], change.event, text(position))
      if change.counter ~= '' then call('HINCRBY', KEYS[10], change.counter, 1) end
      if change.announcement ~= '' then call('LREM', KEYS[11], 1, change.announcement) end
      for _, ref in ipairs(change.refs) do
        local kind = string.sub(ref, 1, 1)
        local sub = string.gsub(ref, '^[~-]', '')
        local lane = lanes[sub]
        if not lane then
          call('ZADD', KEYS[12], 'NX', text(position), sub)
        elseif kind == '-' then
          call('XADD', lane.stem .. ':log', id, 'b', brand, 'n', '1')
        else
          local queue = change.queue
          if kind == '~' then queue = queue .. '#' .. text(position) end
          if call('RPUSHX', lane.stem .. ':q:' .. queue, text(position)) == 0 then
            -- A queue of one that was never tried has no list: it stands in its score.
            local head = call('ZSCORE', lane.stem .. ':ready', queue)
            if head then
              call('RPUSH', lane.stem .. ':q:' .. queue, (string.gsub(head, '^-', '')), text(position))
            else
              call('ZADD', lane.stem .. ':ready', text(position), queue)
            end
          end
          call('XADD', lane.stem .. ':log', id, 'b', brand)
          lane.matched = lane.matched + 1
        end
      end
      results[index] = { 1, position, sequence }
    else
      results[index] = { 2 }
    end
    call('HSET', KEYS[4], change.entity, change.head .. '|' .. text(position) .. '|' .. text(sequence) .. '|' .. event)
    if change.object ~= '' then call('HSET', KEYS[5], change.entity, change.object) end
    if change.settled then
      call('ZADD', KEYS[6], text(position), change.entity)
    else
      call('ZREM', KEYS[6], change.entity)
    end
  end
end
call('SET', KEYS[1], text(stamp))

-- Wake: the owner of a lane by its own list, a lane that nobody owns by being due. All is written by now: garbage in the
-- place of a list must not make it look as if it were not.
local function wake(list, most, what)
  if call('LLEN', list) <= most then
    call('RPUSH', list, what)
    call('PEXPIRE', list, 60000)
  end
end
local orphans = 0
for sub, lane in pairs(lanes) do
  if lane and lane.matched > 0 then
    call('HINCRBY', lane.stem, 'matched', lane.matched)
    call('HINCRBY', lane.stem, 'pending', lane.matched)
    if not lane.gate and lane.hold <= now_ms then
      if lane.owner and lane.till > now_ms then
        pcall(wake, owner_stem .. lane.owner, 999, sub)
      else
        call('ZADD', KEYS[9], 'LT', text(now_ms), sub)
        orphans = orphans + 1
      end
    end
  end
end
if orphans > 0 then pcall(wake, shared_wake, 0, '1') end
return { '', results, orphans, corrupt }

#!lua
-- put_document.lua: write one document, if it is still the one that was read.
--
-- KEYS  1 documents (hash: id -> "version JSON")  2 epoch (string)  3 names (hash: name -> id)  4 clock (string)
--       5 lane (hash; '' for a document without one)  6 lanes due (zset)  7 shared wake list (list)
-- ARGV  1 id  2 version that was read (0: it must not exist)  3 document (JSON)  4 text in it that stands for the stamp
--       of this write  5 name ('' none)  6 name that was read ('' none)
--       7 gate of the lane: '' leave it, '-' open it, else why it is shut
-- Returns { 1 written | 0 exists | -1 missing | -2 another version | -3 name taken, version, stamp }
-- Atomic because a routing epoch must change with the document it counts, and a stamp must fall between the events
-- that were routed before and after.

local call, format = redis.call, string.format
local current = call('HGET', KEYS[1], ARGV[1])
local version = current and tonumber(string.match(current, '^(%d+) ')) or 0
local expected = tonumber(ARGV[2])
if expected == 0 and current then return { 0, version, 0 } end
if expected > 0 and not current then return { -1, 0, 0 } end
if expected ~= version then return { -2, version, 0 } end
if ARGV[5] ~= '' then
  local owner = call('HGET', KEYS[3], ARGV[5])
  if owner and owner ~= ARGV[1] then return { -3, version, 0 } end
end

local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stamp = math.max(tonumber(call('GET', KEYS[4]) or '0') + 1, now_ms * 2048)
local document = ARGV[3]
if ARGV[4] ~= '' then document = string.gsub(document, ARGV[4], format('%.0f', stamp)) end
call('SET', KEYS[4], format('%.0f', stamp))
call('HSET', KEYS[1], ARGV[1], format('%.0f ', version + 1) .. document)
call('INCR', KEYS[2])
if ARGV[6] ~= '' and ARGV[6] ~= ARGV[5] then call('HDEL', KEYS[3], ARGV[6]) end
if ARGV[5] ~= '' then call('HSET', KEYS[3], ARGV[5], ARGV[1]) end
if KEYS[5] ~= '' and ARGV[7] ~= '' then
  if ARGV[7] == '-' then
    call('HDEL', KEYS[5], 'gate', 'hold')
    call('HDEL', KEYS[5], 'circuit', 'failing')
    call('HSET', KEYS[5], 'flush', '1')
    local owned = tonumber(call('HGET', KEYS[5], 'until') or '0') > now_ms
    if not owned then
      call('ZADD', KEYS[6], now_ms, ARGV[1])
      if call('LLEN', KEYS[7]) == 0 then
        call('RPUSH', KEYS[7], '1')
        call('PEXPIRE', KEYS[7], 60000)
      end
    end
  else
    call('HSET', KEYS[5], 'gate', ARGV[7])
  end
end
return { 1, version + 1, stamp }

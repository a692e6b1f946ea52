#!lua flags=allow-oom
-- sweep.lua: the scheduler's one question: is it my turn, what is due, and how long may I sleep?
--
-- KEYS  1 lease of the scheduler (string: owner)  2 when it wakes next (string, ms)  3… what is due of each kind (zset)
-- ARGV  1 owner  2 ms the lease lasts  3 ms to sleep at most
-- Returns { 1 the lease is mine, else 0; ms to sleep; then 1 or 0 for each kind: something of it is due }
-- Where the lease is another's, ms to sleep is what is left of it, and nothing is said of the kinds.
-- Atomic because when the scheduler wakes next must be known before anybody makes something due earlier.

local call, format = redis.call, string.format
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local holder = call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return { 0, math.max(0, call('PTTL', KEYS[1])) } end

local next_ms = now_ms + tonumber(ARGV[3])
local answer = { 1, 0 }
for index = 3, #KEYS do
  local due = 0
  local head = redis.pcall('ZRANGE', KEYS[index], 0, 0, 'WITHSCORES')  -- garbage in one kind stops no other: head[2] is nil
  if head[2] and tonumber(head[2]) <= now_ms then
    due = 1
    head = call('ZRANGEBYSCORE', KEYS[index], '(' .. now_ms, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  end
  if head[2] then next_ms = math.min(next_ms, math.ceil(tonumber(head[2]))) end
  answer[index] = due
end
call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
call('SET', KEYS[2], format('%.0f', next_ms), 'PX', ARGV[2])
answer[2] = next_ms - now_ms
return answer

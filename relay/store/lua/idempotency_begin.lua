#!lua
-- idempotency_begin.lua: may a request with this Idempotency-Key run, or is its answer there already?
--
-- KEYS  1 the request (hash: print, nonce, until, answer)
-- ARGV  1 fingerprint of the request  2 nonce for a first run  3 how long a run may take, ms  4 how long to remember, ms
-- Returns { 'run', nonce } (this caller runs it; the nonce of an earlier run that was cut off comes again, so that what
--         it made is found instead of made twice) | { 'running', ms until it counts as cut off } |
--         { 'other', 0 } (the key was used for another request) | { 'done', answer }
-- Atomic because of two equal requests at once only one may run.

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local known = redis.call('HMGET', KEYS[1], 'print', 'nonce', 'until', 'answer')
local ends = string.format('%.0f', now_ms + tonumber(ARGV[3]))
if not known[1] then
  redis.call('HSET', KEYS[1], 'print', ARGV[1], 'nonce', ARGV[2], 'until', ends)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  return { 'run', ARGV[2] }
end
if known[1] ~= ARGV[1] then return { 'other', 0 } end
if known[4] then return { 'done', known[4] } end
local left = tonumber(known[3] or '0') - now_ms
if left > 0 then return { 'running', left } end
redis.call('HSET', KEYS[1], 'until', ends)
return { 'run', known[2] }

#!lua flags=allow-oom
-- token_keep.lua: record how a sign-in ended, and let the others go on.
--
-- KEYS  1 token of the brand (hash)
-- ARGV  1 version of the credentials  2 owner, the name given to token_take
--       3 sealed token, or '' when it failed; then  4 ms it is good for  5 ms until it should be renewed
--       or, when it failed  4 ms to wait before the next  5 reason  6 message
-- Returns the generation (it grows with each token), 0 when the credentials changed meanwhile and nothing was written
-- Atomic because token, its times and the end of the renewal belong together. A late owner's token is kept all the same:
-- Clopos gave it, and tokens do not end one another.

local state = redis.call('HMGET', KEYS[1], 'version', 'owner', 'since')
if state[1] ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function at(delay) return string.format('%.0f', now + tonumber(delay)) end

if state[2] == ARGV[2] then redis.call('HDEL', KEYS[1], 'owner', 'busy') end
if ARGV[3] ~= '' then
  local generation = redis.call('HINCRBY', KEYS[1], 'generation', 1)
  redis.call('HSET', KEYS[1], 'sealed', ARGV[3], 'ends', at(ARGV[4]), 'renew', at(ARGV[5]))
  redis.call('HDEL', KEYS[1], 'failures', 'retry', 'reason', 'message', 'since')
  redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[4]) + 86400000)
  return generation
end
redis.call('HINCRBY', KEYS[1], 'failures', 1)
redis.call('HSET', KEYS[1], 'retry', at(ARGV[4]), 'reason', ARGV[5], 'message', ARGV[6], 'since', state[3] or at(0))
redis.call('PEXPIRE', KEYS[1], 86400000)
return tonumber(redis.call('HGET', KEYS[1], 'generation') or '0')

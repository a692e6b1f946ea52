#!lua flags=allow-oom
-- token_take.lua: give a brand's token, or say who fetches a new one.
--
-- KEYS  1 token of the brand (hash)
-- ARGV  1 version of the credentials (of which brand/number: a lower number is out of date)  2 owner, a random name
--       3 ms that a renewal may take  4 generation of a token that Clopos has refused, or ''
-- Returns { 'token', sealed token, generation, ms it is good for, ms until it should be renewed }
--         { 'renew', failures before, generation to replace }  the caller signs in, and says how that went
--         { 'wait', ms }                                       another worker is signing in, and there is no token till then
--         { 'held', ms, reason, message, since ms }            signing in failed a while ago; not before that time again
-- Atomic because one worker renews for all: before the token ends, and after a 401.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local state = redis.call('HMGET', KEYS[1], 'version', 'sealed', 'generation', 'ends', 'renew', 'busy', 'failures', 'retry',
  'reason', 'message', 'since')
local sealed, generation = state[2], state[3] or '0'
local ends, renew, busy = tonumber(state[4] or '0'), tonumber(state[5] or '0'), tonumber(state[6] or '0')
local failures, retry = tonumber(state[7] or '0'), tonumber(state[8] or '0')

local function parts(version) return string.match(version or '', '^(.*)/(%d+)$') end
local of, number = parts(ARGV[1])
local stored_of, stored_number = parts(state[1])
if of and of == stored_of and tonumber(number) < tonumber(stored_number) then
  return { 'held', 200, 'stale', 'the brand was changed meanwhile', 0 }
end

if state[1] ~= ARGV[1] then
  -- Other credentials: neither the token nor its failures say anything of them.
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'version', ARGV[1], 'generation', generation)
  sealed, busy, failures, retry = false, 0, 0, 0
elseif sealed and ARGV[4] ~= '' and generation == ARGV[4] then
  redis.call('HDEL', KEYS[1], 'sealed')
  sealed = false
end

local good = sealed and ends > now
local token = good and { 'token', sealed, tonumber(generation), ends - now, math.max(0, renew - now) }
if good and renew > now then return token end
if retry > now then return token or { 'held', retry - now, state[9] or '', state[10] or '', tonumber(state[11] or '0') } end
if busy > now then return token or { 'wait', busy - now } end
redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'busy', string.format('%.0f', now + tonumber(ARGV[3])))
redis.call('PEXPIRE', KEYS[1], 86400000)
return { 'renew', failures, tonumber(generation) }

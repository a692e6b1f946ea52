#!lua flags=allow-oom
-- idempotency_end.lua: remember the answer of a request, or that it may be tried again.
--
-- KEYS  1 the request (hash, see idempotency_begin.lua)
-- ARGV  1 nonce of the run  2 answer ('' none: it may run again at once)
-- Returns 1 written, 0 the request is forgotten or another's
-- Atomic because an answer must not be given to a request that was forgotten and made anew meanwhile.

if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  redis.call('HSET', KEYS[1], 'until', '0')
else
  redis.call('HSET', KEYS[1], 'answer', ARGV[2])
end
return 1

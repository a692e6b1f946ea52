#!lua flags=allow-oom
-- installation.lua: say since when there is something to be lost, and note it the first time there is.
--
-- KEYS  1 since when (string, epoch ms)  2 brands (hash)  3 subscriptions (hash)
-- Returns epoch ms at which the first brand or subscription was noted, as text; '0' while there has been none
-- Atomic because several processes ask, and all must get the same answer. Once noted it stays, also when the last brand
-- and subscription are deleted: an installation that was emptied by its API is not one that was lost.

local call = redis.call
local since = call('GET', KEYS[1])
if since then return since end
if call('EXISTS', KEYS[2], KEYS[3]) == 0 then return '0' end
local time = call('TIME')
since = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
call('SET', KEYS[1], since)
return since

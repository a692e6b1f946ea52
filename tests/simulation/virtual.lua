-- What stands before each script of the relay here, and before `one.lua`: the time, and all that expires, is virtual.
-- The last key is 'virtual:' and microseconds; when keys with an end expire is kept in a zset, and they go before a
-- script begins.

local virtual_us = tonumber(string.sub(KEYS[#KEYS], 9))
KEYS[#KEYS] = nil
local virtual_ends = 'virtual:ends'

local function virtual_end(key, after_us) redis.call('ZADD', virtual_ends, virtual_us + after_us, key) end

local function virtual_expire(key, after_us)
  if redis.call('EXISTS', key) == 0 then return 0 end
  virtual_end(key, after_us)
  return 1
end

local function virtual_left(key, unit_us)
  if redis.call('EXISTS', key) == 0 then return -2 end
  local ends = redis.call('ZSCORE', virtual_ends, key)
  return ends and math.ceil((tonumber(ends) - virtual_us) / unit_us) or -1
end

local virtual = {
  TIME = function()
    return { string.format('%.0f', math.floor(virtual_us / 1000000)), string.format('%.0f', virtual_us % 1000000) }
  end,
  PEXPIRE = function(key, ms) return virtual_expire(key, tonumber(ms) * 1000) end,
  EXPIRE = function(key, s) return virtual_expire(key, tonumber(s) * 1000000) end,
  PTTL = function(key) return virtual_left(key, 1000) end,
  TTL = function(key) return virtual_left(key, 1000000) end,
  SET = function(key, value, ...)
    local options, kept, after_us = { ... }, {}, nil
    local at = 1
    while at <= #options do
      local name = string.upper(options[at])
      if name == 'PX' or name == 'EX' then
        after_us = tonumber(options[at + 1]) * (name == 'PX' and 1000 or 1000000)
        at = at + 2
      else
        kept[#kept + 1] = options[at]
        at = at + 1
      end
    end
    local conditional = false
    for _, name in ipairs(kept) do conditional = conditional or string.upper(name) == 'NX' end
    local reply = redis.call('SET', key, value, unpack(kept))
    if reply or not conditional then
      if after_us then virtual_end(key, after_us) else redis.call('ZREM', virtual_ends, key) end
    end
    return reply
  end,
  DEL = function(...)
    redis.call('ZREM', virtual_ends, ...)
    return redis.call('DEL', ...)
  end,
}
virtual.UNLINK = virtual.DEL

local function virtual_call(name, ...)
  local own = virtual[name]
  if own then return own(...) end
  return redis.call(name, ...)
end

local function virtual_pcall(name, ...)
  local own = virtual[name]
  if own then return own(...) end
  return redis.pcall(name, ...)
end

for _, key in ipairs(redis.call('ZRANGEBYSCORE', virtual_ends, '-inf', virtual_us)) do
  redis.call('DEL', key)
  redis.call('ZREM', virtual_ends, key)
end

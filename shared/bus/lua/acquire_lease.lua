-- Take a lease that is free, or prolong one's own.
-- KEYS[1] lease (expires by itself)   KEYS[2] token counter (does not expire)
-- ARGV[1] owner   ARGV[2] lifetime, ms
-- Returns the holder's fencing token, or 0 where another one holds it.
local held = redis.call('GET', KEYS[1])
if not held then
  local token = redis.call('INCR', KEYS[2])
  redis.call('SET', KEYS[1], token .. ':' .. ARGV[1], 'PX', ARGV[2])
  return token
end
local split = string.find(held, ':', 1, true)
if string.sub(held, split + 1) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(string.sub(held, 1, split - 1))
end
return 0

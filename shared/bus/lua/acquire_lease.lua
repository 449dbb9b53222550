-- Take a lease that is free, or prolong one's own.
-- KEYS[1] lease (expires by itself)   KEYS[2] token counter (does not expire)
-- ARGV[1] owner   ARGV[2] lifetime, ms   ARGV[3] the token that the owner holds it by, 0 where it begins to
-- Returns the holder's fencing token, or 0 where another one holds it or the owner's own one ran out.
local held = redis.call('GET', KEYS[1])
if ARGV[3] ~= '0' then
  if held ~= ARGV[3] .. ':' .. ARGV[1] then return 0 end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(ARGV[3])
end
local colon = held and string.find(held, ':', 1, true)  -- what has none is no lease of anybody
if colon and string.sub(held, colon + 1) ~= ARGV[1] then return 0 end
-- One that begins anew gets a new token even if its lease is still there: what it sent before and gave up waiting for
-- may come yet, and must find itself fenced.
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token .. ':' .. ARGV[1], 'PX', ARGV[2])
return token

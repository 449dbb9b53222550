-- Give symbols that have no home yet one in the caller's unit.
-- KEYS[1] lease   KEYS[2] epoch   KEYS[3] homes: hash symbol -> unit   KEYS[4] positions
-- ARGV[1] lease stamp   ARGV[2] epoch that must stand   ARGV[3] unit   ARGV[4] its forward stream
-- ARGV[5] most symbols   then the symbols
-- Returns the home of each, as text; '' where there is no room for it. Fails with FENCED.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED another holds the lease')
end
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[2] then
  return redis.error_reply('FENCED another epoch began')
end
-- From its first symbol on the unit is one to be read, whatever becomes of the stream that brought the symbol.
redis.call('HSETNX', KEYS[4], ARGV[4], '0-0')
local room = tonumber(ARGV[5]) - redis.call('HLEN', KEYS[3])
local found = {}
for at = 6, #ARGV do
  local home = redis.call('HGET', KEYS[3], ARGV[at])
  if not home and room > 0 then
    home = ARGV[3]
    redis.call('HSET', KEYS[3], ARGV[at], home)
    room = room - 1
  end
  found[#found + 1] = home or ''
end
return found

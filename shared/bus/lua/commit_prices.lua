-- Write changed prices and how far the upstream streams are read, together or not at all.
-- KEYS[1] lease   KEYS[2] epoch   KEYS[3] positions   KEYS[4..] snapshot hashes
-- ARGV[1] lease stamp   ARGV[2] epoch that must stand ('' for none)   ARGV[3] epoch from now on
-- ARGV[4] number of positions   then for each: stream, id
-- then for each price: index of its hash in KEYS, symbol, encoded price
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED another holds the lease')
end
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[2] then
  return redis.error_reply('FENCED another epoch began')
end
if ARGV[2] ~= ARGV[3] then
  redis.call('SET', KEYS[2], ARGV[3])
end
local prices = 5 + 2 * tonumber(ARGV[4])
for at = 5, prices - 1, 2 do
  redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
end
for at = prices, #ARGV, 3 do
  redis.call('HSET', KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2])
end
return redis.status_reply('OK')

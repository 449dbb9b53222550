-- Write changed prices, ticks for other units, and how far the source streams are read: together or not at all; then
-- publish, in the same step: a round trip less, and nothing is committed that was not published.
-- KEYS[1] lease   KEYS[2] epoch   KEYS[3] positions   KEYS[4..] snapshot hashes and forward streams
-- ARGV[1] lease stamp   ARGV[2] epoch that must stand ('' for none)   ARGV[3] epoch from now on
-- ARGV[4] longest forward stream   ARGV[5] number of positions   then for each: stream, id
-- then the number of forwards, and for each: index of its stream in KEYS, encoded ticks
-- then the number of publications, and for each: channel, message
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
local forwards = 6 + 2 * tonumber(ARGV[5])
for at = 6, forwards - 1, 2 do
  redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
end
local publications = forwards + 1 + 2 * tonumber(ARGV[forwards])
for at = forwards + 1, publications - 1, 2 do
  redis.call('XADD', KEYS[tonumber(ARGV[at])], 'MAXLEN', '~', ARGV[4], '*', 't', ARGV[at + 1])
end
local prices = publications + 1 + 2 * tonumber(ARGV[publications])
for at = prices, #ARGV, 3 do
  redis.call('HSET', KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2])
end
for at = publications + 1, prices - 1, 2 do
  redis.call('SPUBLISH', ARGV[at], ARGV[at + 1])
end
return redis.status_reply('OK')

-- Write changed charts, closed candles, and how far the source streams are folded into them: together or not at all.
-- KEYS[1] lease   KEYS[2] epoch   KEYS[3] positions   KEYS[4] the unit's forward stream
-- KEYS[5..] chart hashes and histories: sorted sets of closed candles by start
-- ARGV[1] lease stamp   ARGV[2] epoch that must stand   ARGV[3] candles kept in a history
-- ARGV[4] forwarded ticks before this id are needed no more ('' where none is)
-- ARGV[5] number of positions   then for each: stream, id
-- then the number of charts, and for each: index of its hash in KEYS, symbol, encoded chart
-- then for each closed candle: index of its history in KEYS, start, encoded candle
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED another holds the lease')
end
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[2] then
  return redis.error_reply('FENCED another epoch began')
end
local charts = 6 + 2 * tonumber(ARGV[5])
for at = 6, charts - 1, 2 do
  redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
end
local candles = charts + 1 + 3 * tonumber(ARGV[charts])
for at = charts + 1, candles - 1, 3 do
  redis.call('HSET', KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2])
end
for at = candles, #ARGV, 3 do
  local history = KEYS[tonumber(ARGV[at])]
  redis.call('ZREMRANGEBYSCORE', history, ARGV[at + 1], ARGV[at + 1])
  redis.call('ZADD', history, ARGV[at + 1], ARGV[at + 2])
  redis.call('ZREMRANGEBYRANK', history, 0, -1 - tonumber(ARGV[3]))
end
if ARGV[4] ~= '' then
  redis.call('XTRIM', KEYS[4], 'MINID', '~', ARGV[4])
end
return redis.status_reply('OK')

-- Read one chart as of one instant.
-- KEYS[1] epoch   KEYS[2] hash symbol -> candles that are not closed   KEYS[3] sorted set of closed candles, by start
-- ARGV[1] symbol   ARGV[2] most closed candles, the newest
-- Returns epoch and unclosed candles, each '' where there is none, and the closed candles, oldest first.
return {
  redis.call('GET', KEYS[1]) or '',
  redis.call('HGET', KEYS[2], ARGV[1]) or '',
  redis.call('ZRANGE', KEYS[3], -tonumber(ARGV[2]), -1),
}

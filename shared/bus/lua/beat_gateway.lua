-- A gateway's sign of life; those of the others, so that two looks tell who has lived in between.
-- KEYS[1] sorted set of gateways by the server's time of their last beat, ms
-- ARGV[1] gateway   ARGV[2] after how long without a beat one is forgotten, ms
-- Returns { gateway, time of its beat, ... }
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], string.format('%d', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now - tonumber(ARGV[2])))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')

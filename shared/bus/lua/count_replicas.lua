-- Say that a replica is alive, forget those that have not said so for a while, count the others.
-- KEYS[1] sorted set of replicas by the server's time until which each counts, ms
-- ARGV[1] replica   ARGV[2] how long it counts, ms; 0 to take it away
-- Returns how many there are.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], string.format('%d', now + tonumber(ARGV[2])), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now))
return redis.call('ZCARD', KEYS[1])

-- Remember how far a reader of a log is, by the server's clock; `trim_stream` trims nothing that it has not read.
-- KEYS[1] readers: hash instance -> `server_ms id`
-- ARGV[1] instance   ARGV[2] the last entry that it has read; '' where it reads no more   ARGV[3] how long that counts, ms
if ARGV[2] == '' then
  return redis.call('HDEL', KEYS[1], ARGV[1])
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', now) .. ' ' .. ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])

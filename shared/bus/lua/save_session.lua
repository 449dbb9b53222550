-- Write what a client is restored from, unless it has come back elsewhere meanwhile.
-- KEYS[1] session: hash o = owner, u = user, d = data
-- ARGV[1] owner   ARGV[2] lifetime, ms   ARGV[3] user ('' for none)   ARGV[4] data; '' takes the session away
-- Returns 1, or 0 where another owner has it.
local owner = redis.call('HGET', KEYS[1], 'o')
if owner and owner ~= ARGV[1] then return 0 end
if ARGV[4] == '' then
  redis.call('DEL', KEYS[1])
  return 1
end
redis.call('HSET', KEYS[1], 'o', ARGV[1], 'u', ARGV[3], 'd', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1

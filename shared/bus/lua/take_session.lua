-- Become the owner of a client's session: from now on its former gateway can change nothing in it.
-- KEYS[1] session: hash o = owner, u = user, d = data
-- ARGV[1] new owner   ARGV[2] lifetime, ms   ARGV[3] user that its token proves ('' for none)
-- Returns the data, or false where there is no session, or not that user's.
local found = redis.call('HMGET', KEYS[1], 'u', 'd')
if not found[2] or found[1] ~= ARGV[3] then return false end
redis.call('HSET', KEYS[1], 'o', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return found[2]

-- Acknowledge entries and remember how far everything is done, if the lease is still the caller's.
-- KEYS[1] lease   KEYS[2] stream   KEYS[3] position: id up to which all entries are done
-- ARGV[1] the caller's stamp   ARGV[2] group   then the ids, in order
-- Fails with FENCED.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED the lease of ' .. KEYS[2] .. ' is not at ' .. ARGV[1])
end
redis.call('SET', KEYS[3], ARGV[#ARGV])
return redis.call('XACK', KEYS[2], ARGV[2], unpack(ARGV, 3))

-- Append payloads to an upstream stream, if the lease is still the caller's: a relay that was frozen repeats nothing.
-- KEYS[1] lease   KEYS[2] stream
-- ARGV[1] the caller's stamp   ARGV[2] longest stream   ARGV[3] name of the field   then the payloads
-- Fails with FENCED.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED the lease of ' .. KEYS[2] .. ' is not at ' .. ARGV[1])
end
for at = 4, #ARGV do
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', ARGV[3], ARGV[at])
end
return #ARGV - 3

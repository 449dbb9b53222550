-- Shut a log to every former owner of an upstream stream.
-- KEYS[1] fences: hash upstream stream -> lease stamp `token:owner`
-- ARGV[1] upstream stream   ARGV[2] the new owner's stamp
-- Fails with FENCED where a newer owner has been here, or another with the same token (a failover that lost the counter).
local fence = redis.call('HGET', KEYS[1], ARGV[1])
if fence and fence ~= ARGV[2] then
  local raised = tonumber(string.match(fence, '^%d+') or 0)
  local token = tonumber(string.match(ARGV[2], '^%d+'))
  if token <= raised then
    return redis.error_reply('FENCED ' .. ARGV[1] .. ' is at ' .. fence .. ', not ' .. ARGV[2])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1

-- Append records to a log, once each, for the one owner of an upstream stream.
-- KEYS[1] log   KEYS[2] fences: hash upstream stream -> lease stamp `token:owner`   KEYS[3] prefix of the seen sets
-- ARGV[1] upstream stream   ARGV[2] the caller's stamp   ARGV[3] window in which an id is remembered, ms
-- ARGV[4] longest log   ARGV[5] oldest entry kept, ms   ARGV[6] name of the field that holds the subject
-- then for each record: id, subject, data
-- Returns how many were new. Fails with FENCED where a newer owner has been here.
local fence = redis.call('HGET', KEYS[2], ARGV[1])
if fence ~= ARGV[2] then
  return redis.error_reply('FENCED ' .. ARGV[1] .. ' is at ' .. (fence or 'no owner') .. ', not ' .. ARGV[2])
end
-- The sets rotate by the server's clock, so that replicas with unlike clocks agree. Their names share the log's slot.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local length = tonumber(ARGV[3])
local window = math.floor(now / length)
local current = KEYS[3] .. ':' .. string.format('%d', window)
local former = KEYS[3] .. ':' .. string.format('%d', window - 1)
local added = 0
for at = 7, #ARGV, 3 do
  local id = ARGV[at]
  if redis.call('SISMEMBER', current, id) == 0 and redis.call('SISMEMBER', former, id) == 0 then
    -- The entry before its id: if the second step failed, a repetition would be better than a loss.
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', ARGV[6], ARGV[at + 1], 'd', ARGV[at + 2])
    redis.call('SADD', current, id)
    added = added + 1
  end
end
if added > 0 then
  redis.call('PEXPIREAT', current, string.format('%d', (window + 2) * length))
  redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%d', now - tonumber(ARGV[5])))
end
return added

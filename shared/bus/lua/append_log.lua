-- Append records to a log, once each, for the one owner of an upstream stream.
-- KEYS[1] log   KEYS[2] fences: hash upstream stream -> lease stamp `token:owner`   KEYS[3] prefix of the seen sets
-- ARGV[1] upstream stream   ARGV[2] the caller's stamp   ARGV[3] window in which an id is remembered, ms
-- ARGV[4] length at which memory counts for more than who reads   ARGV[5] name of the field that holds the subject
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
local function set_of(number)
  return KEYS[3] .. ':' .. string.format('%d', number)
end
local current = set_of(window)
local others = {set_of(window - 1)}
-- After a failover to a server whose clock is behind, the newest ids can be in what is a window of the future to it.
if redis.call('EXISTS', set_of(window + 1)) == 1 then others[2] = set_of(window + 1) end

local function is_new(id)
  for _, set in ipairs(others) do
    if redis.call('SISMEMBER', set, id) == 1 then return false end
  end
  return redis.call('SISMEMBER', current, id) == 0
end

local added = 0
for at = 6, #ARGV, 3 do
  local id = ARGV[at]
  if is_new(id) then
    -- The entry before its id: if the second step failed, a repetition would be better than a loss.
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', ARGV[5], ARGV[at + 1], 'd', ARGV[at + 2])
    redis.call('SADD', current, id)
    added = added + 1
  end
end
if added > 0 then
  redis.call('PEXPIREAT', current, string.format('%d', (window + 2) * length))
else
  -- WAIT waits for what its own connection wrote: with nothing written it would confirm what an earlier one did.
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
end
return added

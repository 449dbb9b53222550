-- Say which of a user's connections a gateway has; learn what the others have. Who comes back takes its own place.
-- KEYS[1] the user: hash gateway -> `until connections subscriptions name...`, by the server's time in ms; expires
-- ARGV[1] gateway   ARGV[2] how long this counts, ms   ARGV[3] connections; 0 takes the record away
-- ARGV[4] subscriptions of all of them   ARGV[5] how many of the names are known from before
-- ARGV[6..] names of connections: those first that this gateway has said it has, then those that have come since
-- Returns { names that another gateway has now, { gateway, connections, subscriptions, ... of every other } }
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local noted, others, holder = {}, {}, {}
local found = redis.call('HGETALL', KEYS[1])
for at = 1, #found, 2 do
  local words = {}
  for word in string.gmatch(found[at + 1], '%S+') do words[#words + 1] = word end
  if found[at] == ARGV[1] then
    for index = 4, #words do noted[words[index]] = true end
  elseif tonumber(words[1]) <= now then
    redis.call('HDEL', KEYS[1], found[at])
  else
    local record = { gateway = found[at], words = words }
    others[#others + 1] = record
    for index = 4, #words do holder[words[index]] = record end
  end
end
local moved, kept = {}, {}
local new = 6 + tonumber(ARGV[5])
local count = tonumber(ARGV[3])
for at = 6, #ARGV do
  local name = ARGV[at]
  local record = holder[name]
  if record and at < new and not noted[name] then
    moved[#moved + 1] = name
    count = count - 1
  else
    kept[#kept + 1] = name
    if record then
      for index = 4, #record.words do
        if record.words[index] == name then table.remove(record.words, index) break end
      end
      record.words[2] = string.format('%d', tonumber(record.words[2]) - 1)
      redis.call('HSET', KEYS[1], record.gateway, table.concat(record.words, ' '))
    end
  end
end
if count > 0 then
  local line = string.format('%d %d %s', now + tonumber(ARGV[2]), count, ARGV[4])
  if #kept > 0 then line = line .. ' ' .. table.concat(kept, ' ') end
  redis.call('HSET', KEYS[1], ARGV[1], line)
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
local told = {}
for _, record in ipairs(others) do
  told[#told + 1] = record.gateway
  told[#told + 1] = tonumber(record.words[2])
  told[#told + 1] = tonumber(record.words[3])
end
return { moved, told }

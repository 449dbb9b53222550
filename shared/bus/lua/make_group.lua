-- Make a consumer group where there is none: after the last entry known to be done, else from the stream's first entry.
-- KEYS[1] stream   KEYS[2] position: id up to which all entries are done
-- ARGV[1] group
-- Returns the id after which the group begins, or false where it was there already.
local function is_after(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  if a_ms ~= b_ms then return tonumber(a_ms) > tonumber(b_ms) end
  return tonumber(a_seq) > tonumber(b_seq)
end

local start = '0-0'
local position = redis.call('GET', KEYS[2])
if position and string.match(position, '^%d+%-%d+$') and redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for at = 1, #info, 2 do
    -- A position ahead of the stream belongs to another history of it: waiting there would be for ever.
    if info[at] == 'last-generated-id' and not is_after(position, info[at + 1]) then start = position end
  end
end
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], start, 'MKSTREAM')
if made.err then
  if string.find(made.err, 'BUSYGROUP', 1, true) then return false end
  return made
end
return start

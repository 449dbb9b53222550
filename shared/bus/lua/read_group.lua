-- Read entries that a group has not seen, if the lease is still the caller's: a reader that was frozen takes nothing.
-- KEYS[1] lease   KEYS[2] stream
-- ARGV[1] the caller's stamp   ARGV[2] group   ARGV[3] consumer   ARGV[4] most entries
-- Returns the entries, how many were trimmed away before they were read, and the last id that the group was given.
-- Fails with FENCED, or NOGROUP.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED the lease of ' .. KEYS[2] .. ' is not at ' .. ARGV[1])
end

local function pairs_of(flat)
  local found = {}
  for at = 1, #flat, 2 do found[flat[at]] = flat[at + 1] end
  return found
end

local group
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[2])
if not groups.err then
  for _, flat in ipairs(groups) do
    local info = pairs_of(flat)
    if info['name'] == ARGV[2] then group = info end
  end
end
local reply = redis.call('XREADGROUP', 'GROUP', ARGV[2], ARGV[3], 'COUNT', ARGV[4], 'STREAMS', KEYS[2], '>')
if not reply then
  return {{}, 0, group['last-delivered-id']}
end
local entries = reply[1][2]
local last = entries[#entries][1]
-- Only where the oldest entry left is the first one unread can anything unread be missing before it.
local trimmed = 0
if redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1][1] == entries[1][1] then
  local stream = pairs_of(redis.call('XINFO', 'STREAM', KEYS[2]))
  local read, added = group['entries-read'], stream['entries-added']
  if read and added then  -- unknown before Redis 7 and after a deletion
    trimmed = math.max(0, added - stream['length'] - read)
    if trimmed > 0 then  -- else the gap would be counted again, and stay in the group's lag for ever
      redis.call('XGROUP', 'SETID', KEYS[2], ARGV[2], last, 'ENTRIESREAD', read + trimmed + #entries)
    end
  end
end
return {entries, trimmed, last}

-- Trim a stream by age and by length, a part at a time, and never past what a living reader has not read.
-- KEYS[1] stream   KEYS[2] (a log's) readers: hash instance -> `server_ms id`
-- ARGV[1] how long entries are kept, ms   ARGV[2] longest stream   ARGV[3] entries looked at for the length
-- ARGV[4] how long a reader counts after its last word, ms   ARGV[5] group that always counts; '' for none
-- ARGV[6] how long another group counts after its consumers' last activity, ms   then for each further reader: name, id
-- Returns: entries trimmed; the reader that keeps more from going, '' for none; the last entry that it has read; the
-- stream's length; a list of the readers that were overtaken, each followed by the last entry that it had read.
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, '', '', 0, {}} end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- Both halves of an id have up to 64 bits, more than a number of this language keeps exactly: compared as text.
local function is_before(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  if #a_ms ~= #b_ms then return #a_ms < #b_ms end
  if a_ms ~= b_ms then return a_ms < b_ms end
  if #a_seq ~= #b_seq then return #a_seq < #b_seq end
  return a_seq < b_seq
end

local function pairs_of(flat)
  local found = {}
  for at = 1, #flat, 2 do found[flat[at]] = flat[at + 1] end
  return found
end

local stream = pairs_of(redis.call('XINFO', 'STREAM', KEYS[1]))
local last = stream['last-generated-id']
local first = stream['first-entry'] and stream['first-entry'][1]

local slowest, floor = '', nil
local function count_in(reader, position)
  if is_before(last, position) then position = '0-0' end  -- of another history of the stream: it begins anew
  if not floor or is_before(position, floor) then slowest, floor = reader, position end
end

local overtaken = {}
if KEYS[2] then
  local told = redis.call('HGETALL', KEYS[2])
  for at = 1, #told, 2 do
    local at_ms, position = string.match(told[at + 1], '^(%d+) (%d+%-%d+)$')
    if position and now - tonumber(at_ms) <= tonumber(ARGV[4]) then
      count_in(told[at], position)
      -- Here the entry that was read last always stays; if it is gone, the length that memory allows cut it off.
      if position ~= '0-0' and first and is_before(position, first) then
        overtaken[#overtaken + 1] = told[at]
        overtaken[#overtaken + 1] = position
      end
    else
      redis.call('HDEL', KEYS[2], told[at])
    end
  end
end

local function is_active(group)
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], group)) do
    if pairs_of(flat)['idle'] <= tonumber(ARGV[6]) then return true end
  end
  return false
end

local own_missing = ARGV[5] ~= ''
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = pairs_of(flat)
  local name = group['name']
  if name == ARGV[5] then own_missing = false end
  if name == ARGV[5] or is_active(name) then
    count_in(name, group['last-delivered-id'])
    -- What is pending and was trimmed by others can be read no more: it keeps nothing.
    local pending = first and redis.call('XPENDING', KEYS[1], name, first, '+', 1) or {}
    if pending[1] then count_in(name, pending[1][1]) end
  end
end
if own_missing then count_in(ARGV[5], '0-0') end
for at = 7, #ARGV, 2 do count_in(ARGV[at], ARGV[at + 1]) end

-- The entry that was the last one when the time to keep began stays too: a position of since then finds its entry, or
-- an older one, and knows that nothing after it is gone.
local wanted = '0-0'
local cutoff = string.format('%d', math.max(0, now - tonumber(ARGV[1])))
local aged = redis.call('XREVRANGE', KEYS[1], cutoff, '-', 'COUNT', 1)
if aged[1] then wanted = aged[1][1] end
local excess = stream['length'] - tonumber(ARGV[2])
if excess > 0 then
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', math.min(excess, tonumber(ARGV[3])) + 1)
  local follower = oldest[#oldest][1]
  if is_before(wanted, follower) then wanted = follower end
end
local held = floor and is_before(floor, wanted)
-- `~` frees whole nodes, at most some thousand entries a call: cheap, and never more than was asked for.
local trimmed = redis.call('XTRIM', KEYS[1], 'MINID', '~', held and floor or wanted)
return {trimmed, held and slowest or '', held and floor or '', stream['length'] - trimmed, overtaken}

-- Append a word to the list of revocations, which is kept to an age; a full list refuses, so that none is lost unseen.
-- KEYS[1] revocations: stream
-- ARGV[1] how long words are kept, ms   ARGV[2] most words   ARGV[3..] fields and values of the entry
-- Returns its id, or false where the list is full.
local time = redis.call('TIME')
local oldest = tonumber(time[1]) * 1000 - tonumber(ARGV[1])
redis.call('XTRIM', KEYS[1], 'MINID', string.format('%d', oldest))
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then return false end
return redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))

-- ARGV id fence type data most: add an event; keep about `most` events
local id = ARGV[1]
local state, fence = unpack(call('HMGET', job_key(id), 'state', 'fence'))
if fence == ARGV[2] and state ~= 'done' then
  call('XADD', events_key(id), 'MAXLEN', '~', ARGV[5], '*', 'type', ARGV[3], 'data', ARGV[4])
end
return {'OK'}

-- ARGV id
local id = ARGV[1]
local state, queue = unpack(call('HMGET', job_key(id), 'state', 'queue'))
if not state then
  return {'UNKNOWN'}
end
if state == 'queued' then
  finish(id, 'cancelled', 'cancelled before it ran')
  call('HSET', job_key(id), 'cancel', 1)
  return {state, unpack(refill(queue))}
end
call('ZREM', QUEUED, id) -- a full Redis allows what comes after this
if state == 'running' and call('HSETNX', job_key(id), 'cancel', 1) == 1 then
  event(id, 'cancelling')
end
return {state}

-- ARGV id
local id = ARGV[1]
local state, queue, attempts, reason =
  unpack(call('HMGET', job_key(id), 'state', 'queue', 'attempts', 'requeued'))
if not state then
  return {'UNKNOWN'}
end
if state == 'queued' then
  local error = 'cancelled before it ran'
  if reason then
    error = 'cancelled while it waited to run again; attempt ' .. attempts .. ' came to no end: ' .. reason
  end
  finish(id, 'cancelled', error)
  call('HSET', job_key(id), 'cancel', 1)
  return {state, unpack(refill(queue))}
end
call('ZREM', QUEUED, id) -- a full Redis allows what comes after this
if state == 'running' and call('HSETNX', job_key(id), 'cancel', 1) == 1 then
  event(id, 'cancelling')
end
return {state}

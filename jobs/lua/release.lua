-- ARGV id fence reason
local id = ARGV[1]
local state, fence = unpack(call('HMGET', job_key(id), 'state', 'fence'))
if state ~= 'running' or fence ~= ARGV[2] then
  return {'LOST'}
end
local queue, tenant = leave(id)
call('HINCRBY', job_key(id), 'released', 1)
raise_fence(id) -- the attempt gave up its right to finish
wait_for_turn(id, queue, tenant)
event(id, 'requeued', {reason = ARGV[3]})
return {'QUEUED', unpack(dispatch(queue))}

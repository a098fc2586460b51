-- ARGV id fence reason
local id = ARGV[1]
local state, fence, cancel = unpack(call('HMGET', job_key(id), 'state', 'fence', 'cancel'))
if state ~= 'running' or fence ~= ARGV[2] then
  return {'LOST'}
end
local queue, tenant = leave(id)
if cancel then
  finish(id, 'cancelled', 'cancelled while it ran; its worker stopped before it could report')
  return {'QUEUED', unpack(refill(queue))}
end
call('HINCRBY', job_key(id), 'released', 1)
raise_fence(id) -- the attempt gave up its right to finish
wait_for_turn(id, queue, tenant)
event(id, 'requeued', {reason = ARGV[3]})
return {'QUEUED', unpack(refill(queue))}

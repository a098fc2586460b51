-- ARGV id fence reason fault: requeue a job that its worker gives back; fault: 1 if its files failed
local id = ARGV[1]
local state, fence, cancel = unpack(call('HMGET', job_key(id), 'state', 'fence', 'cancel'))
if state ~= 'running' or fence ~= ARGV[2] then
  return {'LOST'}
end
if cancel then
  local queue = leave(id)
  finish(id, 'cancelled', 'cancelled while it ran; its worker stopped before it could report')
  return {'QUEUED', unpack(refill(queue))}
end
local queue = requeue(id, ARGV[3])
call('HINCRBY', job_key(id), 'released', 1)
if ARGV[4] == '1' then
  call('HINCRBY', job_key(id), 'faults', 1)
  count('faults')
end
raise_fence(id) -- the attempt gave up its right to finish
return {'QUEUED', unpack(refill(queue))}

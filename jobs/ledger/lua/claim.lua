-- ARGV id worker lease_ms: claim a job
local id, worker = ARGV[1], ARGV[2]
local state, queue, tenant, queued_at, holder, held, number, since =
  unpack(call('HMGET', job_key(id), 'state', 'queue', 'tenant', 'queued_at', 'worker', 'fence',
    'attempts', 'waits_since'))
if not state then
  return {'UNKNOWN'}
end
if state == 'running' and holder == worker and call('HGET', HELD, worker) == id then
  hold(id, queue, tenant, worker, ARGV[3]) -- a repeated call, whose reply was lost
  return {held .. ' ' .. number}
end
-- If the doorbell of a queued job does not ring, the message is a duplicate.
if state ~= 'queued' or call('ZREM', ringing_key(queue), id) == 0 then
  return {'NOT NOW'}
end
dequeue(id, queue)
local fence = raise_fence(id)
local attempts = call('HINCRBY', job_key(id), 'attempts', 1)
call('HSET', job_key(id), 'worker', worker, 'started_at', now)
call('HINCRBY', job_key(id), 'waited_ms', math.max(0, now - (since or queued_at)))
call('HDEL', job_key(id), 'waits_since')
if attempts == 1 then
  local waited_ms, most = math.max(0, now - queued_at), '+Inf'
  for _, bound_s in ipairs({0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400}) do
    if waited_ms <= bound_s * 1000 then
      most = tostring(bound_s)
      break
    end
  end
  count('waited ' .. lane_of(queue) .. ' ' .. most)
  count('waited_ms ' .. lane_of(queue), waited_ms)
end
hold(id, queue, tenant, worker, ARGV[3])
event(id, 'started', {worker = worker, attempt = attempts})
return {fence .. ' ' .. attempts, unpack(refill(queue))}

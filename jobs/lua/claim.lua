-- ARGV id worker lease_ms
local id, worker = ARGV[1], ARGV[2]
local state, queue, tenant = unpack(call('HMGET', job_key(id), 'state', 'queue', 'tenant'))
if not state then
  return {'UNKNOWN'}
end
-- A queued job whose doorbell does not ring waits its turn: the message is a duplicate.
if state ~= 'queued' or call('ZREM', ringing_key(queue), id) == 0 then
  return {'NOT NOW'}
end
call('ZREM', QUEUED, id)
local fence = raise_fence(id)
local attempts = call('HINCRBY', job_key(id), 'attempts', 1)
call('HSET', job_key(id), 'worker', worker)
call('HSETNX', job_key(id), 'started_at', now)
hold(id, queue, tenant, worker, ARGV[3])
event(id, 'started', {worker = worker, attempt = attempts})
return {fence .. ' ' .. attempts, unpack(dispatch(queue))}

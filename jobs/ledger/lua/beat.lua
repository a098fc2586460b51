-- ARGV id fence lease_ms: renew a lease
local id = ARGV[1]
local state, fence, worker, cancel =
  unpack(call('HMGET', job_key(id), 'state', 'fence', 'worker', 'cancel'))
if fence ~= ARGV[2] or (state ~= 'running' and state ~= 'queued') then
  return {'LOST'}
end
call('ZREM', RUNNING, id) -- a full Redis allows what comes after this
local queue, tenant = unpack(call('HMGET', job_key(id), 'queue', 'tenant'))
if state == 'queued' then -- the lease had ended, and nobody has claimed the job since
  leave(id)
  call('HDEL', job_key(id), 'waits_since')
end
hold(id, queue, tenant, worker, ARGV[3])
return {cancel and 'CANCEL' or 'OK'}

-- ARGV judge overdue_ms: 1 to judge leases that have ended
-- Returns their jobs and workers, doorbells to ring, and doorbells that have rung for long: their
-- messages may be lost. Those come again after another overdue_ms.
local lost, bells, overdue = {}, {}, {}
call('ZREM', QUEUED, '') -- a full Redis allows what comes after this

drop_projects()

if ARGV[1] == '1' then
  for _, id in ipairs(call('ZRANGEBYSCORE', RUNNING, '-inf', now, 'LIMIT', 0, 100)) do
    local state, worker = unpack(call('HMGET', job_key(id), 'state', 'worker'))
    if state == 'running' then
      lost[#lost + 1] = id
      -- Who has another job by now is not to blame.
      lost[#lost + 1] = call('HGET', HELD, worker) == id and worker or ''
      crashed(id)
    else -- its record is gone
      call('ZREM', RUNNING, id)
    end
  end
end
local queues = call('SMEMBERS', QUEUES)
table.sort(queues, function(one, other) return one > other end) -- interactive before batch
for _, queue in ipairs(queues) do
  dispatch(queue, bells)
  for _, id in ipairs(call('ZRANGEBYSCORE', ringing_key(queue), '-inf', now - ARGV[2])) do
    local tenant, queued_at = unpack(call('HMGET', job_key(id), 'tenant', 'queued_at'))
    local left = is_left(queue)
    local other = left and queue_of_others(id, queue)
    if not queued_at then
      forget(id, queue)
    elseif other then
      for _, word in ipairs(move(id, other)) do
        bells[#bells + 1] = word
      end
    elseif left and queue:match('interactive$') and now - queued_at > ORPHANED_MS then
      finish(id, 'cancelled', 'the run that it was for has ended, and its worker')
    else
      call('ZADD', ringing_key(queue), now, id)
      bell(overdue, id, queue, tenant)
    end
  end
  if call('EXISTS', ringing_key(queue), tenants_key(queue), flight_key(queue)) == 0 then
    call('SREM', QUEUES, queue)
  end
end
return {lost, bells, overdue}

-- ARGV judge overdue_ms lease_ms expected_ms rewound: handle lost attempts, late doorbells and the like
-- judge: 1 to end attempts whose lease has ended. expected_ms: the time that the caller expects the clock
-- to show; empty if unknown. rewound: 1 if the clock stepped back, to try waiting deliveries at once.
-- Returns jobs and workers of the ended attempts, doorbells to ring, doorbells that have rung for longer
-- than overdue_ms (their messages may be lost; each is returned again after another overdue_ms), the time,
-- and the number of deliveries that were pulled forward.
local lease_ms, judge = tonumber(ARGV[3]), ARGV[1] == '1' and not stepped(ARGV[4])
local lost, doorbells, overdue = {}, {}, {}
call('ZREM', QUEUED, '') -- a full Redis allows what comes after this

-- Pull back times later than the latest possible one; they were written before the clock stepped back.
local function clamp(key, latest)
  for _, member in ipairs(call('ZRANGEBYSCORE', key, '(' .. latest, '+inf', 'LIMIT', 0, 100)) do
    call('ZADD', key, latest, member)
  end
end

-- Return whether a job waits in the private queue of a worker that left long ago.
local function orphaned(id, queue, queued_at)
  if tonumber(queued_at) > now then
    call('HSET', job_key(id), 'queued_at', now)
    return false
  end
  return queue:match('interactive$') and now - queued_at > ORPHANED_MS
end

clamp(PROJECTS, now + CHECK_MS)
drop_projects()

clamp(RUNNING, now + lease_ms)
if judge then
  for _, id in ipairs(call('ZRANGEBYSCORE', RUNNING, '-inf', now, 'LIMIT', 0, 100)) do
    local state, worker = unpack(call('HMGET', job_key(id), 'state', 'worker'))
    if state == 'running' then
      lost[#lost + 1] = id
      -- A worker that holds another job now is not lost.
      lost[#lost + 1] = call('HGET', HELD, worker) == id and worker or ''
      crashed(id)
    else -- its record is gone
      call('ZREM', RUNNING, id)
    end
  end
end
for _, tenant in ipairs(call('SRANDMEMBER', PARKED, RINGING)) do -- their bound may have changed
  if tenant_jobs == 0 or call('SCARD', active_key(tenant)) < tenant_jobs then
    unpark(tenant)
  end
end
local queues = call('SRANDMEMBER', QUEUES, LOOKS)
table.sort(queues, function(one, other) return one > other end) -- interactive before batch
for _, queue in ipairs(queues) do
  dispatch(queue, doorbells)
  clamp(ringing_key(queue), now)
  local rung = call('ZRANGEBYSCORE', ringing_key(queue), '-inf', now - ARGV[2], 'LIMIT', 0, LOOKS)
  for _, id in ipairs(rung) do
    local queued_at = call('HGET', job_key(id), 'queued_at')
    local left = judge and is_left(queue)
    local other = left and queue_of_others(id, queue)
    if not queued_at then
      forget(id, queue)
    elseif other then
      for _, word in ipairs(move(id, other)) do
        doorbells[#doorbells + 1] = word
      end
    elseif left and orphaned(id, queue, queued_at) then
      finish(id, 'cancelled', 'the run that it was for has ended, and its worker')
    else
      call('ZADD', ringing_key(queue), now, id)
      add_doorbell(overdue, id, queue)
    end
  end
  if call('EXISTS', ringing_key(queue), tenants_key(queue), flight_key(queue)) == 0 then
    call('SREM', QUEUES, queue)
  end
end
for _, lane in ipairs({'interactive', 'batch'}) do -- an older version does not maintain lanes
  for _, id in ipairs(call('ZRANGE', lane_key(lane), 0, RINGING - 1)) do
    if not call('ZSCORE', QUEUED, id) then
      call('ZREM', lane_key(lane), id)
    end
  end
end
for _, id in ipairs(call('SRANDMEMBER', UNTOLD, 4)) do
  if call('HGET', job_key(id), 'state') == 'done' then
    notify_all(id)
  else
    call('SREM', UNTOLD, id)
  end
end
local rewound = {}
if ARGV[5] == '1' then
  rewound = call('ZRANGEBYSCORE', DELIVERIES, '(' .. now + TAKEN_MS, '(+inf', 'LIMIT', 0, 100)
  for _, delivery in ipairs(rewound) do
    call('ZADD', DELIVERIES, now, delivery)
  end
end
return {lost, doorbells, overdue, now, #rewound}

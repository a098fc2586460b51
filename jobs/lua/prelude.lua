-- What the scripts of the ledger share. Each ends its arguments with three limits: jobs of one tenant
-- under way at a time (0: any number), slots kept free of batch jobs, milliseconds that a done job is
-- kept. Their keys are made here: the ledger needs one Redis, no cluster.
local RINGING = 16 -- doorbells of a queue that ring at a time; the jobs behind them wait their turn
local CRASHES = 3 -- workers that a job may end
local HOOK_MS = 172800000 -- that a delivery is kept at the most; workers give up before
local ORPHANED_MS = 600000 -- age of a job of which a worker of its own has left
local call = redis.call
local clock = call('TIME')
local micros = clock[1] * 1000000 + clock[2]
local now = math.floor(micros / 1000)
local tenant_jobs = tonumber(ARGV[#ARGV - 2])
local kept_slots = tonumber(ARGV[#ARGV - 1])
local kept_ms = tonumber(ARGV[#ARGV])

local QUEUED, RUNNING, DEAD = 'revalid:queued', 'revalid:running', 'revalid:dead'
local QUEUES, HELD, COUNTERS = 'revalid:queues', 'revalid:held', 'revalid:counters'
local DELIVERIES = 'revalid:deliveries' -- of webhooks, by when each is due
local function job_key(id) return 'revalid:job:' .. id end
local function waiting_key(queue, tenant) return 'revalid:waiting:' .. queue .. ':' .. tenant end
local function tenants_key(queue) return 'revalid:tenants:' .. queue end
local function ringing_key(queue) return 'revalid:ringing:' .. queue end
local function flight_key(queue) return 'revalid:flight:' .. queue end
local function active_key(tenant) return 'revalid:active:' .. tenant end
local function serving_key(queue) return 'revalid:serving:' .. queue end
local function image_key(image) return 'revalid:image:' .. image end
local function hooks_key(id) return 'revalid:hooks:' .. id end
local function hook_key(delivery) return 'revalid:hook:' .. delivery end

-- Add to a counter of the metrics; never as a script's first write, which a full Redis refuses.
local function count(name, by) call('HINCRBY', COUNTERS, name, by or 1) end
local function lane_of(queue) return queue:match('[^.]+$') end

local function event(id, name, data)
  call('XADD', 'revalid:events:' .. id, '*', 'type', name, 'data', data and cjson.encode(data) or '{}')
end

-- A script's clock knows milliseconds only, and many jobs come in one.
local function next_turn() return call('INCR', 'revalid:turn') end

-- Above every fence given before, also before Redis lost its data.
local function raise_fence(id)
  local last = tonumber(call('HGET', job_key(id), 'fence') or 0)
  local fence = string.format('%.0f', math.max(micros, last + 1))
  call('HSET', job_key(id), 'fence', fence)
  return fence
end

-- Take a job out of every list that it is in. First a write that a full Redis allows: it allows what a
-- script writes after that, so that running jobs can still end.
local function leave(id)
  call('ZREM', QUEUED, id)
  local queue, tenant, worker = unpack(call('HMGET', job_key(id), 'queue', 'tenant', 'worker'))
  call('ZREM', RUNNING, id)
  call('ZREM', ringing_key(queue), id)
  call('SREM', flight_key(queue), id)
  call('SREM', active_key(tenant), id)
  if call('ZREM', waiting_key(queue, tenant), id) == 1
    and call('EXISTS', waiting_key(queue, tenant)) == 0 then
    call('ZREM', tenants_key(queue), tenant)
  end
  if worker and call('HGET', HELD, worker) == id then
    call('HDEL', HELD, worker)
  end
  return queue, tenant
end

-- Have a job wait for its tenant's turn; among those of its tenant the one queued first is first.
local function wait_for_turn(id, queue, tenant)
  local queued_at, turn = unpack(call('HMGET', job_key(id), 'queued_at', 'turn'))
  call('ZADD', QUEUED, queued_at, id)
  call('HSET', job_key(id), 'state', 'queued')
  call('ZADD', waiting_key(queue, tenant), turn, id)
  call('ZADD', tenants_key(queue), 'NX', next_turn(), tenant)
  call('SADD', QUEUES, queue)
end

-- Have a job that ran wait once more; `waits_since` is there while it does.
local function requeue(id, reason)
  local queue, tenant = leave(id)
  wait_for_turn(id, queue, tenant)
  call('HSET', job_key(id), 'waits_since', now, 'requeued', reason)
  event(id, 'requeued', {reason = reason})
  return queue
end

local function hold(id, queue, tenant, worker, lease_ms)
  call('HSET', job_key(id), 'state', 'running')
  call('ZADD', RUNNING, now + lease_ms, id)
  call('SADD', flight_key(queue), id)
  call('SADD', active_key(tenant), id)
  call('HSET', HELD, worker, id)
end

-- Have a done job's verdict delivered to a webhook, now.
local function notify(id, hook)
  local verdict, failed_step, finished_at =
    unpack(call('HMGET', job_key(id), 'verdict', 'failed_step', 'finished_at'))
  local delivery = string.format('msg_%.0f_%.0f', micros, next_turn())
  call('HSET', hook_key(delivery), 'job', id, 'hook', hook, 'verdict', verdict,
    'failed_step', failed_step or '', 'finished_at', finished_at, 'since', now, 'tries', 0)
  call('PEXPIRE', hook_key(delivery), HOOK_MS)
  call('ZADD', DELIVERIES, now, delivery)
end

local function finish(id, verdict, error, failed_step)
  local queue = leave(id)
  count('finished ' .. lane_of(queue) .. ' ' .. verdict)
  call('HSET', job_key(id), 'state', 'done', 'verdict', verdict, 'finished_at', now)
  if error then
    call('HSET', job_key(id), 'error', error)
  end
  if failed_step and failed_step ~= '' then
    call('HSET', job_key(id), 'failed_step', failed_step)
  end
  call('HDEL', job_key(id), 'prior')
  for _, hook in ipairs(call('SMEMBERS', hooks_key(id))) do
    notify(id, hook)
  end
  call('DEL', hooks_key(id))
  event(id, 'finished', {verdict = verdict})
  call('PEXPIRE', job_key(id), kept_ms)
  call('PEXPIRE', 'revalid:events:' .. id, kept_ms)
  call('XADD', 'revalid:finished', 'MINID', '~', math.max(0, now - kept_ms), '*', 'id', id) -- archive
end

-- The attempt that held this job is gone, and so perhaps its worker.
local function crashed(id)
  local attempts, released, worker, cancel =
    unpack(call('HMGET', job_key(id), 'attempts', 'released', 'worker', 'cancel'))
  if cancel then
    finish(id, 'cancelled', 'cancelled while it ran; its worker ended before it could report')
  elseif attempts - (released or 0) >= CRASHES then
    finish(id, 'errored', 'the job ended its worker ' .. CRASHES .. ' times, last ' .. worker ..
      ": read that worker's log; `revalid dead retry " .. id .. '` runs it again')
    call('ZADD', DEAD, now, id)
  else
    requeue(id, 'its worker was lost')
  end
  count('lost')
end

local function slots(queue)
  local total = 0
  for _, member in ipairs(call('ZRANGEBYSCORE', serving_key(queue), now, '+inf')) do
    total = total + tonumber(member:match('^%d+'))
  end
  return total
end

local function bell(bells, id, queue, tenant)
  local strategy, limit_s = unpack(call('HMGET', job_key(id), 'strategy', 'limit_s'))
  for _, word in ipairs({id, queue, tenant, strategy, limit_s}) do
    bells[#bells + 1] = word
  end
end

-- Let jobs of this queue have their turn, the tenant first that had its last turn longest ago.
-- Returns the doorbells to ring: id, queue, tenant, strategy and limit of each in one flat list.
local function dispatch(queue, bells)
  bells = bells or {}
  local room = RINGING - call('ZCARD', ringing_key(queue))
  if kept_slots > 0 and queue:match('%.batch$') then
    local free = math.max(1, slots(queue) - kept_slots) - call('SCARD', flight_key(queue))
    room = math.min(room, free)
  end
  local progress = true
  while room > 0 and progress do
    progress = false
    for _, tenant in ipairs(call('ZRANGE', tenants_key(queue), 0, -1)) do
      if room <= 0 then break end
      if tenant_jobs == 0 or call('SCARD', active_key(tenant)) < tenant_jobs then
        local id = call('ZPOPMIN', waiting_key(queue, tenant))[1]
        if call('EXISTS', job_key(id)) == 1 then
          call('ZADD', ringing_key(queue), now, id)
          call('SADD', flight_key(queue), id)
          call('SADD', active_key(tenant), id)
          bell(bells, id, queue, tenant)
          room, progress = room - 1, true
        else
          call('ZREM', QUEUED, id)
        end
        if call('EXISTS', waiting_key(queue, tenant)) == 1 then
          call('ZADD', tenants_key(queue), next_turn(), tenant)
        else
          call('ZREM', tenants_key(queue), tenant)
        end
      end
    end
  end
  return bells
end

-- Room that one lane made may be the other's to fill: a tenant's bound is over both.
local function refill(queue)
  local bells = {}
  if queue:match('%.batch$') then
    dispatch((queue:gsub('batch$', 'interactive')), bells)
  end
  return dispatch(queue, bells)
end

-- An id whose record is gone must not keep a place, nor stop a script that meets it.
local function forget(id, queue)
  call('ZREM', QUEUED, id)
  call('ZREM', RUNNING, id)
  call('ZREM', ringing_key(queue), id)
  call('SREM', flight_key(queue), id)
end

-- A new run of a job, with nothing left of an earlier one but its fence.
local function begin(id, fields)
  call('ZADD', QUEUED, now, id) -- before DEL: a full Redis refuses this
  call('ZREM', DEAD, id)
  local fence = raise_fence(id)
  call('DEL', job_key(id), 'revalid:events:' .. id)
  call('HSET', job_key(id), 'fence', fence, 'attempts', 0, 'queued_at', now,
    'turn', next_turn(), unpack(fields))
  local queue, tenant = unpack(call('HMGET', job_key(id), 'queue', 'tenant'))
  wait_for_turn(id, queue, tenant)
  event(id, 'queued')
  return refill(queue)
end

-- What the scripts of the ledger share. Each ends its arguments with three limits: jobs of one tenant
-- under way at a time (0: any number), slots kept free of batch jobs, milliseconds that a done job is
-- kept. Their keys are made here, as in keys.py: the ledger needs one Redis, no cluster.
local RINGING = 16 -- doorbells of a queue that ring at a time; the jobs behind them wait their turn
local LOOKS = 64 -- tenants that one dispatch looks at
local HOOKS = 32 -- webhooks that one script tells a verdict
local STEP_MS = 10000 -- by which the clock may be off before it is taken to have stepped
local CRASHES = 3 -- workers that a job may end
local HOOK_MS = 172800000 -- that a delivery is kept at the most; workers give up before
local ORPHANED_MS = 600000 -- age of a job of which a worker of its own has left
local UPLOAD_MS = 600000 -- that a project is kept in Redis until a job needs it
local ENDED_MS = 60000 -- that it is kept after the end of its last job
local DEAD_MS = 86400000 -- that a dead job still needs it, for `dead retry`
local CHECK_MS = 3600000 -- between two looks at whether its jobs are still there
local HOST_POSTS = 8 -- deliveries of webhooks to one host that are under way at a time
local TAKEN_MS = 60000 -- for which a worker that took a delivery has it alone
local call = redis.call
local clock = call('TIME')
local micros = clock[1] * 1000000 + clock[2]
local now = math.floor(micros / 1000)
local tenant_jobs = tonumber(ARGV[#ARGV - 2])
local kept_slots = tonumber(ARGV[#ARGV - 1])
local kept_ms = tonumber(ARGV[#ARGV])

local QUEUED, RUNNING, DEAD = 'revalid:queued', 'revalid:running', 'revalid:dead'
local QUEUES, HELD, COUNTERS = 'revalid:queues', 'revalid:held', 'revalid:counters'
local DELIVERIES = 'revalid:deliveries' -- of webhooks, by when each is due; +inf: it waits for its turn
local POST_TURNS, POST_SHARES = 'revalid:post-turns', 'revalid:post-shares'
local PROJECTS = 'revalid:projects' -- `tenant digest` of those in Redis, by when to look at each
local USAGE = 'revalid:usage' -- their bytes by tenant, and of all under `*`
local UNTOLD = 'revalid:untold' -- done jobs with webhooks that are not told yet
local PARKED = 'revalid:parked' -- tenants that are parked in some queue
local FINISHED = 'revalid:finished' -- the stream that the archive reads
local TURN = 'revalid:turn'
local function job_key(id) return 'revalid:job:' .. id end
local function events_key(id) return 'revalid:events:' .. id end
local function waiting_key(queue, tenant) return 'revalid:waiting:' .. queue .. ':' .. tenant end
local function tenants_key(queue) return 'revalid:tenants:' .. queue end
-- A tenant at its bound is not among a queue's tenants but here, with its turn, until a job of it ends.
local function parked_key(tenant) return 'revalid:parked:' .. tenant end
local function ringing_key(queue) return 'revalid:ringing:' .. queue end
local function flight_key(queue) return 'revalid:flight:' .. queue end
local function active_key(tenant) return 'revalid:active:' .. tenant end
local function serving_key(queue) return 'revalid:serving:' .. queue end
local function image_key(image) return 'revalid:image:' .. image end
local function hooks_key(id) return 'revalid:hooks:' .. id end
local function hook_key(delivery) return 'revalid:hook:' .. delivery end
-- Deliveries of one tenant to one host that are due; those under way to a host, by the end of their
-- leases; who waits until there are fewer of these.
local function ready_key(tenant_host) return 'revalid:ready:' .. tenant_host end
local function posts_key(host) return 'revalid:posts:' .. host end
local function posts_parked_key(host) return 'revalid:posts-parked:' .. host end
local function asked_key(id) return 'revalid:asked:' .. id end -- `queue run` of those who wait
local function blob_key(digest) return 'revalid:blob:' .. digest end
local function holders_key(digest) return 'revalid:holders:' .. digest end -- bytes by tenant
local function needs_key(project) return 'revalid:needs:' .. project end -- ids of jobs
local function lane_key(lane) return 'revalid:lane:' .. lane end -- its queued jobs, by age

-- Add to a counter of the metrics; never as a script's first write, which a full Redis refuses.
local function count(name, by) call('HINCRBY', COUNTERS, name, by or 1) end
local function lane_of(queue) return queue:match('%.batch$') and 'batch' or 'interactive' end

-- Whether the clock is not where the caller expects it to be; what it compares is not to be judged.
local function stepped(expected_ms)
  return expected_ms ~= '' and math.abs(now - expected_ms) > STEP_MS
end

local function event(id, name, data)
  call('XADD', events_key(id), '*', 'type', name, 'data', data and cjson.encode(data) or '{}')
end

-- A script's clock knows milliseconds only, and many jobs come in one.
local function next_turn() return call('INCR', TURN) end

-- Above every fence given before, also before Redis lost its data.
local function raise_fence(id)
  local last = tonumber(call('HGET', job_key(id), 'fence') or 0)
  local fence = string.format('%.0f', math.max(micros, last + 1))
  call('HSET', job_key(id), 'fence', fence)
  return fence
end

local function dequeue(id, queue)
  call('ZREM', QUEUED, id)
  call('ZREM', lane_key(lane_of(queue)), id)
end

-- Give a tenant that is parked its place among those who have their turn.
local function unpark(tenant)
  local parked = call('ZRANGE', parked_key(tenant), 0, RINGING - 1, 'WITHSCORES')
  for at = 1, #parked, 2 do
    local queue, turn = parked[at], parked[at + 1]
    call('ZREM', parked_key(tenant), queue)
    if call('EXISTS', waiting_key(queue, tenant)) == 1 then
      call('ZADD', tenants_key(queue), turn, tenant)
      call('SADD', QUEUES, queue)
    end
  end
  if call('EXISTS', parked_key(tenant)) == 0 then
    call('SREM', PARKED, tenant)
  end
end

-- Take a job out of every list that it is in. First a write that a full Redis allows: it allows what a
-- script writes after that, so that running jobs can still end.
local function leave(id)
  call('ZREM', QUEUED, id)
  local queue, tenant, worker = unpack(call('HMGET', job_key(id), 'queue', 'tenant', 'worker'))
  call('ZREM', RUNNING, id)
  call('ZREM', ringing_key(queue), id)
  call('ZREM', lane_key(lane_of(queue)), id)
  call('SREM', flight_key(queue), id)
  if call('ZREM', waiting_key(queue, tenant), id) == 1
    and call('EXISTS', waiting_key(queue, tenant)) == 0 then
    call('ZREM', tenants_key(queue), tenant)
    call('ZREM', parked_key(tenant), queue)
  end
  if call('SREM', active_key(tenant), id) == 1 then
    unpark(tenant)
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
  call('ZADD', lane_key(lane_of(queue)), queued_at, id)
  call('HSET', job_key(id), 'state', 'queued')
  call('ZADD', waiting_key(queue, tenant), turn, id)
  if not call('ZSCORE', parked_key(tenant), queue) then
    call('ZADD', tenants_key(queue), 'NX', next_turn(), tenant)
  end
  call('SADD', QUEUES, queue)
end

-- The project of a job in Redis, as the member of PROJECTS; none where it is elsewhere.
local function project_of(id)
  local tenant, digest = unpack(call('HMGET', job_key(id), 'tenant', 'blob'))
  return digest and tenant .. ' ' .. digest
end

local function is_stored(project)
  return call('ZSCORE', PROJECTS, project)
    and call('EXISTS', blob_key(project:match('%S+$'))) == 1
end

local function need_project(id)
  local project = project_of(id)
  if project then
    call('SADD', needs_key(project), id)
    call('ZADD', PROJECTS, now + CHECK_MS, project)
  end
end

local function release_project(id)
  local project = project_of(id)
  if project and call('SREM', needs_key(project), id) == 1
    and call('EXISTS', needs_key(project)) == 0 then
    call('ZADD', PROJECTS, 'XX', now + ENDED_MS, project)
  end
end

local function drop_project(project)
  local tenant, digest = project:match('^(%S+) (%S+)$')
  call('ZREM', PROJECTS, project)
  local size = call('HGET', holders_key(digest), tenant)
  if size then
    call('HDEL', holders_key(digest), tenant)
    for _, whose in ipairs({tenant, '*'}) do
      if call('HINCRBY', USAGE, whose, -size) <= 0 then
        call('HDEL', USAGE, whose)
      end
    end
  end
  if call('EXISTS', holders_key(digest)) == 0 then
    call('UNLINK', blob_key(digest))
  end
end

-- Drop projects that no job needs any more. Ids whose jobs ended unseen are met here.
local function drop_projects()
  for _, project in ipairs(call('ZRANGEBYSCORE', PROJECTS, '-inf', now, 'LIMIT', 0, 20)) do
    local needed = false
    for _, id in ipairs(call('SRANDMEMBER', needs_key(project), 20)) do
      local state = call('HGET', job_key(id), 'state')
      local died = state == 'done' and call('ZSCORE', DEAD, id)
      if state == 'queued' or state == 'running' or (died and now - died < DEAD_MS) then
        needed = true
      else
        call('SREM', needs_key(project), id)
      end
    end
    if needed then
      call('ZADD', PROJECTS, now + CHECK_MS, project)
    elseif call('EXISTS', needs_key(project)) == 0 then
      drop_project(project)
    end
  end
end

-- A queue that one worker alone reads, and that has left: a run that lives has another.
local function is_left(queue)
  return queue:match('^revalid%.%x+%.%a+$') and call('ZCOUNT', serving_key(queue), now, '+inf') == 0
end

-- Where others wait for a job whose queue nobody reads: one that is read, else one that any may read.
local function queue_of_others(id, queue)
  local found
  for _, asked in ipairs(call('SRANDMEMBER', asked_key(id), LOOKS)) do
    local other = asked:match('^%S+')
    if other ~= queue and not is_left(other) then
      if call('ZCOUNT', serving_key(other), now, '+inf') > 0 then
        return other
      end
      found = other
    end
  end
  return found
end

local function hold(id, queue, tenant, worker, lease_ms)
  call('HSET', job_key(id), 'state', 'running')
  call('ZADD', RUNNING, now + lease_ms, id)
  call('SADD', flight_key(queue), id)
  call('SADD', active_key(tenant), id)
  call('HSET', HELD, worker, id)
end

-- Have a tenant's deliveries to a host come when they have their turn. Turns are counted for each tenant,
-- so that one with many hosts has no more of them; `*` is how far the turns have come.
local function queue_posts(tenant_host)
  if not call('ZSCORE', POST_TURNS, tenant_host) then
    local tenant = tenant_host:match('^%S+')
    local turn, at = unpack(call('HMGET', POST_SHARES, tenant, '*'))
    turn = math.max(tonumber(turn or 0), tonumber(at or 0))
    call('ZADD', POST_TURNS, turn, tenant_host)
    call('HSET', POST_SHARES, tenant, turn + 1)
    call('PEXPIRE', POST_SHARES, HOOK_MS)
  end
end

local function posts_under_way(host)
  call('ZREMRANGEBYSCORE', posts_key(host), '-inf', now)
  call('ZREMRANGEBYSCORE', posts_key(host), '(' .. now + TAKEN_MS, '+inf') -- the clock stepped back
  return call('ZCARD', posts_key(host))
end

-- Let those go on that waited until fewer deliveries to a host are under way.
local function unpark_posts(host)
  for _ = posts_under_way(host) + 1, HOST_POSTS do
    local tenant_host, turn = unpack(call('ZPOPMIN', posts_parked_key(host)))
    if not tenant_host then break end
    call('ZADD', POST_TURNS, turn, tenant_host)
  end
end

-- Have a delivery that is due wait for its turn.
local function ready(delivery, tenant, hook)
  local place = (hook:match('"url":"https?://([^/?#"\\]*)') or ''):lower()
  local host = (place:match('^%[[^%]]*%]') or place:match('^[^:]*')):gsub('%.$', '')
  local tenant_host = tenant .. ' ' .. host
  call('HSET', hook_key(delivery), 'host', host)
  call('ZADD', DELIVERIES, '+inf', delivery)
  call('ZADD', ready_key(tenant_host), 'NX', next_turn(), delivery)
  if not call('ZSCORE', posts_parked_key(host), tenant_host) then
    queue_posts(tenant_host)
  end
  unpark_posts(host)
end

-- Seconds of a done job's last attempt, empty where it ended while it waited, and seconds that it
-- waited: the result's, or what the ledger knows where no attempt could report one.
local function times(id)
  local duration_s, queued_s, finished_at, queued_at, started_at, waits_since, waited_ms =
    unpack(call('HMGET', job_key(id), 'duration_s', 'queued_s', 'finished_at', 'queued_at', 'started_at',
      'waits_since', 'waited_ms'))
  if queued_s then
    return duration_s, queued_s
  end
  waits_since = waits_since or (not started_at and queued_at)
  local waited = waits_since and math.max(0, finished_at - waits_since) or 0
  local ran = not waits_since and math.max(0, finished_at - started_at)
  return ran and string.format('%.3f', ran / 1000) or '',
    string.format('%.3f', ((waited_ms or 0) + waited) / 1000)
end

-- Have a done job's verdict delivered to a webhook, now.
local function notify(id, hook)
  local tenant, verdict, failed_step, finished_at =
    unpack(call('HMGET', job_key(id), 'tenant', 'verdict', 'failed_step', 'finished_at'))
  local duration_s, queued_s = times(id)
  local delivery = string.format('msg_%.0f_%.0f', micros, next_turn())
  call('HSET', hook_key(delivery), 'job', id, 'hook', hook, 'verdict', verdict,
    'failed_step', failed_step or '', 'duration_s', duration_s, 'queued_s', queued_s,
    'finished_at', finished_at, 'since', now, 'tries', 0)
  call('PEXPIRE', hook_key(delivery), HOOK_MS)
  ready(delivery, tenant, hook)
end

-- Tell a done job's webhooks; those that are too many for one script have their turn in a later one.
local function notify_all(id)
  for _, hook in ipairs(call('SPOP', hooks_key(id), HOOKS)) do
    notify(id, hook)
  end
  if call('EXISTS', hooks_key(id)) == 1 then
    call('PEXPIRE', hooks_key(id), kept_ms)
    call('SADD', UNTOLD, id)
  else
    call('SREM', UNTOLD, id)
  end
end

-- reported: fields of a result for webhooks, where an attempt could report one
local function finish(id, verdict, error, reported)
  local queue = leave(id)
  count('finished ' .. lane_of(queue) .. ' ' .. verdict)
  call('HSET', job_key(id), 'state', 'done', 'verdict', verdict, 'finished_at', now)
  if error then
    call('HSET', job_key(id), 'error', error)
  end
  if reported then
    call('HSET', job_key(id), unpack(reported))
  end
  call('HDEL', job_key(id), 'prior')
  notify_all(id)
  call('DEL', asked_key(id))
  release_project(id)
  event(id, 'finished', {verdict = verdict})
  call('PEXPIRE', job_key(id), kept_ms)
  call('PEXPIRE', events_key(id), kept_ms)
  call('XADD', FINISHED, 'MINID', '~', math.max(0, now - kept_ms), '*', 'id', id) -- archive
end

-- Have a job that ran wait once more, where somebody reads its queue; `waits_since` is there while it
-- does.
local function requeue(id, reason)
  local queue, tenant = leave(id)
  local other = is_left(queue) and queue_of_others(id, queue)
  if other then
    queue = other
    call('HSET', job_key(id), 'queue', queue)
  end
  wait_for_turn(id, queue, tenant)
  call('HSET', job_key(id), 'waits_since', now, 'requeued', reason)
  event(id, 'requeued', {reason = reason})
  return queue
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
    need_project(id)
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

local function add_doorbell(doorbells, id, queue, tenant)
  local strategy, limit_s = unpack(call('HMGET', job_key(id), 'strategy', 'limit_s'))
  for _, word in ipairs({id, queue, tenant, strategy, limit_s}) do
    doorbells[#doorbells + 1] = word
  end
end

-- Let jobs of this queue have their turn, the tenant first that had its last turn longest ago.
-- Returns the doorbells to ring: id, queue, tenant, strategy and limit of each in one flat list.
local function dispatch(queue, doorbells)
  doorbells = doorbells or {}
  local room = RINGING - call('ZCARD', ringing_key(queue))
  if kept_slots > 0 and queue:match('%.batch$') then
    local free = math.max(1, slots(queue) - kept_slots) - call('SCARD', flight_key(queue))
    room = math.min(room, free)
  end
  for _ = 1, LOOKS do
    if room <= 0 then break end
    local tenant, turn = unpack(call('ZPOPMIN', tenants_key(queue)))
    if not tenant then break end
    if tenant_jobs > 0 and call('SCARD', active_key(tenant)) >= tenant_jobs then
      call('ZADD', parked_key(tenant), turn, queue)
      call('SADD', PARKED, tenant)
    else
      local id = call('ZPOPMIN', waiting_key(queue, tenant))[1]
      if id and call('EXISTS', job_key(id)) == 1 then
        call('ZADD', ringing_key(queue), now, id)
        call('SADD', flight_key(queue), id)
        call('SADD', active_key(tenant), id)
        add_doorbell(doorbells, id, queue, tenant)
        room = room - 1
      elseif id then
        dequeue(id, queue)
      end
      if call('EXISTS', waiting_key(queue, tenant)) == 1 then
        call('ZADD', tenants_key(queue), next_turn(), tenant)
      end
    end
  end
  return doorbells
end

-- Room that one lane made may be the other's to fill: a tenant's bound is over both.
local function refill(queue)
  local doorbells = {}
  if queue:match('%.batch$') then
    dispatch((queue:gsub('batch$', 'interactive')), doorbells)
  end
  return dispatch(queue, doorbells)
end

-- Have a queued or running job wait in another queue; returns doorbells.
local function move(id, queue)
  local state, old, tenant = unpack(call('HMGET', job_key(id), 'state', 'queue', 'tenant'))
  if state == 'running' then
    call('SREM', flight_key(old), id)
    call('SADD', flight_key(queue), id)
    call('SADD', QUEUES, queue)
    call('HSET', job_key(id), 'queue', queue)
    return {}
  end
  leave(id)
  call('HSET', job_key(id), 'queue', queue)
  wait_for_turn(id, queue, tenant)
  return refill(queue)
end

-- End a queued job, or ask that a running one ends; returns doorbells.
local function cancel(id)
  local state, queue, attempts, reason =
    unpack(call('HMGET', job_key(id), 'state', 'queue', 'attempts', 'requeued'))
  if state == 'queued' then
    local error = 'cancelled before it ran'
    if reason then
      error = 'cancelled while it waited to run again; attempt ' .. attempts .. ' came to no end: ' .. reason
    end
    finish(id, 'cancelled', error)
    call('HSET', job_key(id), 'cancel', 1)
    return refill(queue)
  end
  call('ZREM', QUEUED, id) -- a full Redis allows what comes after this
  if state == 'running' and call('HSETNX', job_key(id), 'cancel', 1) == 1 then
    event(id, 'cancelling')
  end
  return {}
end

-- An id whose record is gone must not keep a place, nor stop a script that meets it.
local function forget(id, queue)
  dequeue(id, queue)
  call('ZREM', RUNNING, id)
  call('ZREM', ringing_key(queue), id)
  call('SREM', flight_key(queue), id)
end

-- A new run of a job, with nothing left of an earlier one but its fence.
local function begin(id, fields)
  call('ZADD', QUEUED, now, id) -- before DEL: a full Redis refuses this
  call('ZREM', DEAD, id)
  local fence = raise_fence(id)
  call('DEL', job_key(id), events_key(id), asked_key(id))
  call('HSET', job_key(id), 'fence', fence, 'attempts', 0, 'queued_at', now,
    'turn', next_turn(), unpack(fields))
  local queue, tenant = unpack(call('HMGET', job_key(id), 'queue', 'tenant'))
  need_project(id)
  wait_for_turn(id, queue, tenant)
  event(id, 'queued')
  return refill(queue)
end

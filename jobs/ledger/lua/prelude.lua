-- Shared code of the ledger's scripts. Each script has three more arguments at its end: the limit of one
-- tenant's running jobs (0: none), the slots that batch jobs leave free, and the milliseconds for which a
-- done job is kept. The keys are built here, as in keys.py: a Redis cluster is not supported.
local RULES = '3' -- version of the rules of verdicts: those of other rules are not reused
local RINGING = 16 -- most doorbells of a queue that ring at a time; other jobs wait for their turn
local LOOKS = 64 -- most tenants that one dispatch examines
local HOOKS = 32 -- most webhooks for which one script creates deliveries
local STEP_MS = 10000 -- deviation of the clock that counts as a step
local CRASHES = 3 -- lost workers after which a job is dead
local HOOK_MS = 172800000 -- longest life of a delivery; workers give up earlier
local ORPHANED_MS = 600000 -- age at which a job whose own worker left is cancelled
local UPLOAD_MS = 600000 -- time for which a project is kept before a job needs it
local ENDED_MS = 60000 -- time for which a project is kept after its last job ended
local DEAD_MS = 86400000 -- time for which a dead job needs its project, for `dead retry`
local CHECK_MS = 3600000 -- interval of the check that a project's jobs still exist
local HOST_POSTS = 8 -- most deliveries to one host at a time
local TAKEN_MS = 60000 -- lease of a delivery
local call = redis.call
local clock = call('TIME')
local micros = clock[1] * 1000000 + clock[2]
local now = math.floor(micros / 1000)
local tenant_jobs = tonumber(ARGV[#ARGV - 2])
local kept_slots = tonumber(ARGV[#ARGV - 1])
local kept_ms = tonumber(ARGV[#ARGV])

local QUEUED, RUNNING, DEAD = 'revalid:queued', 'revalid:running', 'revalid:dead'
local QUEUES, HELD, COUNTERS = 'revalid:queues', 'revalid:held', 'revalid:counters'
local DELIVERIES = 'revalid:deliveries' -- of webhooks, by the time when due; +inf: waits for its turn
local POST_TURNS, POST_SHARES = 'revalid:post-turns', 'revalid:post-shares'
local PROJECTS = 'revalid:projects' -- `tenant digest` of each project in Redis, by the time of its next check
local USAGE = 'revalid:usage' -- bytes of the projects of each tenant; `*` has the sum
local UNTOLD = 'revalid:untold' -- done jobs, some of whose deliveries are not created yet
local PARKED = 'revalid:parked' -- tenants that are parked in some queue
local FINISHED = 'revalid:finished' -- the stream that the archive reads
local TURN = 'revalid:turn'
local function job_key(id) return 'revalid:job:' .. id end
local function events_key(id) return 'revalid:events:' .. id end
local function waiting_key(queue, tenant) return 'revalid:waiting:' .. queue .. ':' .. tenant end
local function tenants_key(queue) return 'revalid:tenants:' .. queue end
-- The queues of a tenant at its bound, with its turn in each. Until one of its jobs ends, the tenant is
-- not in tenants_key of these queues.
local function parked_key(tenant) return 'revalid:parked:' .. tenant end
local function ringing_key(queue) return 'revalid:ringing:' .. queue end
local function flight_key(queue) return 'revalid:flight:' .. queue end
local function active_key(tenant) return 'revalid:active:' .. tenant end
local function serving_key(queue) return 'revalid:serving:' .. queue end
local function image_key(image) return 'revalid:image:' .. image end
local function hooks_key(id) return 'revalid:hooks:' .. id end
local function hook_key(delivery) return 'revalid:hook:' .. delivery end
-- Due deliveries of one tenant to one host; deliveries under way to a host, by the end of their leases;
-- `tenant host` pairs that wait until fewer are under way.
local function ready_key(tenant_host) return 'revalid:ready:' .. tenant_host end
local function posts_key(host) return 'revalid:posts:' .. host end
local function posts_parked_key(host) return 'revalid:posts-parked:' .. host end
local function asked_key(id) return 'revalid:asked:' .. id end -- `queue run` of each submitter
local function blob_key(digest) return 'revalid:blob:' .. digest end
local function holders_key(digest) return 'revalid:holders:' .. digest end -- bytes by tenant
local function needs_key(project) return 'revalid:needs:' .. project end -- ids of jobs
local function lane_key(lane) return 'revalid:lane:' .. lane end -- its queued jobs, by age

-- Add to a counter of the metrics. A full Redis refuses this as the first write of a script.
local function count(name, by) call('HINCRBY', COUNTERS, name, by or 1) end
local function lane_of(queue) return queue:match('%.batch$') and 'batch' or 'interactive' end

-- Return whether the clock stepped; then no comparison of times is valid.
local function stepped(expected_ms)
  return expected_ms ~= '' and math.abs(now - expected_ms) > STEP_MS
end

local function event(id, name, data)
  call('XADD', events_key(id), '*', 'type', name, 'data', data and cjson.encode(data) or '{}')
end

-- Return the next number of a counter; times would not do, as many jobs may come in one millisecond.
local function next_turn() return call('INCR', TURN) end

-- Return a fence above all earlier ones, including those before Redis lost its data.
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

-- Return a parked tenant to its queues, with its old turn.
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

-- Remove a job from all lists. The first write is one that a full Redis allows, so that the later ones
-- are allowed too and running jobs can end.
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

-- Let a job wait for its tenant's turn; a tenant's jobs keep the order in which they were submitted.
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

-- Return the members of PROJECTS: `tenant digest` for each of some digests.
local function members(tenant, digests)
  local projects = {}
  for digest in digests:gmatch('%S+') do
    projects[#projects + 1] = tenant .. ' ' .. digest
  end
  return projects
end

-- Return the members of PROJECTS for a job: its project and its overlay, those that are in Redis.
local function projects_of(id)
  local tenant, digests = unpack(call('HMGET', job_key(id), 'tenant', 'blob'))
  return members(tenant, digests or '')
end

local function are_stored(projects)
  for _, project in ipairs(projects) do
    if not call('ZSCORE', PROJECTS, project)
      or call('EXISTS', blob_key(project:match('%S+$'))) == 0 then
      return false
    end
  end
  return true
end

local function need_projects(id)
  for _, project in ipairs(projects_of(id)) do
    call('SADD', needs_key(project), id)
    call('ZADD', PROJECTS, now + CHECK_MS, project)
  end
end

local function release_projects(id)
  for _, project in ipairs(projects_of(id)) do
    if call('SREM', needs_key(project), id) == 1 and call('EXISTS', needs_key(project)) == 0 then
      call('ZADD', PROJECTS, 'XX', now + ENDED_MS, project)
    end
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

-- Delete projects that no job needs any more, and ids of jobs that no longer exist.
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

-- Return whether the only worker of a private queue has left.
local function is_left(queue)
  return queue:match('^revalid%.%x+%.%a+$') and call('ZCOUNT', serving_key(queue), now, '+inf') == 0
end

-- Return another queue in which a job was submitted: one with workers if possible, else a shared one.
local function queue_of_others(id, queue)
  local shared
  for _, asker in ipairs(call('SRANDMEMBER', asked_key(id), LOOKS)) do
    local other = asker:match('^%S+')
    if other ~= queue and not is_left(other) then
      if call('ZCOUNT', serving_key(other), now, '+inf') > 0 then
        return other
      end
      shared = other
    end
  end
  return shared
end

local function hold(id, queue, tenant, worker, lease_ms)
  call('HSET', job_key(id), 'state', 'running')
  call('ZADD', RUNNING, now + lease_ms, id)
  call('SADD', flight_key(queue), id)
  call('SADD', active_key(tenant), id)
  call('HSET', HELD, worker, id)
end

-- Let a tenant's deliveries to a host wait for their turn. Turns are counted per tenant, so that a tenant
-- with many hosts has no advantage; `*` is the latest turn.
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

-- Return parked deliveries of a host to the queue, up to the limit of the host.
local function unpark_posts(host)
  for _ = posts_under_way(host) + 1, HOST_POSTS do
    local tenant_host, turn = unpack(call('ZPOPMIN', posts_parked_key(host)))
    if not tenant_host then break end
    call('ZADD', POST_TURNS, turn, tenant_host)
  end
end

-- Let a due delivery wait for its turn.
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

-- Return the seconds of a done job's last attempt (empty if it ended while it waited), and the seconds that
-- it waited. Both are the result's; if no attempt reported a result, they are the ledger's.
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

-- Create the delivery of a done job's verdict to one webhook.
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

-- Create the deliveries of a done job; if it has too many webhooks, a later script does the rest.
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

-- End a job. reported: fields of the result for webhooks, if an attempt reported one.
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
  release_projects(id)
  event(id, 'finished', {verdict = verdict})
  call('PEXPIRE', job_key(id), kept_ms)
  call('PEXPIRE', events_key(id), kept_ms)
  call('XADD', FINISHED, 'MINID', '~', math.max(0, now - kept_ms), '*', 'id', id) -- archive
end

-- Requeue a job that ran, in a queue with workers if possible; `waits_since` exists while it waits.
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

-- Handle a lost attempt: end its job as cancelled or dead, or requeue it.
local function crashed(id)
  local attempts, released, worker, cancel =
    unpack(call('HMGET', job_key(id), 'attempts', 'released', 'worker', 'cancel'))
  if cancel then
    finish(id, 'cancelled', 'cancelled while it ran; its worker ended before it could report')
  elseif attempts - (released or 0) >= CRASHES then
    finish(id, 'errored', 'the job ended its worker ' .. CRASHES .. ' times, last ' .. worker ..
      ": read that worker's log; `revalid dead retry " .. id .. '` runs it again')
    call('ZADD', DEAD, now, id)
    need_projects(id)
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

local function add_doorbell(doorbells, id, queue)
  local shown, limit_s = unpack(call('HMGET', job_key(id), 'shown', 'limit_s'))
  for _, word in ipairs({id, queue, shown or '', limit_s}) do -- an older version records no limit
    doorbells[#doorbells + 1] = word
  end
end

-- Let jobs of a queue have their turn; the tenant whose last turn is longest ago comes first.
-- Returns the doorbells to ring as one flat list: id, queue, what Flower shows and limit of each.
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
        add_doorbell(doorbells, id, queue)
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

-- Dispatch after a job left a queue; a tenant's limit covers both lanes, so interactive jobs go first.
local function refill(queue)
  local doorbells = {}
  if queue:match('%.batch$') then
    dispatch((queue:gsub('batch$', 'interactive')), doorbells)
  end
  return dispatch(queue, doorbells)
end

-- Move a queued or running job to another queue; returns doorbells.
local function move(id, queue)
  local state, from, tenant = unpack(call('HMGET', job_key(id), 'state', 'queue', 'tenant'))
  if state == 'running' then
    call('SREM', flight_key(from), id)
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

-- End a queued job, or mark a running one as cancelled; returns doorbells.
local function cancel(id)
  local state, queue, attempts, reason =
    unpack(call('HMGET', job_key(id), 'state', 'queue', 'attempts', 'requeued'))
  if state == 'queued' then
    local error = 'cancelled before it ran'
    if reason then
      error = 'cancelled while it waited to run again; attempt ' .. attempts .. ' did not finish: ' .. reason
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

-- Remove an id whose record is gone from all lists.
local function forget(id, queue)
  dequeue(id, queue)
  call('ZREM', RUNNING, id)
  call('ZREM', ringing_key(queue), id)
  call('SREM', flight_key(queue), id)
end

-- Begin a new run of a job; only the fence of an earlier run is kept.
local function begin(id, fields)
  call('ZADD', QUEUED, now, id) -- before DEL: a full Redis refuses this
  call('ZREM', DEAD, id)
  local fence = raise_fence(id)
  call('DEL', job_key(id), events_key(id), asked_key(id))
  call('HSET', job_key(id), 'fence', fence, 'attempts', 0, 'queued_at', now,
    'turn', next_turn(), unpack(fields))
  local queue, tenant = unpack(call('HMGET', job_key(id), 'queue', 'tenant'))
  need_projects(id)
  wait_for_turn(id, queue, tenant)
  event(id, 'queued')
  return refill(queue)
end

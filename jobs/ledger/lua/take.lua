-- ARGV lease_ms most: lease due deliveries of webhooks to one worker; tenants take turns
-- Returns for each delivery its id, the number of tries including this one, the milliseconds since the
-- delivery was created, and job, hook, verdict, failed step, seconds run, seconds waited, and end of the job.
local lease_ms, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local taken = {}
call('ZREM', DELIVERIES, '') -- a full Redis allows what comes after this

-- Remove a delivery whose record has expired: nobody took it for two days.
local function exhaust(delivery)
  call('ZREM', DELIVERIES, delivery)
  count('webhook exhausted')
end

-- Let due retries wait for their turn, and deliveries that a lost worker or an earlier version left.
for _, delivery in ipairs(call('ZRANGEBYSCORE', DELIVERIES, '-inf', now, 'LIMIT', 0, 32)) do
  local job, hook = unpack(call('HMGET', hook_key(delivery), 'job', 'hook'))
  if job and hook then
    ready(delivery, call('HGET', job_key(job), 'tenant') or 'default', hook)
  else
    exhaust(delivery)
  end
end
for _ = 1, most + 64 do
  local tenant_host, turn = unpack(#taken < most and call('ZPOPMIN', POST_TURNS) or {})
  if not tenant_host then break end
  local host = tenant_host:match('^%S+ (.*)$')
  if posts_under_way(host) >= HOST_POSTS then
    call('ZADD', posts_parked_key(host), turn, tenant_host)
  else
    call('HSET', POST_SHARES, '*', turn)
    local delivery = call('ZPOPMIN', ready_key(tenant_host))[1]
    local key = hook_key(delivery)
    local job, hook, verdict, failed_step, duration_s, queued_s, finished_at, since =
      unpack(call('HMGET', key, 'job', 'hook', 'verdict', 'failed_step', 'duration_s', 'queued_s',
        'finished_at', 'since'))
    if job and hook and verdict and failed_step and finished_at and tonumber(since or '') then
      local tries = call('HINCRBY', key, 'tries', 1)
      call('ZADD', DELIVERIES, now + lease_ms, delivery)
      call('ZADD', posts_key(host), now + lease_ms, delivery)
      call('PEXPIRE', posts_key(host), HOOK_MS)
      taken[#taken + 1] = {delivery, tries, math.max(0, now - since), job, hook, verdict, failed_step,
        duration_s or '', queued_s or '0', finished_at}
    elseif call('ZSCORE', DELIVERIES, delivery) then
      exhaust(delivery)
    end
    if call('EXISTS', ready_key(tenant_host)) == 1 then
      queue_posts(tenant_host)
    end
  end
end
return taken

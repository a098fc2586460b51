-- ARGV lease_ms most: lend deliveries of webhooks that are due to one worker
-- Returns of each: its id, tries with this one, milliseconds since the verdict was to be told, and
-- job, hook, verdict, failed step and end of the job.
local taken = {}
call('ZREM', DELIVERIES, '') -- a full Redis allows what comes after this
for _, delivery in ipairs(call('ZRANGEBYSCORE', DELIVERIES, '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local key = hook_key(delivery)
  local job, hook, verdict, failed_step, finished_at, since =
    unpack(call('HMGET', key, 'job', 'hook', 'verdict', 'failed_step', 'finished_at', 'since'))
  if job and hook and verdict and failed_step and finished_at and tonumber(since or '') then
    local tries = call('HINCRBY', key, 'tries', 1)
    call('ZADD', DELIVERIES, now + ARGV[1], delivery)
    taken[#taken + 1] = {delivery, tries, math.max(0, now - since), job, hook, verdict, failed_step, finished_at}
  else -- nobody took it for two days
    call('ZREM', DELIVERIES, delivery)
    count('webhook exhausted')
  end
end
return taken

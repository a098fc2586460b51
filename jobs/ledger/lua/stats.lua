-- Return statistics; write nothing and read no job records. The answer has the number of dead jobs, the
-- slots of all workers, the counters, the lanes, and the number of deliveries of webhooks. A lane is its
-- name, its queued jobs, the milliseconds that the oldest of them has waited, and its running jobs.
local lanes, answer = {}, {}
for _, queue in ipairs(call('SMEMBERS', QUEUES)) do
  local name = lane_of(queue)
  lanes[name] = (lanes[name] or 0) + call('SCARD', flight_key(queue)) - call('ZCARD', ringing_key(queue))
end
for _, name in ipairs({'interactive', 'batch'}) do
  local key = lane_key(name)
  local queued = call('ZCARD', key)
  if queued > 0 or lanes[name] then
    local oldest = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or now
    answer[#answer + 1] = {name, queued, math.max(0, now - oldest), lanes[name] or 0}
  end
end
local dead = call('ZCOUNT', DEAD, now - kept_ms, '+inf')
return {dead, slots('revalid.interactive'), call('HGETALL', COUNTERS), answer,
  call('ZCARD', DELIVERIES)}

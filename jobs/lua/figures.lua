-- Read what the metrics show, and change nothing; no job's record is read. Returns jobs that are set
-- aside, slots of all workers, the counters, and of each lane: its name, jobs that wait, milliseconds
-- that the oldest of them has waited, jobs that run; and webhooks that wait for their delivery.
local lanes, answer = {}, {}
for _, queue in ipairs(call('SMEMBERS', QUEUES)) do
  local name = lane_of(queue)
  local lane = lanes[name] or {queued = 0, oldest = now, running = 0}
  lanes[name] = lane
  local heads = call('ZRANGE', ringing_key(queue), 0, -1)
  lane.running = lane.running + call('SCARD', flight_key(queue)) - #heads
  lane.queued = lane.queued + #heads
  for _, tenant in ipairs(call('ZRANGE', tenants_key(queue), 0, -1)) do
    local key = waiting_key(queue, tenant)
    lane.queued = lane.queued + call('ZCARD', key)
    heads[#heads + 1] = call('ZRANGE', key, 0, 0)[1] -- the oldest of its tenant
  end
  for _, id in ipairs(heads) do
    lane.oldest = math.min(lane.oldest, tonumber(call('ZSCORE', QUEUED, id) or now))
  end
end
for name, lane in pairs(lanes) do
  answer[#answer + 1] = {name, lane.queued, now - lane.oldest, lane.running}
end
local dead = call('ZCOUNT', DEAD, now - kept_ms, '+inf')
return {dead, slots('revalid.interactive'), call('HGETALL', COUNTERS), answer,
  call('ZCARD', DELIVERIES)}

-- KEYS queued running; ARGV overdue_ms
-- Returns two lists of ids: expired leases, now queued again, whose doorbell has to ring, and jobs
-- that have waited for long, whose doorbell may be lost. Those come again after another overdue_ms.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local waiting = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1], 'LIMIT', 0, 100)
local expired = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[2], id)
  if redis.call('HGET', 'revalid:job:' .. id, 'state') == 'running' then
    redis.call('HSET', 'revalid:job:' .. id, 'state', 'queued')
    redis.call('ZADD', KEYS[1], now, id)
    expired[#expired + 1] = id
    redis.call('XADD', 'revalid:events:' .. id, '*', 'type', 'requeued')
  end
end
for _, id in ipairs(waiting) do
  redis.call('ZADD', KEYS[1], now, id)
end
return {expired, waiting}

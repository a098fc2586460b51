-- KEYS job events queued running; ARGV id ttl_ms
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local state = redis.call('HGET', KEYS[1], 'state')
if not state then
  return 'UNKNOWN'
end
if state == 'done' then
  return state
end
redis.call('HSET', KEYS[1], 'cancel', '1')
if state == 'queued' then
  redis.call('HSET', KEYS[1], 'state', 'done', 'verdict', 'cancelled', 'finished_at', now)
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('XADD', KEYS[2], '*', 'type', 'finished', 'data', '{"verdict":"cancelled"}')
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
else
  redis.call('XADD', KEYS[2], '*', 'type', 'cancelling')
end
return state

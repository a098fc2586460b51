-- KEYS job events queued running; ARGV id job queue
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'queued' or state == 'running' then
  redis.call('HSET', KEYS[1], 'queue', ARGV[3])
  return 'joined'
end
if state == 'done' and redis.call('HGET', KEYS[1], 'reusable') == '1' then
  return 'reused'
end
-- Before DEL: a full Redis refuses this, but nothing that a script does after its first write.
redis.call('ZADD', KEYS[3], now, ARGV[1])
-- The fence outlives a rerun, so that an attempt of an earlier run can never record.
local fence = (redis.call('HGET', KEYS[1], 'fence') or -1) + 1
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'state', 'queued', 'job', ARGV[2], 'queue', ARGV[3],
  'fence', fence, 'attempts', 0, 'queued_at', now)
redis.call('XADD', KEYS[2], '*', 'type', 'queued')
return 'new'

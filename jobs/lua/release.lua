-- KEYS job events queued running; ARGV id fence
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local record = redis.call('HMGET', KEYS[1], 'state', 'fence')
if record[1] ~= 'running' or record[2] ~= ARGV[2] then
  return 'LOST'
end
redis.call('HSET', KEYS[1], 'state', 'queued')
redis.call('HINCRBY', KEYS[1], 'released', 1)
redis.call('HINCRBY', KEYS[1], 'fence', 1) -- the attempt gave up its right to finish
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('XADD', KEYS[2], '*', 'type', 'requeued')
return 'QUEUED'

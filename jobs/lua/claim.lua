-- KEYS job events queued running; ARGV id worker lease_ms
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local state = redis.call('HGET', KEYS[1], 'state')
if not state then
  return 'UNKNOWN'
end
if state == 'done' then
  return 'DONE'
end
if state == 'running' and tonumber(redis.call('ZSCORE', KEYS[4], ARGV[1]) or 0) > now then
  return 'LEASED'
end
local fence = redis.call('HINCRBY', KEYS[1], 'fence', 1)
local attempts = redis.call('HINCRBY', KEYS[1], 'attempts', 1)
redis.call('HSET', KEYS[1], 'state', 'running', 'worker', ARGV[2])
redis.call('HSETNX', KEYS[1], 'started_at', now)
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[4], now + ARGV[3], ARGV[1])
redis.call('XADD', KEYS[2], '*', 'type', 'started', 'data',
  cjson.encode({worker = ARGV[2], attempt = attempts}))
return fence .. ' ' .. attempts

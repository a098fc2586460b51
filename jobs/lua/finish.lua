-- KEYS job events queued running; ARGV id fence verdict result reusable ttl_ms
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local record = redis.call('HMGET', KEYS[1], 'state', 'fence')
if record[2] ~= ARGV[2] or (record[1] ~= 'running' and record[1] ~= 'queued') then
  return 'LOST'
end
redis.call('HSET', KEYS[1], 'state', 'done', 'verdict', ARGV[3], 'result', ARGV[4],
  'reusable', ARGV[5], 'finished_at', now)
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('XADD', KEYS[2], '*', 'type', 'finished', 'data', cjson.encode({verdict = ARGV[3]}))
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
return 'OK'

-- KEYS job events queued running; ARGV id fence lease_ms
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local record = redis.call('HMGET', KEYS[1], 'state', 'fence', 'cancel')
if record[2] ~= ARGV[2] or (record[1] ~= 'running' and record[1] ~= 'queued') then
  return 'LOST'
end
if record[1] == 'queued' then -- the lease had ended, and nobody has claimed the job since
  redis.call('HSET', KEYS[1], 'state', 'running')
  redis.call('ZREM', KEYS[3], ARGV[1])
end
redis.call('ZADD', KEYS[4], now + ARGV[3], ARGV[1])
return record[3] == '1' and 'CANCEL' or 'OK'

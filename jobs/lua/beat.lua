-- KEYS job events queued running; ARGV id fence lease_ms
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local record = redis.call('HMGET', KEYS[1], 'state', 'fence', 'cancel')
if record[1] ~= 'running' or record[2] ~= ARGV[2] then
  return 'LOST'
end
redis.call('ZADD', KEYS[4], now + ARGV[3], ARGV[1])
return record[3] == '1' and 'CANCEL' or 'OK'

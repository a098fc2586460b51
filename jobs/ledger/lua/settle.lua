-- ARGV delivery tries outcome delay_ms: record the outcome of a try; after `failed`, the next try follows
-- delay_ms later
local delivery, outcome = ARGV[1], ARGV[3]
call('ZREM', DELIVERIES, '') -- a full Redis allows what comes after this
local tries, host = unpack(call('HMGET', hook_key(delivery), 'tries', 'host'))
if not tries or (tries ~= ARGV[2] and outcome ~= 'delivered') then
  return {'LATE'} -- it was delivered, or another worker has it
end
if host then
  call('ZREM', posts_key(host), delivery)
  unpark_posts(host)
end
if outcome == 'failed' then
  call('ZADD', DELIVERIES, now + ARGV[4], delivery)
else
  call('ZREM', DELIVERIES, delivery)
  call('DEL', hook_key(delivery))
end
count('webhook ' .. outcome)
return {'OK'}

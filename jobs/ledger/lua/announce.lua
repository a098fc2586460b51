-- ARGV worker slots ttl_ms queues...: announce that a worker takes jobs; with 0 slots, that it takes none
local member = ARGV[2] .. ' ' .. ARGV[1]
for at = 4, #ARGV - 3 do
  local key = serving_key(ARGV[at])
  call('ZREMRANGEBYSCORE', key, '-inf', now)
  call('ZREMRANGEBYSCORE', key, '(' .. now + ARGV[3], '+inf') -- from before the clock stepped back
  for _, other in ipairs(call('ZRANGE', key, 0, -1)) do
    if other:match('^%d+ (.*)$') == ARGV[1] then
      call('ZREM', key, other)
    end
  end
  if ARGV[2] ~= '0' then
    call('ZADD', key, now + ARGV[3], member)
    call('PEXPIRE', key, ARGV[3])
  end
end
return {'OK'}

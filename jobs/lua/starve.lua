-- ARGV since_ms error queues...: end jobs that have waited too long for a worker with an engine
local since, ended, bells = tonumber(ARGV[1]), {}, {}
for at = 3, #ARGV - 3 do
  local queue = ARGV[at]
  if call('ZCOUNT', serving_key(queue), now, '+inf') == 0 then
    for _, id in ipairs(call('ZRANGE', ringing_key(queue), 0, -1)) do
      local wait_s, queued_at = unpack(call('HMGET', job_key(id), 'engine_wait_s', 'queued_at'))
      if not queued_at then
        forget(id, queue)
      elseif now - math.max(queued_at, since) > wait_s * 1000 then
        finish(id, 'errored', ARGV[2])
        ended[#ended + 1] = id
      end
    end
    dispatch(queue, bells)
  end
end
return {ended, bells}

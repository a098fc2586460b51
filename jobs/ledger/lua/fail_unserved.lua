-- ARGV unserved_ms expected_ms error queues...: end jobs that waited too long in the named queues, from
-- which no worker has taken jobs for unserved_ms
local ended, doorbells = {}, {}
local since = now - ARGV[1]
if stepped(ARGV[2]) then
  return {ended, doorbells}
end
for at = 4, #ARGV - 3 do
  local queue = ARGV[at]
  if call('ZCOUNT', serving_key(queue), now, '+inf') == 0 then
    for _, id in ipairs(call('ZRANGE', ringing_key(queue), 0, LOOKS - 1)) do
      local wait_s, queued_at = unpack(call('HMGET', job_key(id), 'engine_wait_s', 'queued_at'))
      if not queued_at then
        forget(id, queue)
      else
        local from = tonumber(queued_at) > now and since or math.max(queued_at, since)
        if now - from > wait_s * 1000 then
          finish(id, 'errored', ARGV[3])
          ended[#ended + 1] = id
        end
      end
    end
    dispatch(queue, doorbells)
  end
end
return {ended, doorbells}

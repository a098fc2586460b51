-- ARGV id queue most fields...: `most` jobs may be queued
local id, queue, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local state, reusable, cancel, old =
  unpack(call('HMGET', job_key(id), 'state', 'reusable', 'cancel', 'queue'))
if state == 'running' and cancel then
  return {'cancelling'}
end
if state == 'queued' or state == 'running' then
  -- Who waits for an interactive job waits on, whoever else asks for it in a batch.
  if old == queue or old == queue:gsub('batch$', 'interactive') then
    return {'joined'}
  end
  local tenant = call('HGET', job_key(id), 'tenant')
  if state == 'running' then
    call('SREM', flight_key(old), id)
    call('SADD', flight_key(queue), id)
    call('SADD', QUEUES, queue)
    call('HSET', job_key(id), 'queue', queue)
    return {'joined'}
  end
  leave(id)
  call('HSET', job_key(id), 'queue', queue)
  wait_for_turn(id, queue, tenant)
  return {'joined', unpack(refill(queue))}
end
if state == 'done' and reusable == '1' then
  call('PEXPIRE', job_key(id), kept_ms)
  call('PEXPIRE', 'revalid:events:' .. id, kept_ms)
  return {'reused'}
end
if call('ZCARD', QUEUED) >= most then
  return {'full'}
end
local fields = {'queue', queue}
for at = 4, #ARGV - 3 do
  fields[#fields + 1] = ARGV[at]
end
return {'new', unpack(begin(id, fields))}
